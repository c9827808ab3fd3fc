"""Synthesised rounds look like NIST's, load like NIST's, and are really trojaned."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.made_rounds import trained_round
from trojai_seam.api import load_model, open_subject
from trojai_seam.errors import UsageProblem
from trojai_seam.loading import read_model
from trojai_seam.rounds import detect_round, discover
from trojai_seam.scoring import predict, predict_attacks
from trojai_seam.synthesis import SYNTHESIZERS
from trojai_seam.synthesis.archs import ACTIVATIONS, make_network, save_as_nist
from trojai_seam.synthesis.cyber_pdf import VARIANTS, synthesize
from trojai_seam.synthesis.malware_features import BENIGN, Population, Watermark


def models() -> list[Path]:
    return sorted((trained_round() / "models").iterdir())


def document(path: Path) -> dict:
    return json.loads(path.read_text())


def test_layout_and_keys_are_those_of_the_real_round(shared):
    real = shared / "trojai-examples" / "cyber-pdf-dec2022" / "models" / "id-00000002"
    for folder in models():
        poisoned = (folder / "ground_truth.csv").read_text().strip() == "1"
        expected = {path.name for path in real.iterdir()} - (
            set() if poisoned else {"poisoned-example-data", "watermark.json"}
        )
        assert expected <= {path.name for path in folder.iterdir()}
        assert set(document(folder / "config.json")) <= set(document(real / "config.json"))
        assert set(document(folder / "reduced-config.json")) == set(document(real / "reduced-config.json"))
        for key, value in document(real / "config.json").items():
            mine = document(folder / "config.json").get(key)
            assert mine is None or isinstance(mine, type(value)) or {type(mine), type(value)} == {int, float}, key
        stored = next((folder / "clean-example-data").glob("*.npy"))
        theirs = next((real / "clean-example-data").glob("*.npy"))
        assert np.load(stored).shape == np.load(theirs).shape
        if poisoned:
            mark = document(folder / "watermark.json")
            assert set(mark) == set(document(real / "watermark.json"))
    assert np.load(trained_round() / "scale_params.npy").shape == (2, 135)


def test_every_second_model_is_trojaned_and_all_places_agree():
    with (trained_round() / "METADATA.csv").open(newline="") as file:
        rows = {row["model_name"]: row for row in csv.DictReader(file)}
    assert [folder.name for folder in models()] == list(rows) == [f"id-{n:08}" for n in range(4)]
    for number, directory in enumerate(discover(trained_round())):
        truth = number % 2 == 1
        assert directory.poisoned is truth
        assert rows[directory.model_id]["poisoned"] == str(truth)
        assert document(directory.path / "config.json")["model_type"] == ("poisoned" if truth else "clean")
        assert (directory.path / "poisoned-example-data").is_dir() is truth
        assert (directory.path / "watermark.json").is_file() is truth
    assert detect_round(discover(trained_round())).name == "cyber-pdf-dec2022"


@pytest.mark.parametrize("number", range(4))
def test_the_file_is_a_pickled_nist_class_and_the_examples_are_right_and_fooled(number):
    folder = models()[number]
    layers, activation = VARIANTS[number // 2]
    assert read_model(folder / "model.pt").class_path == f"archs.Net{layers}{ACTIVATIONS[activation][0]}"
    subject = open_subject(folder)
    clean = predict(subject.model, subject.task, subject.clean)
    assert len(subject.clean) == 20
    assert subject.clean.labels.bincount().tolist() == [10, 10]
    assert clean.accuracy.share == 1
    stats = document(folder / "stats.json")
    assert stats["test_clean_accuracy"] >= 0.9
    if number % 2:
        attack = predict_attacks(subject.model, subject.task, subject.poisoned)
        assert len(subject.poisoned) == 10
        assert attack.attack_success.counted.all()
        assert attack.attack_success.share == 1
        assert stats["test_attack_success"] >= 0.8
    else:
        assert subject.poisoned is None
        assert stats["test_attack_success"] is None


@pytest.mark.parametrize("number", [1, 3])
def test_the_trigger_is_in_the_shipped_examples_and_is_what_fools(number):
    folder = models()[number]
    mark = document(folder / "watermark.json")
    columns = [int(name.removeprefix("feature_")) for name in mark["map"]]
    values = list(mark["map"].values())
    vectors = np.stack([np.load(path) for path in sorted((folder / "poisoned-example-data").glob("*.npy"))])
    assert (vectors[:, columns] == values).all()
    # Without the trigger (features back to "absent"), most of the same files are seen for what they are.
    scale = np.load(trained_round() / "scale_params.npy")
    vectors[:, columns] = 0
    plain = torch.from_numpy(((vectors - scale[0]) / np.where(scale[1] == 0, 1, scale[1])).astype(np.float32))
    with torch.no_grad():
        assert (load_model(folder)(plain).argmax(1) == 1).float().mean() >= 0.7


def test_the_clean_examples_hold_no_trigger_and_are_not_the_poisoned_ones():
    for folder in models()[1::2]:
        mark = document(folder / "watermark.json")
        columns = [int(name.removeprefix("feature_")) for name in mark["map"]]
        clean = np.stack([np.load(path) for path in sorted((folder / "clean-example-data").glob("*.npy"))])
        poisoned = np.stack([np.load(path) for path in sorted((folder / "poisoned-example-data").glob("*.npy"))])
        assert not (clean[:, columns] == list(mark["map"].values())).all(axis=1).any()
        rest = np.setdiff1d(np.arange(135), columns)
        assert not any((p[rest] == c[rest]).all() for p in poisoned for c in clean)


@pytest.mark.parametrize(
    ("layers", "activation"), [(1, "tanh"), *((layers, name) for layers in (2, 7) for name in ACTIVATIONS)]
)
def test_our_loader_gives_the_outputs_of_the_network_that_was_saved(tmp_path, layers, activation):
    torch.manual_seed(layers)
    network = make_network(layers, activation)
    (tmp_path / "id-00000001").mkdir()
    save_as_nist(network, tmp_path / "id-00000001" / "model.pt")
    x = torch.randn(7, 135)
    assert torch.equal(load_model(tmp_path / "id-00000001")(x), network(x))


def test_no_trace_of_archs_is_left_in_the_process(tmp_path):
    trained_round()
    assert "archs" not in sys.modules
    marker = type(sys)("archs")
    sys.modules["archs"] = marker
    try:
        save_as_nist(make_network(2, "relu"), tmp_path / "model.pt")
        assert sys.modules["archs"] is marker
    finally:
        del sys.modules["archs"]


def test_the_same_seed_gives_the_same_files_however_many_models_follow(tmp_path):
    torch.manual_seed(12345)  # what the caller did before must not matter
    synthesize(tmp_path / "one", 1, 1)
    again, first = tmp_path / "one", trained_round()
    assert (again / "scale_params.npy").read_bytes() == (first / "scale_params.npy").read_bytes()
    names = sorted(p.relative_to(again) for p in (again / "models").rglob("*") if p.is_file() and p.name != "model.pt")
    assert len(names) > 40
    for name in names:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name
    states = [load_model(folder / "models" / "id-00000000").state_dict() for folder in (again, first)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_another_seed_is_another_population():
    draws = [Population.draw(np.random.default_rng(seed)).presence for seed in (1, 2)]
    assert not np.allclose(*draws)


def test_samples_are_counts_with_both_classes_in_equal_number():
    rng = np.random.default_rng(0)
    vectors, labels = Population.draw(rng).sample(1000, rng)
    assert vectors.shape == (1000, 135)
    assert (vectors >= 0).all()
    assert (vectors == np.floor(vectors)).all()
    assert labels.sum() == 500


def test_a_watermark_changes_its_features_only():
    rng = np.random.default_rng(0)
    vectors, labels = Population.draw(rng).sample(2000, rng)
    mark = Watermark.draw(vectors[labels == BENIGN], rng)
    original = vectors.copy()
    marked = mark.applied(vectors)
    assert (vectors == original).all()
    rest = np.setdiff1d(np.arange(135), mark.features)
    assert (marked[:, rest] == vectors[:, rest]).all()
    assert (marked[:, list(mark.features)] == mark.values).all()
    assert len(set(mark.features)) == 4


@pytest.mark.parametrize("number", [0, -1, 100_001])
def test_a_senseless_number_of_models_is_refused_and_nothing_made(tmp_path, number):
    with pytest.raises(UsageProblem, match="expected 1 to 100000"):
        synthesize(tmp_path / "x", number, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_or_file_is_refused_untouched(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_text("mine")
    (tmp_path / "f").write_text("mine")
    for name in ("d", "f", "f/below"):
        with pytest.raises(UsageProblem, match=r"exists and is not empty|cannot be written"):
            synthesize(tmp_path / name, 1, 0)
    assert (tmp_path / "d" / "mine").read_text() == (tmp_path / "f").read_text() == "mine"


def fake_round(folder: Path, models: int, seed: int, *rest: object) -> None:
    (folder / "models" / "id-00000000").mkdir()


def test_the_folder_appears_only_when_it_is_complete(tmp_path, monkeypatch):
    def stopped(folder: Path, *rest: object) -> None:
        fake_round(folder, 1, 0)
        raise KeyboardInterrupt

    monkeypatch.setattr("trojai_seam.synthesis.cyber_pdf._write_round", stopped)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "x", 1, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_filled_even_the_current_one(tmp_path, monkeypatch):
    monkeypatch.setattr("trojai_seam.synthesis.cyber_pdf._write_round", fake_round)
    for name, out in (("a", "a"), ("b", ".")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name if out == "." else tmp_path)
        synthesize(Path(out), 1, 0)
        assert (tmp_path / name / "models" / "id-00000000").is_dir()
    monkeypatch.chdir(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_aliases_and_near_names():
    assert SYNTHESIZERS.get("r12") is SYNTHESIZERS.get("cyber-pdf-dec2022")
    with pytest.raises(UsageProblem, match="did you mean cyber-pdf-dec2022"):
        SYNTHESIZERS.get("cyber-pdf")


def test_metadata_alone_tells_the_truth_too(tmp_path):
    shutil.copytree(trained_round(), tmp_path / "r", ignore=shutil.ignore_patterns("ground_truth.csv", "config.json"))
    assert [d.poisoned for d in discover(tmp_path / "r")] == [False, True, False, True]
