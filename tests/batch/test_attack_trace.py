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
from trojai_seam.batch.curves import attack_curves, read_attack_trace
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
