"""Columns of what the phases did: of forgetting and recovery each, of the others together."""

from __future__ import annotations

import pytest
from torch import nn

from trojai_seam.batch.phase_columns import last_of_forgetting, phase_columns
from trojai_seam.unlearning.outcome import Outcome, PhaseOutcome


def outcome(target: int | None, gap: float = 0.0) -> Outcome:
    """Of a method that looks, forgets and recovers."""
    figures = {"suspected": 0.0} if target is None else {"suspected": 1.0, "target": float(target), "gap": gap}
    status = "nothing-found" if target is None else "finds-blend"
    phases = (PhaseOutcome("look", status, figures=figures), PhaseOutcome("forget", "done"), PhaseOutcome("x", "off"))
    return Outcome(nn.Identity(), phases, trace=(), seed=0, num_fit=2)


def test_what_a_search_found_is_in_the_row():
    row = phase_columns([outcome(4, 3.0)])
    assert row["phases"] == "look forget x"
    assert row["phase_statuses"] == "look: finds-blend; x: off"
    assert (row["suspected_class"], row["suspected_gap"]) == (4, 3.0)
    assert row["forget_status"] == "done"


def test_nothing_found_is_an_empty_cell():
    row = phase_columns([outcome(None)])
    assert row["phase_statuses"] == "look: nothing-found; x: off"
    assert row["suspected_class"] is None
    assert row["suspected_gap"] is None


def test_folds_that_differ_have_no_class_in_common():
    row = phase_columns([outcome(4, 3.0), outcome(None), outcome(5, 2.0)])
    assert row["phase_statuses"] == "look: finds-blend 2, nothing-found 1; x: off"
    assert row["suspected_class"] is None
    assert row["suspected_gap"] == pytest.approx(2.5)
    assert phase_columns([outcome(4, 3.0), outcome(None)])["suspected_class"] == 4


def test_of_several_classes_the_clearest_is_in_the_row():
    figures = {"suspected": 2.0, "target": 4.0, "gap": 3.0, "left": 0.1, "reached": 0.9}
    both = Outcome(nn.Identity(), (PhaseOutcome("look", "finds-patch", figures=figures),), trace=(), seed=0, num_fit=2)
    assert phase_columns([both])["suspected_class"] == 4


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (["forget", "recover"], "forget"),
        (["forget", "look", "forget-lightly", "recover"], "forget-lightly"),
        (["look", "forget"], "forget"),
        (["recover", "forget", "tune"], "forget"),
        (["recover", "forget", "tune", "recover"], "tune"),
        ([], "forget"),
    ],
)
def test_forgetting_is_over_before_recovery_begins(names, last):
    assert last_of_forgetting(names) == last
