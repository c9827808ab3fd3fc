"""Detection: the features, what ``configure`` learns from them, and that ``infer`` finds it again."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch

from tests.container.conftest import hidden
from tests.made_rounds import trained_copy, trained_round
from trojai_seam.container.calibration import (
    Calibration,
    cross_entropy,
    fit,
    left_out,
    read_calibration,
    roc_auc,
    to_rows,
)
from trojai_seam.container.dynamics import FEATURES
from trojai_seam.container.probes import can_be_probed, noise, stamped
from trojai_seam.errors import ConfigProblem


def test_the_fit_is_the_maximum_of_the_penalised_likelihood():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 3)) * [1, 5, 0.1] + [0, 3, -2]
    truth = (rows[:, 0] + 0.2 * rows[:, 1] + rng.normal(size=80) > 0.6).astype(float)
    mean, scale, weights, intercept = fit(rows, truth, 2.0)

    def objective(w: np.ndarray, b: float) -> float:
        x = ((rows - mean) / scale).clip(-5, 5)
        p = 1 / (1 + np.exp(-(x @ w + b)))
        return cross_entropy(p, truth) * len(truth) + 1.0 * (w**2).sum()

    best = objective(weights, intercept)
    for step in np.eye(4) * 1e-3:
        for sign in (1, -1):
            assert objective(weights + sign * step[:3], intercept + sign * step[3]) > best
    assert np.allclose(mean, rows.mean(axis=0))
    assert np.allclose(scale, rows.std(axis=0))


def test_missing_and_constant_features_say_nothing():
    rows = np.array([[0.0, 7.0, math.nan], [1.0, 7.0, math.nan], [2.0, 7.0, math.nan], [3.0, 7.0, math.nan]])
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    _, scale, weights, _ = fit(rows, truth, 1.0)
    assert weights[0] > 0.1
    assert weights[1] == weights[2] == 0
    assert (scale > 0).all()


def test_auc_and_cross_entropy_by_hand():
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    assert roc_auc(np.array([0.9, 0.5, 0.5, 0.1]), truth) == (1 + 1 + 0.5 + 1) / 4
    assert cross_entropy(np.full(4, 0.5), truth) == pytest.approx(math.log(2))
    assert math.isfinite(cross_entropy(np.array([0.0, 1.0, 0.0, 1.0]), truth))


def test_left_out_models_are_answered_by_others():
    """On labels that mean nothing, a fit that saw its own models would look good; one that did not, cannot."""
    rng = np.random.default_rng(3)
    rows, truth = rng.normal(size=(40, 30)), np.array([0.0, 1.0] * 20)
    mean, scale, weights, intercept = fit(rows, truth, 0.01)
    seen = 1 / (1 + np.exp(-(((rows - mean) / scale) @ weights + intercept)))
    assert roc_auc(seen, truth) > 0.95
    assert roc_auc(left_out(rows, truth, 0.01, 5, 0), truth) < 0.8
    assert np.isfinite(left_out(rows, truth, 1.0, 20, 0)).all()


def test_a_written_calibration_reads_back(tmp_path):
    made = Calibration(
        "cyber-pdf-dec2022", ("a", "b"), np.array([1.0, 2.0]), np.array([1.0, 0.5]), np.array([2.0, -1.0]), 0.1, {}, {}
    )
    (tmp_path / "seam_detector.json").write_text(json.dumps(made.document()))
    again = read_calibration(tmp_path)
    assert again is not None
    assert again.document() == made.document()
    assert again.probability({"a": 2.0, "b": 2.0}) == pytest.approx(1 / (1 + math.exp(-2.1)))
    assert again.probability({"a": math.nan, "b": math.nan}) == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert again.probability({"a": 1e9, "b": 2.0}) == pytest.approx(1 / (1 + math.exp(-10.1)))  # five deviations
    assert read_calibration(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 2}', '{"format": 1, "round": "x", "features": ["a"], "mean": [1, 2]}', '"text"',
     '{"format": 1, "round": "x", "features": ["a"], "mean": [0], "scale": [0], "weights": [1], "intercept": 0, '
     '"settings": {}, "measured": {}}'],
)  # fmt: skip
def test_a_calibration_that_cannot_be_used_is_refused(text, tmp_path):
    (tmp_path / "seam_detector.json").write_text(text)
    with pytest.raises(ConfigProblem):
        read_calibration(tmp_path)


@pytest.mark.parametrize("shape", [(6, 135), (3, 3, 16, 16)])
def test_probes_look_like_the_inputs_and_leave_them_alone(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    generator = torch.Generator().manual_seed(1)
    drawn = noise({"x": x}, 10, generator).inputs["x"]
    marked = stamped({"x": x}, torch.arange(shape[0]), 10, generator)
    assert torch.equal(x, before)
    assert drawn.shape == marked.inputs["x"].shape == (10, *shape[1:])
    assert marked.labels.tolist() == [i % shape[0] for i in range(10)]
    changed = (marked.inputs["x"] != x[torch.arange(10) % shape[0]]).float().flatten(1).mean(dim=1)
    assert (changed > 0).all()
    assert (changed < 0.5).all()
    if len(shape) == 4:
        assert drawn.min() >= x.min()
        assert drawn.max() <= x.max()


def test_texts_cannot_be_probed():
    assert not can_be_probed({"input_ids": torch.zeros(2, 5, dtype=torch.int64)})
    assert not can_be_probed({"x": torch.zeros(2, 5, dtype=torch.int64)})
    assert not can_be_probed({"x": torch.zeros(2, 5, 7)})


@pytest.mark.slow
def test_configure_then_infer(container, scale, tmp_path, capsys):
    """Eight models, copies of four: too few to be good, enough to see that the same model gets the same answer."""
    models = trained_copy(tmp_path / "round", 8) / "models"
    (models / "id-00000007" / "ground_truth.csv").unlink()
    (models / "id-00000007" / "config.json").write_text("{}")
    quick = {"infer_recover_epochs": 5, "infer_probes": 200}
    learned = tmp_path / "learned"
    status = container(
        "configure", "--automatic_configuration", configure_models_dirpath=models,
        scratch_dirpath=tmp_path / "scratch", learned_parameters_dirpath=learned, **quick,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert status == 0, said
    assert "left out" in said
    assert "id-00000007: whether it is poisoned is not known" in said
    assert "learned from 7 models" in said
    assert sorted(path.name for path in learned.iterdir()) == [
        "metaparameters.json", "scale_params.npy", "seam_detector.json",
    ]  # fmt: skip
    used = json.loads((learned / "metaparameters.json").read_text())
    assert used["infer_probes"] == 200
    answers = {}
    for name in ("id-00000000", "id-00000001"):
        active = hidden(trained_round() / "models" / name, tmp_path / name)
        result, features = tmp_path / f"{name}.txt", tmp_path / f"{name}.csv"
        assert container(
            model_filepath=active, result_filepath=result, scratch_dirpath=tmp_path / "scratch",
            examples_dirpath=active / "clean-example-data", learned_parameters_dirpath=learned,
            features_filepath=features, **quick,
        ) == 0  # fmt: skip
        names, values = features.read_text().splitlines()
        assert names == ",".join(FEATURES)
        assert all(math.isfinite(float(value)) for value in values.split(","))
        answers[name] = float(result.read_text())
    assert answers["id-00000001"] > answers["id-00000000"]  # both were in the training set
    wrong = tmp_path / "wrong.txt"
    container(
        model_filepath=active / "model.pt", result_filepath=wrong, scratch_dirpath=tmp_path / "scratch",
        examples_dirpath=active / "clean-example-data", learned_parameters_dirpath=learned, round="r16", **quick,
    )  # fmt: skip
    assert wrong.read_text() == "0.500000\n"
    assert "says nothing about cyber-apk-nov2023" in capsys.readouterr().err


def test_configure_needs_both_kinds(container, tmp_path, capsys):
    shutil.copytree(trained_round(), tmp_path / "round")
    status = container(
        "configure", configure_models_dirpath=tmp_path / "round", scratch_dirpath=tmp_path / "scratch",
        learned_parameters_dirpath=tmp_path / "learned", infer_recover_epochs=1, infer_probes=20,
    )  # fmt: skip
    assert status == 2
    assert "2 poisoned and 2 clean models could be used, expected at least 3 of each" in capsys.readouterr().err
    assert not (tmp_path / "learned" / "seam_detector.json").exists()


def test_rows_follow_the_names():
    assert to_rows([{"b": 2.0, "a": 1.0}], ("a", "b")).tolist() == [[1.0, 2.0]]
