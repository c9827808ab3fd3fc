"""The most memory of a row: never a reason why a row fails."""

from __future__ import annotations

import pytest
import torch

from tests.made_rounds import write_round
from trojai_seam.batch.case import Case
from trojai_seam.batch.memory import PeakMemory
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.plan import Plan
from trojai_seam.batch.units import Assignment, WorkUnit
from trojai_seam.loading import Budget
from trojai_seam.rounds import detect_models
from trojai_seam.unlearning import resolve


def test_a_process_knows_its_own() -> None:
    assert (PeakMemory("cpu").bytes or 1) > 0


@pytest.mark.parametrize("problem", [RuntimeError, AssertionError])
def test_a_device_that_does_not_answer_is_no_error(monkeypatch, problem) -> None:
    def refuse(device) -> None:
        raise problem("Invalid device argument")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", refuse)
    assert PeakMemory("cuda:0").bytes is None
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", refuse)
    assert PeakMemory("cuda:0").bytes is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_row_says_what_the_device_says(tmp_path) -> None:
    with pytest.raises((RuntimeError, AssertionError)) as said:
        torch.zeros(1, device="cuda:0")
    write_round(tmp_path / "data")
    directories, round_config = detect_models(tmp_path / "data")
    plan = Plan(str(tmp_path / "data"), round_config, resolve("no-op"), device="cuda")
    unit = WorkUnit(directories[0], Assignment(plan, RunPaths(tmp_path / "run"), Budget(), None, tmp_path), None)
    case = Case(unit)
    case.open("cuda:0")
    assert str(said.value) in case.row["error"]
