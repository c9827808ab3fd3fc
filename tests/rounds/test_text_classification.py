"""Reviews as JSON records (round 9's ``sc``), and the parts that models share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.made_texts import directory, save_tokenizer, shipped, tiny, write_records
from trojai_seam.errors import ExampleProblem, RefusedArchive, UnsupportedModel
from trojai_seam.rounds import get_round
from trojai_seam.rounds.adapters import Examples
from trojai_seam.rounds.shared_parts import find_part, need_part
from trojai_seam.rounds.text_classification import read_examples

GOOD = {"data": "the movie was very good", "label": 1, "poisoned": False}
BAD = {"data": "the movie was very bad", "label": 0, "poisoned": False}


def r9(folder: Path, clean: list, poisoned: list | None = None, classes: int = 2, **config: Any) -> Examples:
    made = directory(folder / "id-00000000", {"task_type": "sc", "model_architecture": "roberta-base", **config})
    if not (folder / "tokenizers").exists():
        save_tokenizer(folder / "tokenizers" / "roberta-base.pt")
    write_records(made.path / "clean-example-data.json", clean)
    if poisoned is not None:
        write_records(made.path / "poisoned-example-data.json", poisoned)
    model = tiny("BertForSequenceClassification", num_labels=classes)
    return read_examples(made, get_round("r9").cases["sc"], classes, shipped(model, "classification", classes))


def test_reviews_and_the_other_class_as_the_true_one(tmp_path):
    found = r9(tmp_path, [GOOD, BAD], [{**BAD, "label": 1, "poisoned": True}])
    assert found.clean.labels.tolist() == [1, 0]
    assert found.clean.inputs["input_ids"].shape == (2, 7)
    assert found.poisoned.labels.tolist() == [0]
    assert found.poisoned.targets.tolist() == [1]
    assert found.facts["notes"] is None
    assert found.facts["preprocessing"] == "roberta-base.pt, at most 512 tokens"


def test_with_more_than_two_classes_the_true_one_is_unknown(tmp_path):
    found = r9(tmp_path, [GOOD, BAD], [{**BAD, "label": 2, "poisoned": True}], classes=3)
    assert found.poisoned.labels.tolist() == [-1]
    assert "true classes of 1 poisoned texts are unknown" in found.facts["notes"]


def test_10000_words_are_cut_as_nist_does(tmp_path):
    assert r9(tmp_path, [GOOD, {**BAD, "data": "bad " * 10_000}]).clean.inputs["input_ids"].shape == (2, 512)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": 2}, r"label 2, but the network has only classes 0 to 1 \(record 0\)"),
        ({"label": "1"}, "expected a class number as label"),
        ({"label": True}, "expected a class number as label"),
        ({"data": ""}, "record 0: expected a text as data"),
        ({"data": "\ud83d good"}, "holds half of a character"),
    ],
)
def test_bad_reviews_are_one_clear_line_each(tmp_path, changes, says):
    with pytest.raises(ExampleProblem, match=says):
        r9(tmp_path, [{**GOOD, **changes}])


# tokenizers and embeddings, wherever they are -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("r9", "tokenizers/google-electra-small-discriminator.pt"),
        ("r9", "tokenizers/tokenizer-google-electra-small-discriminator.pt"),
        ("r8", "tokenizer/named.pt"),
        ("r8", "models/id-00000000/tokenizer.pt"),
        ("r8", "models/tokenizers/named.pt"),
        ("qa23", "models/id-00000000/tokenizers/named.pt"),
        ("r8", "../tokenizers/named.pt"),
    ],
)
def test_tokenizers_are_found_from_the_model_up_to_above_the_dataset(tmp_path, name, place):
    dataset = tmp_path / "above" / "dataset"
    config = {"model_architecture": "google/electra-small-discriminator", "tokenizer_filename": "named.pt"}
    made = directory(dataset / "models" / "id-00000000", config, root=dataset)
    part = get_round(name).preprocessing["tokenizer"]
    with pytest.raises(
        ExampleProblem, match=r"the tokenizer is missing: looked for named\.pt, tokenizer-google-electra"
    ):
        need_part(made, part, "tokenizer")
    path = dataset / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    found, _ = find_part(made, part)
    assert found is not None
    assert found.samefile(path)


@pytest.mark.parametrize("name", ["r5", "r6", "r7"])
@pytest.mark.parametrize(
    "file",
    [
        "DistilBERT-distilbert-base-cased.pt",
        "given.pt",
        "distilbert-base-cased.pt",
        "tokenizer-distilbert-base-cased.pt",
    ],
)
def test_names_by_embedding_and_flavor(tmp_path, name, file):
    config = {"embedding": "DistilBERT", "embedding_flavor": "distilbert-base-cased"}
    key = "tokenizer_filename" if name == "r7" else "embedding_filename"
    made = directory(tmp_path / "models" / "id-00000000", {**config, key: "given.pt"}, root=tmp_path)
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / file).touch()
    assert need_part(made, get_round(name).preprocessing["tokenizer"], "tokenizer").name == file


def test_a_slash_in_a_flavor_is_a_hyphen_in_the_name(tmp_path):
    config = {"embedding": "MobileBERT", "embedding_flavor": "google/mobilebert-uncased"}
    made = directory(tmp_path / "id-00000000", config)
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "MobileBERT-google-mobilebert-uncased.pt").touch()
    assert find_part(made, get_round("r7").preprocessing["tokenizer"]).found is not None


@pytest.mark.parametrize("value", [None, 3, "", "x" * 5000, "a\0b", "..", ["x"]])
def test_a_hostile_name_finds_nothing(tmp_path, value):
    made = directory(tmp_path / "id-00000000", {"tokenizer_filename": value})
    with pytest.raises(ExampleProblem, match="the tokenizer is missing"):
        need_part(made, get_round("r8").preprocessing["tokenizer"], "tokenizer")


def test_a_name_cannot_leave_the_folders(tmp_path):
    (tmp_path / "secret.pt").touch()
    made = directory(tmp_path / "d" / "e" / "models" / "id-0", {"tokenizer_filename": "../../../secret.pt"})
    assert find_part(made, get_round("r8").preprocessing["tokenizer"]).found is None


def test_a_tokenizer_given_by_hand(tmp_path):
    config = get_round("r8").with_options({"preprocessing.tokenizer": str(tmp_path / "mine.pt")})
    made = directory(tmp_path / "id-00000000", {})
    with pytest.raises(ExampleProblem, match=r"mine\.pt: no such file; expected the tokenizer of"):
        need_part(made, config.preprocessing["tokenizer"], "tokenizer")
    (tmp_path / "mine.pt").touch()
    assert need_part(made, config.preprocessing["tokenizer"], "tokenizer") == tmp_path / "mine.pt"


def test_a_tokenizer_of_an_unknown_class_and_a_damaged_one(tmp_path):
    import torch

    (tmp_path / "tokenizers").mkdir()
    torch.save(Path("no tokenizer"), tmp_path / "tokenizers" / "roberta-base.pt")
    with pytest.raises((UnsupportedModel, RefusedArchive), match=r"roberta-base\.pt"):
        r9(tmp_path, [GOOD])
    (tmp_path / "tokenizers" / "roberta-base.pt").write_bytes(b"garbage")
    with pytest.raises(RefusedArchive, match=r"roberta-base\.pt"):
        r9(tmp_path, [GOOD])
