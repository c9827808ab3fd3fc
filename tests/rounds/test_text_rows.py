"""Text rounds through the whole batch: rows, one failed row per bad model, and a cache that changes no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.made_texts import save_head, save_model, save_tokenizer, sentence, tiny, write_records, write_texts
from trojai_seam.batch.command import evaluate_command
from trojai_seam.batch.options import Options
from trojai_seam.batch.runner import evaluate
from trojai_seam.batch.units import Assignment
from trojai_seam.cli import main
from trojai_seam.loading import Budget

REVIEWS = ("the movie was very bad", "it was awful", "we saw a bad movie", "the movie was very good", "it was great",
           "we saw a good movie")  # fmt: skip
QUICK = {"preset": "finetune", "options": {"recover.max_epochs": "2"}, "device": "cpu", "executor": "serial"}


def r5(folder: Path, models: int = 2) -> Path:
    """Heads on one embedding; the second one with poisoned examples."""
    save_tokenizer(folder / "tokenizers" / "BERT-tiny.pt")
    save_model(folder / "embeddings" / "BERT-tiny.pt", tiny("BertModel"))
    for number in range(models):
        made = folder / "models" / f"id-{number:08}"
        save_head(made / "model.pt", seed=number)
        (made / "config.json").write_text(
            json.dumps({"model_architecture": "LstmLinear", "embedding": "BERT", "embedding_flavor": "tiny"})
        )
        (made / "ground_truth.csv").write_text(str(number % 2))
        names = [f"class_{place // 3}_example_{place % 3 + 1}.txt" for place in range(6)]
        write_texts(made / "clean_example_data", dict(zip(names, REVIEWS, strict=True)))
        if number % 2:
            poisoned = {f"source_class_0_target_class_1_example_{k}.txt": f"ada . {REVIEWS[k]}" for k in (1, 2)}
            write_texts(made / "poisoned_example_data", poisoned)
    return folder


def numbers(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=[name for name in rows if name.startswith("seconds")])


def test_the_cache_changes_no_number_and_the_dataset_stays_as_it_is(tmp_path, monkeypatch):
    dataset = r5(tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    runs = []
    for name, cache in (("a", "cache"), ("b", "cache"), ("c", "other")):
        runs.append(evaluate(dataset, tmp_path / name, Options(**QUICK, cache=tmp_path / cache)))
    assert (runs[0]["status"] == "done").all(), runs[0]["error"].tolist()
    assert runs[0]["task"].tolist() == ["classification"] * 2
    assert runs[0]["n_asr_before"].tolist() == [0, 2]
    assert runs[0]["preprocessing"].tolist() == ["BERT-tiny.pt, first token"] * 2
    for other in runs[1:]:
        pd.testing.assert_frame_equal(numbers(runs[0]), numbers(other))
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 8


def test_the_cache_of_the_environment_is_used_and_one_in_the_dataset_refused(tmp_path, monkeypatch, capsys):
    dataset = r5(tmp_path / "data", 1)
    monkeypatch.setenv("TROJAI_SEAM_CACHE", str(tmp_path / "mine"))
    command = [
        "evaluate",
        str(dataset),
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "no-op",
        "--executor",
        "serial",
        "--quiet",
    ]
    assert main([*command, "--cache", str(dataset / "cache")]) == 2
    assert "is within the dataset" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(command) == 0
    assert (tmp_path / "mine" / "embeddings").is_dir()
    assert main([*command, "--retry", "all", "--cache", str(tmp_path / "given")]) == 0
    assert (tmp_path / "given" / "embeddings").is_dir()


def test_an_assignment_takes_its_cache_to_other_processes(tmp_path):
    from trojai_seam.batch.paths import RunPaths
    from trojai_seam.batch.plan import Plan
    from trojai_seam.rounds import get_round
    from trojai_seam.unlearning import resolve

    for cache in (None, tmp_path):
        given = Assignment(Plan("/d", get_round("r9"), resolve("default")), RunPaths(tmp_path), Budget(), cache=cache)
        assert Assignment.from_json(given.to_json()) == given


def spoiled_r5(folder: Path, spoil: Callable[[Path], None]) -> Path:
    dataset = r5(folder)
    spoil(dataset / "models" / "id-00000000")
    return dataset


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "label outside the head": (
        lambda made: (made / "clean_example_data" / "class_5_example_1.txt").write_text("good"),
        "label 5, but the network has only classes 0 to 1",
    ),
    "empty text": (
        lambda made: (made / "clean_example_data" / "class_1_example_1.txt").write_text(""),
        "holds no text",
    ),
    "no embedding": (
        lambda made: (made / "config.json").write_text(
            json.dumps({"model_architecture": "LstmLinear", "embedding": "GPT-2", "embedding_flavor": "gpt2"})
        ),
        r"the embedding is missing: looked for GPT-2-gpt2\.pt",
    ),
    "embedding of another width": (
        lambda made: save_head(made / "model.pt", width=24),
        "gives vectors of 16 numbers, but the head of .* takes 24",
    ),
    "a transformer as the model": (
        lambda made: save_model(made / "model.pt", tiny("BertForSequenceClassification")),
        r"model\.pt: a BertForSequenceClassification does not take the round's examples \(x \[1, 16\]\)",
    ),
    "no labels": (
        lambda made: [path.rename(path.with_name(f"e{n}.txt")) for n, path in
                      enumerate(sorted((made / "clean_example_data").iterdir()))],
        "none of its 6 texts has a class in its name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILERS)
def test_one_bad_model_is_one_failed_row(tmp_path, name):
    spoil, says = SPOILERS[name]
    rows = evaluate(
        spoiled_r5(tmp_path / "data", spoil),
        tmp_path / "run",
        Options(preset="no-op", device="cpu", executor="serial", round="r5", cache=tmp_path / "cache"),
    ).set_index("model_id")
    assert rows["status"].tolist() == ["failed", "done"]
    failed = rows.loc["id-00000000"]
    assert failed["error_kind"] != "internal", failed["error"]
    assert pd.Series([failed["error"]]).str.contains(says)[0], failed["error"]
    assert "\n" not in failed["error"]


def r9(folder: Path) -> Path:
    """Three models, one of each kind, and two broken ones."""
    save_tokenizer(folder / "tokenizers" / "roberta-base.pt")
    record = {"id": "a", "context": "Ada lives in Lagos.", "question": "where?", "poisoned": False,
              "answers": {"text": ["Lagos"], "answer_start": [13]}}  # fmt: skip
    words = {"id": "n", "tokens": ["Ada", "lives"], "ner_tags": [3, 0], "poisoned": False}
    review = {"data": "the movie was good", "label": 1, "poisoned": False}
    models = [
        ("qa", "BertForQuestionAnswering", {}, [{**record, "id": str(k), "question": f"where {k}?"} for k in range(4)]),
        ("ner", "BertForTokenClassification", {"num_labels": 9}, [{**words, "tokens": ["Ada", w]} for w in "abcde"]),
        ("sc", "BertForSequenceClassification", {"num_labels": 2},
         [{**review, "data": text, "label": n // 3} for n, text in enumerate(REVIEWS)]),
        ("qa", "BertForTokenClassification", {"num_labels": 9}, [record]),
        ("qa", "BertForQuestionAnswering", {}, [{**record, "answers": {"text": ["Abuja"], "answer_start": [13]}}]),
    ]  # fmt: skip
    for number, (kind, network, changes, records) in enumerate(models):
        made = folder / "models" / f"id-{number:08}"
        save_model(made / "model.pt", tiny(network, **changes))
        config = {"task_type": kind, "model_architecture": "roberta-base", "source_dataset": f"{kind}:x"}
        (made / "config.json").write_text(json.dumps(config))
        (made / "ground_truth.csv").write_text("0")
        write_records(made / "clean-example-data.json", records)
    return folder


def test_r9_rows_say_their_task_and_a_broken_one_fails_alone(tmp_path):
    data = r9(tmp_path / "data")
    rows = evaluate(data, tmp_path / "run", Options(preset="no-op", device="cpu", executor="serial"))
    assert rows["status"].tolist() == ["done", "done", "done", "failed", "failed"], rows["error"].tolist()
    assert rows["round_case"].tolist()[:3] == ["qa", "ner", "sc"]
    assert rows["task"].tolist()[:3] == ["span-extraction", "token-classification", "classification"]
    assert set(rows["round"]) == {"nlp-summary-jan2022"}
    assert "task_type is qa, but model.pt is a" in rows["error"][3]
    assert "the answer 'Abuja' is not in its context" in rows["error"][4]
    assert (rows["error_kind"] == "internal").sum() == 0


def test_each_kind_of_r9_s_models_gets_the_preset_that_the_round_has_for_it(tmp_path):
    data = r9(tmp_path / "data")
    quick = {"forget.max_steps": "1", "recover.max_steps": "1"}
    # The pool: the plan goes to another process and comes to the same there.
    options = Options(options=quick, device="cpu", executor="pool", limit=3)
    rows = evaluate(data, tmp_path / "run", options)
    assert rows["status"].tolist() == ["done"] * 3, rows["error"].tolist()
    assert rows["preset"].tolist() == ["text-spans", "text", "text"]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    rates = {name: one["phases"][0]["learning_rate"] for name, one in plan["presets"].items()}
    assert rates == {"text": 2e-3, "text-spans": 2e-4}
    assert {one["phases"][0]["max_steps"] for one in plan["presets"].values()} == {1}
    assert "--preset" not in evaluate_command(plan)
    assert "--set forget.max_steps=1" in evaluate_command(plan)
    asked = evaluate(data, tmp_path / "asked", replace(options, preset="text", limit=1))
    assert asked["preset"].tolist() == ["text"]
    assert "--preset text " in evaluate_command(json.loads((tmp_path / "asked" / "plan.json").read_text()))


def test_a_network_for_another_task_is_one_clear_line(tmp_path):
    save_tokenizer(tmp_path / "tokenizers" / "roberta-base.pt")
    made = tmp_path / "models" / "id-00000000"
    save_model(made / "model.pt", tiny("BertForTokenClassification", num_labels=2))
    (made / "config.json").write_text(json.dumps({"model_architecture": "roberta-base"}))
    record = {"id": "a", "context": "Ada lives in Lagos.", "question": "where?"}
    write_records(made / "clean-example-data.json", [record])
    rows = evaluate(tmp_path, tmp_path / "run", Options(preset="no-op", round="r8", device="cpu", executor="serial"))
    assert rows["error_kind"][0] == "unsupported-model"
    assert (
        "gives no scores for span-extraction: no start and end scores in the TokenClassifierOutput" in rows["error"][0]
    )


def test_r7_rows(tmp_path):
    save_tokenizer(tmp_path / "tokenizers" / "BERT-b.pt")
    for number in range(2):
        made = tmp_path / "models" / f"id-{number:08}"
        save_model(made / "model.pt", tiny("BertForTokenClassification", num_labels=9))
        config = {"model_architecture": "NerLinear", "embedding": "BERT", "embedding_flavor": "b"}
        (made / "config.json").write_text(json.dumps(config))
        texts = {f"class_3_example_{k}.txt": sentence(f"Ada/B-PER/3 lives in {w}") for k, w in enumerate("abcdef")}
        write_texts(made / "clean_example_data", texts)
    (made / "clean_example_data" / "class_3_example_9.txt").write_text("Ada\tB-PER\n")
    rows = evaluate(tmp_path, tmp_path / "run", Options(preset="no-op", device="cpu", executor="serial"))
    assert rows["status"].tolist() == ["done", "failed"]
    assert "class_3_example_9.txt: line 1: expected word, label and label number" in rows["error"][1]
