"""--trace-attack: attack success along the way, of stored states; no figure of the row depends on it."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.made_rounds import write_round
from trojai_seam.api import evaluate
from trojai_seam.batch.curves import TracePoint, attack_curves, read_attack_trace
from trojai_seam.batch.paths import RunPaths
from trojai_seam.reporting import load_run, write_report
from trojai_seam.scoring.attack_trace import StoredStates
from trojai_seam.tables.columns import COLUMNS

FEW = {"forget.max_epochs": 4, "recover.max_epochs": 6}


@pytest.mark.parametrize("stack", ["auto", "off"])
def test_the_row_is_the_same_to_the_last_bit(tmp_path, stack):
    dataset = write_round(tmp_path / "set")
    asked = {"round": "r12", "options": FEW, "device": "cpu", "executor": "serial", "stack": stack, "seed": 3}
    plain = evaluate(dataset, tmp_path / "plain", **asked)
    traced = evaluate(dataset, tmp_path / "traced", trace_attack=True, **asked)
    assert traced["status"].tolist() == ["done", "done"]
    same = [column.name for column in COLUMNS if not column.timing and column.name != "peak_memory"]
    pd.testing.assert_frame_equal(plain[same], traced[same], check_exact=True)
    assert (traced["stacked"] == (stack == "auto")).all()
    paths = RunPaths(tmp_path / "traced")
    clean, poisoned = traced.to_dict("records")
    assert read_attack_trace(paths.record(clean["model_id"])) == []
    points = read_attack_trace(paths.record(poisoned["model_id"]))
    with h5py.File(paths.record(poisoned["model_id"])) as record:
        assert record.attrs["oracle_traced"]
        trace = record["folds/0/trace"]
        epochs = list(zip(trace["phase"].asstr()[:], trace["epoch"][()], strict=True))
    assert [(point.phase, point.epoch) for point in points] == [("shipped", -1), *epochs]
    assert (points[0].acc, points[0].asr) == (poisoned["acc_before"], poisoned["asr_before"])
    assert (points[-1].acc, points[-1].asr) == (poisoned["acc_after"], poisoned["asr_after"])
    forgotten = [point for point in points if point.phase == "forget"][-1]
    curves = attack_curves(points)["asr"]
    assert curves["recover"][0] == curves["forget"][-1] == forgotten.asr
    lines = pd.read_csv(paths.attack_trace)
    assert list(lines.columns) == ["model_id", "fold", "phase", "epoch", "oracle_acc", "oracle_asr"]
    assert len(lines) == len(points)
    assert not RunPaths(tmp_path / "plain").attack_trace.exists()
    assert "Attack success along the way (oracle)" in write_report(tmp_path / "traced").read_text()
    assert load_run(tmp_path / "traced").traced_phases == ("forget", "recover")
    assert load_run(tmp_path / "plain").traced_phases == ()


def test_few_states_are_kept_and_the_last_of_every_phase(tmp_path):
    model = nn.Linear(2, 2)
    states = StoredStates(tmp_path, most=8)
    for phase, epochs in (("forget", 37), ("recover", 100)):
        for epoch in range(epochs):
            with torch.no_grad():
                model.weight.fill_(epoch)
            states(phase, epoch, model)
    kept = [(state.phase, state.epoch) for state in states.states]
    assert len(kept) <= 8 + 2
    assert ("forget", 36) in kept
    assert kept[-1] == ("recover", 99)
    assert {path.name for path in tmp_path.iterdir()} == {state.file.name for state in states.states}
    for (phase, epoch, network), state in zip(states.networks(nn.Linear(2, 2)), states.states, strict=True):
        assert (phase, epoch) == (state.phase, state.epoch)
        assert float(network.weight.detach()[0, 0]) == epoch
    gaps = np.diff([epoch for phase, epoch in kept if phase == "recover"])
    assert gaps.max() <= 2 * math.ceil(137 / 8) * 2


def test_only_the_epochs_that_are_asked_for_are_stored(tmp_path):
    states = StoredStates(tmp_path, epochs={0, 3})
    for epoch in range(6):
        states("forget", epoch, nn.Linear(1, 1))
    assert [state.epoch for state in states.states] == [0, 3]


@pytest.mark.parametrize("problem", [MemoryError("no room"), OSError(28, "No space left on device", "0.npz")])
def test_a_trace_that_fails_costs_and_changes_no_figure(tmp_path, monkeypatch, problem):
    def fails(*_):
        raise problem

    dataset = write_round(tmp_path / "set")
    asked = {"round": "r12", "options": FEW, "device": "cpu", "executor": "serial", "stack": "off", "seed": 3}
    plain = evaluate(dataset, tmp_path / "plain", **asked)
    monkeypatch.setattr("trojai_seam.batch.evaluation.traced", fails)
    results = evaluate(dataset, tmp_path / "traced", trace_attack=True, **asked)
    same = ["status", "batch_size", "acc_after", "asr_after", "fidelity"]
    pd.testing.assert_frame_equal(plain[same], results[same], check_exact=True)
    said = f"no attack trace: {type(problem).__name__}: {getattr(problem, 'strerror', None) or problem}"
    assert said in results.set_index("poisoned")["notes"][True]
    assert not RunPaths(tmp_path / "traced").attack_trace.exists()


def test_states_that_cannot_be_stored_end_the_storing_and_leave_nothing(tmp_path):
    states = StoredStates(tmp_path)
    states("forget", 0, nn.Linear(1, 1))
    for epoch in (1, 2):
        states("forget", epoch, nn.Linear(1, 1).to(torch.bfloat16))
    states("forget", 3, nn.Linear(1, 1))
    assert states.problem is not None
    assert states.problem.startswith("TypeError: ")
    assert (states.states, list(tmp_path.iterdir())) == ([], [])


def test_a_fold_without_a_phase_is_left_out_of_its_curve():
    points = [
        TracePoint(0, "shipped", -1, 1.0, 1.0),
        TracePoint(0, "forget", 0, 0.5, 0.2),
        TracePoint(0, "recover", 0, 0.9, 0.1),
        TracePoint(1, "shipped", -1, 1.0, 1.0),
        TracePoint(1, "forget", 0, 0.7, 0.4),
    ]
    curves = attack_curves(points)["acc"]
    assert curves["forget"].tolist() == pytest.approx([1.0, 0.6])
    assert curves["recover"].tolist() == pytest.approx([0.5, 0.9])
