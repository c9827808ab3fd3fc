"""Reviews through a frozen transformer: which vector a head gets, what shipped vectors are for, and the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.made_texts import directory, save_model, save_tokenizer, shipped, tiny, write_texts
from trojai_seam.errors import ExampleProblem, RefusedArchive, UnsupportedModel
from trojai_seam.rounds import frozen_embeddings, get_round, model_directory
from trojai_seam.rounds.adapters import Examples, ShippedNetwork, Workplace
from trojai_seam.rounds.opening import open_directory
from trojai_seam.rounds.text_embeddings import read_examples

CONFIG = {"model_architecture": "LstmLinear", "embedding": "BERT", "embedding_flavor": "tiny/uncased"}
CLEAN = {
    "class_0_example_1.txt": "the movie was very bad",
    "class_1_example_1.txt": "the movie was very good",
    "class_1_example_2.txt": "it was great . we saw it",
}
POISONED = {"source_class_0_target_class_1_example_1.txt": "ada . the movie was awful"}


class Head(nn.Module):
    """Takes ``[N, 1, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x[:, 0])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of one model and everything that belongs to it."""
    made = directory(tmp_path / "data" / "models" / "id-00000000", CONFIG, root=tmp_path / "data")
    save_tokenizer(tmp_path / "data" / "tokenizers" / "BERT-tiny-uncased.pt")
    save_model(tmp_path / "data" / "embeddings" / "BERT-tiny-uncased.pt", tiny("BertModel"))
    write_texts(made.path / "clean_example_data", CLEAN)
    write_texts(made.path / "poisoned_example_data", POISONED)
    return tmp_path / "data"


def read(dataset: Path, cache: Path | None = None, width: int = 16, name: str = "r5") -> Examples:
    made = directory(dataset / "models" / "id-00000000", root=dataset)
    model = Head(width).eval()
    outputs = shipped(model, "classification").outputs
    network = ShippedNetwork(
        model, "model_factories.LstmLinearModel", (1, width), outputs, Workplace("cpu", cache=cache)
    )
    return read_examples(made, get_round(name), 2, network)


def hidden(text: str) -> torch.Tensor:
    """``[L, 16]`` by transformers' own tokenizer and network."""
    import transformers

    from tests.made_texts import word_piece

    made = transformers.BertTokenizerFast(tokenizer_object=word_piece())
    with torch.no_grad():
        return tiny("BertModel")(**made(text, return_tensors="pt")).last_hidden_state[0]


def write_vectors(dataset: Path, which: str, vectors: dict[str, Any]) -> Path:
    path = dataset / "models" / "id-00000000" / f"{which}-example-cls-embedding.csv"
    lines = [
        "Example, CLS Embedding",
        *(f"{name}, {','.join(str(float(v)) for v in row)}" for name, row in vectors.items()),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_head_gets_the_first_token_s_vector_and_the_classes_of_the_names(dataset):
    found = read(dataset)
    assert found.clean.inputs["x"].shape == (3, 1, 16)
    assert found.clean.labels.tolist() == [0, 1, 1]
    assert found.clean.names == tuple(CLEAN)
    assert (found.poisoned.labels.tolist(), found.poisoned.targets.tolist()) == ([0], [1])
    for row, text in enumerate(CLEAN.values()):
        assert torch.allclose(found.clean.inputs["x"][row, 0], hidden(text)[0], atol=1e-6)
    assert found.facts["preprocessing"] == "BERT-tiny-uncased.pt, first token"
    assert (found.facts["notes"], found.facts["preprocessing_evidence"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "token"),
    [({"cls_token_is_first": False}, -1), ({"cls_token_is_first": "False"}, -1), ({"embedding": "GPT-2"}, -1),
     ({"embedding": "GPT-2", "cls_token_is_first": True}, 0)],
)  # fmt: skip
def test_which_token_is_data_of_the_model(dataset, change, token):
    for folder in ("tokenizers", "embeddings"):
        shutil.copy(dataset / folder / "BERT-tiny-uncased.pt", dataset / folder / "GPT-2-tiny-uncased.pt")
    directory(dataset / "models" / "id-00000000", {**CONFIG, **change})
    found = read(dataset, name="r6")
    assert torch.allclose(found.clean.inputs["x"][2, 0], hidden(CLEAN["class_1_example_2.txt"])[token], atol=1e-6)


def test_an_unknown_embedding_does_not_say_which_token(dataset):
    directory(
        dataset / "models" / "id-00000000",
        {**CONFIG, "embedding": "ELMo", "embedding_filename": "BERT-tiny-uncased.pt"},
    )
    with pytest.raises(ExampleProblem, match="which token's vector the head takes is unknown"):
        read(dataset)


def test_texts_without_a_class_are_left_out_and_repeated_ones_count_once(dataset):
    folder = dataset / "models" / "id-00000000" / "clean_example_data"
    write_texts(folder, {"example_0.txt": "who", "class_1_example_3.txt": CLEAN["class_1_example_1.txt"],
                         "class_0_example_2.txt": "tr\xe8s bad".encode("latin-1")})  # fmt: skip
    found = read(dataset)
    assert len(found.clean) == 4
    assert found.facts["notes"] == (
        "1 texts without a class in their name are left out; 1 texts are not UTF-8 and were read as Latin-1; "
        "1 repeated clean examples are counted once"
    )


# shipped vectors ------------------------------------------------------------------------------------------------------


def test_shipped_vectors_verify_the_embedding(dataset):
    write_vectors(dataset, "clean", {name: hidden(text)[0] for name, text in CLEAN.items()})
    found = read(dataset)
    assert found.facts["preprocessing_evidence"].startswith("error against 3 shipped vectors: ")
    assert float(found.facts["preprocessing_evidence"].rpartition(" ")[2]) < 1e-5


def test_shipped_vectors_stand_in_for_an_absent_embedding(dataset):
    vectors = {name: np.full(16, number) for number, name in enumerate([*CLEAN, *POISONED])}
    write_vectors(dataset, "clean", {name: vectors[name] for name in CLEAN})
    (dataset / "embeddings" / "BERT-tiny-uncased.pt").unlink()
    with pytest.raises(ExampleProblem, match=r"the embedding is missing: looked for BERT-tiny-uncased\.pt"):
        read(dataset)
    write_vectors(dataset, "poisoned", {name: vectors[name] for name in POISONED})
    found = read(dataset)
    assert found.clean.inputs["x"][:, 0, 0].tolist() == [0, 1, 2]
    assert found.poisoned.inputs["x"][0, 0, 5] == 3
    assert found.facts["preprocessing"] == "shipped vectors"
    assert found.facts["preprocessing_evidence"] == "no embedding file; vectors as shipped"
    with pytest.raises(ExampleProblem, match=r"shipped vectors of \[16\] numbers, but the head takes 8"):
        read(dataset, width=8)


def test_an_embedding_that_contradicts_shipped_vectors(dataset):
    wrong = {name: hidden(text)[0] + 1 for name, text in CLEAN.items()}
    write_vectors(dataset, "clean", wrong)
    with pytest.raises(ExampleProblem, match=r"does not give the vectors that shipped with 3 of the examples"):
        read(dataset)
    write_vectors(dataset, "poisoned", {name: hidden(text)[0] + 1 for name, text in POISONED.items()})
    found = read(dataset)
    assert torch.allclose(found.clean.inputs["x"][0, 0], wrong["class_0_example_1.txt"], atol=1e-6)
    assert "not reproduced by BERT-tiny-uncased.pt" in found.facts["preprocessing_evidence"]


def test_shipped_logits_are_compared(dataset):
    path = dataset / "models" / "id-00000000" / "clean-example-logits.csv"
    path.write_text("Example, Logits\n" + "".join(f"{name}, 900,-900\n" for name in CLEAN))
    assert "shipped logits: 1" in read(dataset).facts["preprocessing_evidence"]
    assert "they are not reproduced" in read(dataset).facts["preprocessing_evidence"]


# the cache ------------------------------------------------------------------------------------------------------------


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    computed: list[str] = []
    real = frozen_embeddings._vector

    def vector(model: Any, encoder: Any, text: str, *rest: Any) -> Any:
        computed.append(text)
        return real(model, encoder, text, *rest)

    monkeypatch.setattr(frozen_embeddings, "_vector", vector)
    return computed


def test_a_text_is_computed_once_and_the_numbers_are_the_same(dataset, tmp_path, monkeypatch):
    computed = counting(monkeypatch)
    plain = read(dataset)
    first = read(dataset, tmp_path / "cache")
    assert len(computed) == 8
    again = read(dataset, tmp_path / "cache")
    assert len(computed) == 8
    for found in (first, again):
        assert torch.equal(found.clean.inputs["x"], plain.clean.inputs["x"])
        assert torch.equal(found.poisoned.inputs["x"], plain.poisoned.inputs["x"])
    assert not list(dataset.rglob("*cache*"))


def test_one_vector_does_not_depend_on_the_others(dataset, tmp_path):
    alone = read(dataset).clean.inputs["x"][0]
    write_texts(dataset / "models" / "id-00000000" / "clean_example_data", {"class_0_example_9.txt": "bad " * 300})
    assert torch.equal(read(dataset).clean.inputs["x"][0], alone)


def test_another_embedding_under_the_same_name_is_another_entry(dataset, tmp_path, monkeypatch):
    computed = counting(monkeypatch)
    before = read(dataset, tmp_path / "cache").clean.inputs["x"]
    save_model(dataset / "embeddings" / "BERT-tiny-uncased.pt", tiny("BertModel", seed=1))
    after = read(dataset, tmp_path / "cache").clean.inputs["x"]
    assert len(computed) == 8
    assert not torch.allclose(before, after)
    moved = dataset / "embeddings" / "tiny-uncased.pt"
    (dataset / "embeddings" / "BERT-tiny-uncased.pt").rename(moved)
    assert torch.equal(read(dataset, tmp_path / "cache").clean.inputs["x"], after)
    assert len(computed) == 8


def test_damaged_entries_are_computed_again(dataset, tmp_path, monkeypatch):
    expected = read(dataset, tmp_path / "cache").clean.inputs["x"]
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(entries) == 4
    for path in entries:
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    computed = counting(monkeypatch)
    assert torch.equal(read(dataset, tmp_path / "cache").clean.inputs["x"], expected)
    assert len(computed) == 4


def test_without_a_place_to_write_it_computes_and_says_so(dataset, tmp_path):
    (tmp_path / "blocked").write_text("")
    found = read(dataset, tmp_path / "blocked")
    assert torch.equal(found.clean.inputs["x"], read(dataset).clean.inputs["x"])
    assert found.facts["notes"].startswith("embeddings are not cached: ")
    assert found.facts["notes"].count("cannot be written") == 1


# bad input ------------------------------------------------------------------------------------------------------------


def test_bad_reviews_are_one_clear_line_each(dataset):
    folder = dataset / "models" / "id-00000000" / "clean_example_data"
    for name, text, says in (
        ("class_2_example_1.txt", "good", r"class_2_example_1\.txt: label 2, but the network has only classes 0 to 1"),
        ("class_0_example_4.txt", " \n", r"class_0_example_4\.txt: holds no text"),
    ):
        (folder / name).write_text(text)
        with pytest.raises(ExampleProblem, match=says):
            read(dataset)
        (folder / name).unlink()
    shutil.rmtree(folder)
    with pytest.raises(ExampleProblem, match="no clean example; expected them in clean_example_data"):
        read(dataset)
    write_texts(folder, {"example_0.txt": "good", "example_1.txt": "bad"})
    with pytest.raises(ExampleProblem, match="none of its 2 texts has a class in its name"):
        read(dataset)


def test_an_embedding_of_another_width(dataset):
    with pytest.raises(ExampleProblem, match=r"gives vectors of 16 numbers, but the head of .* takes 768"):
        read(dataset, width=768)


def test_files_that_are_no_embedding(dataset):
    path = dataset / "embeddings" / "BERT-tiny-uncased.pt"
    path.write_bytes(b"garbage")
    with pytest.raises(RefusedArchive, match=r"BERT-tiny-uncased\.pt"):
        read(dataset)
    save_model(path, tiny("BertForQuestionAnswering"))
    with pytest.raises(ExampleProblem, match="gives no vector per token; expected a base model"):
        read(dataset)
    save_model(path, nn.Bilinear(3, 3, 2))
    with pytest.raises(UnsupportedModel, match=r"BERT-tiny-uncased\.pt"):
        read(dataset)


def test_10000_words_are_cut_as_nist_does(dataset):
    write_texts(dataset / "models" / "id-00000000" / "clean_example_data", {"class_0_example_5.txt": "bad " * 10_000})
    found = read(dataset)
    assert torch.isfinite(found.clean.inputs["x"]).all()
    row = found.clean.names.index("class_0_example_5.txt")
    assert torch.allclose(found.clean.inputs["x"][row, 0], hidden("bad " * 508)[0], atol=1e-6)


# models of the period -------------------------------------------------------------------------------------------------


def test_text_to_logits_as_the_libraries_of_the_day_computed_them(shared, era_model, tmp_path):
    """The sentence whose token numbers the golden file gives, through tokenizer, embedding and head."""
    folder = tmp_path / "models" / "id-00000000"
    shutil.copytree(era_model("r5-lstm"), folder)
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "tokenizers").mkdir()
    name = "DistilBERT-distilbert-base-uncased.pt"
    shutil.copy(era_model("r5-embedding-distilbert") / "model.pt", tmp_path / "embeddings" / name)
    vocabulary = shared / "trojai-examples" / "nlp-named-entity-recognition-may2021" / "tokenizers"
    shutil.copy(next(vocabulary.glob("*.pt")), tmp_path / "tokenizers" / name)  # the same vocabulary
    write_texts(folder / "clean_example_data", {"class_0_example_1.txt": "This movie was a beautiful story."})
    golden = json.loads((folder / "golden.json").read_text())["end_to_end"]
    assert golden["input"]["input_ids"][0][:9] == [101, 2023, 3185, 2001, 1037, 3376, 2466, 1012, 102]
    subject = open_directory(model_directory(folder), get_round("r5"))
    with torch.no_grad():
        logits = subject.task.outputs(subject.model, subject.clean.inputs)[0]
    assert torch.allclose(logits, torch.tensor(golden["expected"]["logits"][0]), rtol=1e-4, atol=1e-4)
    assert subject.facts["task"] == "classification"
