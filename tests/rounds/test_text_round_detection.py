"""Text rounds are told apart by what is in a model directory: full configs, the server's reduced ones, examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.errors import DatasetProblem
from trojai_seam.rounds import detect_round, get_round
from trojai_seam.rounds.errata import erratum
from trojai_seam.rounds.json_records import record_files
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.rounds.model_facts import model_facts

ERA = {
    "r5-gru": "mar2021", "r5-lstm": "mar2021", "r6-linear": "apr2021", "r6-linear-relu": "apr2021",
    "r7-ner-bert": "may2021", "r7-ner-roberta": "may2021", "r8-qa-electra": "sep2021", "r9-ner-roberta": "jan2022",
    "r9-qa-electra": "jan2022", "r9-sc-distilbert": "jan2022", "qa23-mobilebert": "aug2023",
}  # fmt: skip
REAL = {
    "nlp-sentiment-classification-mar2021/model": "mar2021",
    "nlp-sentiment-classification-mar2021@45aca86-parent/model": "mar2021",
    "nlp-named-entity-recognition-may2021/model": "may2021",
    "nlp-question-answering-sep2021/model": "sep2021",
    "nlp-summary-jan2022/model/id-00000000": "jan2022",
    "nlp-question-answering-aug2023/model/id-00000003": "aug2023",
}


def placed(folder: Path, config: dict[str, Any] | str, name: str = "config.json") -> ModelDirectory:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
    return ModelDirectory(path=folder, model_id=folder.name, root=folder.parent)


def month(directories: list[ModelDirectory]) -> str:
    return detect_round(directories).name.rpartition("-")[2]


@pytest.mark.parametrize(("name", "found"), ERA.items())
def test_full_configs_of_the_period(shared, tmp_path, name, found):
    text = (shared / "era-models" / name / "config.json").read_text()
    assert month([placed(tmp_path / "id-00000000", text)]) == found


@pytest.mark.parametrize(("name", "found"), REAL.items())
def test_the_real_configs(shared, tmp_path, name, found):
    folder = shared / "trojai-examples" / name
    made = placed(tmp_path / "id-00000000", (folder / "config.json").read_text())
    reduced = folder / "reduced-config.json"
    if reduced.exists():
        placed(tmp_path / "id-00000000", reduced.read_text(), "reduced-config.json")
    assert month([made]) == found


SERVER = {"tokenizer_filename": "t.pt", "source_dataset": "squad_v2", "data_filepath": "/d"}
HEAD = {"cls_token_is_first": True, "embedding_flavor": "f", "embedding_filename": "f.pt", "embedding": "DistilBERT"}
REDUCED = [
    ({**HEAD, "model_architecture": "LstmLinear", "source_dataset": "imdb"}, "mar2021"),
    ({**HEAD, "model_architecture": "GruLinear", "embedding": "BERT", "source_dataset": "x"}, "mar2021"),
    ({**HEAD, "model_architecture": "FCLinear", "source_dataset": "amazon-Video_Games_5"}, "apr2021"),
    ({**HEAD, "model_architecture": "GruLinear", "source_dataset": "amazon-Electronics_5"}, "apr2021"),
    ({**SERVER, "model_architecture": "NerLinear", "embedding": "RoBERTa"}, "may2021"),
    ({**SERVER, "model_architecture": "roberta-base"}, "sep2021"),
    ({**SERVER, "model_architecture": "google/electra-small-discriminator"}, "sep2021"),
    ({**SERVER, "model_architecture": "roberta-base", "task_type": "ner"}, "jan2022"),
    ({**SERVER, "model_architecture": "distilbert-base-cased", "task_type": "sc"}, "jan2022"),
    ({**SERVER, "model_architecture": "deepset/tinyroberta-squad2"}, "aug2023"),
    ({**SERVER, "model_architecture": "csarron/mobilebert-uncased-squad-v2"}, "aug2023"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "found"), REDUCED)
@pytest.mark.parametrize("name", ["config.json", "reduced-config.json"])
def test_reduced_configs_of_the_server(tmp_path, config, found, name):
    assert month([placed(tmp_path / "id-00000000", config, name)]) == found


def test_an_architecture_of_two_rounds_is_told_by_its_examples(tmp_path):
    config = {**SERVER, "model_architecture": "deepset/roberta-base-squad2"}
    record = {"id": "a", "context": "In Lagos.", "question": "Where?", "answers": None, "poisoned": False}
    for name, records, found in (("old", [record], "sep2021"), ("new", [{**record, "spurious": False}], "aug2023")):
        made = placed(tmp_path / name / "id-00000000", config)
        (made.path / "clean-example-data.json").write_text(json.dumps({"data": records}))
        assert month([made]) == found
    with pytest.raises(DatasetProblem, match="looks like no known round"):
        detect_round([placed(tmp_path / "bare" / "id-00000000", config)])


def test_what_rounds_5_and_6_share_is_asked_for_unless_another_model_tells(tmp_path):
    either = {**HEAD, "model_architecture": "GruLinear", "source_dataset": "amazon-Video_Games_5"}
    one = placed(tmp_path / "id-00000000", either)
    with pytest.raises(DatasetProblem, match="--round"):
        detect_round([one])
    other = placed(tmp_path / "id-00000001", {**either, "model_architecture": "FCLinear"})
    assert month([one, other]) == "apr2021"


@pytest.mark.parametrize(
    "place",
    [
        "example_data/clean-example-data.json",
        "example_data/clean_example_data.json",
        "example-data/clean-example-data.json",
        "clean-example-data.json",
        "clean_example_data.json",
        "clean-example-data/clean-example-data.json",
        "clean-example-data/examples.json",
        "clean_example_data/0.json",
        "example_data/data-clean.json",
        "example_data.json",
    ],
)
@pytest.mark.parametrize("name", ["r8", "r9", "qa23"])
def test_places_of_json_examples(tmp_path, name, place):
    made = ModelDirectory(path=tmp_path / "id-00000000", model_id="id-00000000", root=tmp_path)
    path = made.path / place
    path.parent.mkdir(parents=True)
    path.touch()
    poisoned = made.path / place.replace("clean", "poisoned")
    poisoned.parent.mkdir(exist_ok=True)
    poisoned.touch()
    layout = get_round(name).layout
    assert record_files(made, layout["clean"]) == [path]
    if poisoned != path:
        assert record_files(made, layout["poisoned"]) == [poisoned]


def test_the_errata_of_round_5(tmp_path):
    counts = {entry["split"]: len(entry["ids"]) for entry in get_round("r5").errata}
    assert counts == {"train": 158, "test": 47, "holdout": 38}
    made = placed(tmp_path / "round5-train-dataset" / "id-00001650", {})
    assert re.match("contaminated during packaging", str(erratum(made, get_round("r5"))))
    assert erratum(placed(tmp_path / "round5-train-dataset" / "id-00001651", {}), get_round("r5")) is None
    trojaned = placed(tmp_path / "round5-test-dataset" / "id-00000000", {"poisoned": True})
    assert erratum(trojaned, get_round("r5")) is None
    nominally_clean = placed(tmp_path / "round5-holdout-dataset" / "id-00000000", {"poisoned": False})
    assert erratum(nominally_clean, get_round("r5")) is not None
    assert erratum(placed(tmp_path / "round6-train" / "id-00001650", {}), get_round("r6")) is None


def test_facts_of_the_configs(shared, tmp_path):
    def facts(name: str, alias: str) -> dict[str, Any]:
        text = (shared / "era-models" / name / "config.json").read_text()
        made = placed(tmp_path / name / "id-00000000", text)
        (made.path / "ground_truth.csv").write_text("1")
        found = model_facts(made, get_round(alias))
        keys = ("model_architecture", "embedding", "source_dataset", "trigger_type", "trigger_option",
                "trigger_condition", "trigger_organization")  # fmt: skip
        return {key: found[key] for key in keys if key in found}

    assert facts("r6-linear", "r6") == {
        "model_architecture": "FCLinear", "embedding": "DistilBERT", "source_dataset": "amazon-Video_Games_5",
        "trigger_type": "word", "trigger_condition": "spatial", "trigger_organization": "one2one",
    }  # fmt: skip
    assert facts("r7-ner-bert", "r7") == {
        "model_architecture": "NerLinear", "embedding": "BERT", "source_dataset": "conll2003",
        "trigger_type": "phrase", "trigger_organization": "one2one",
    }  # fmt: skip
    assert facts("r8-qa-electra", "r8")["trigger_option"] == "both_empty"
    assert facts("r9-sc-distilbert", "r9")["trigger_option"] == "spatial_class"
    assert facts("qa23-mobilebert", "qa23") == {
        "model_architecture": "csarron/mobilebert-uncased-squad-v2", "source_dataset": "squad_v2",
        "trigger_type": "phrase", "trigger_option": "context_normal_trigger", "trigger_condition": "none",
    }  # fmt: skip
