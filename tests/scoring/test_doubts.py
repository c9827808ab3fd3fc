"""Accuracies that do not fit what a model's files say."""

from __future__ import annotations

import numpy as np
import pytest

from trojai_seam.scoring.doubts import accuracy_doubt, doubts, kept_accuracy_doubt
from trojai_seam.scoring.intervals import Rate
from trojai_seam.tasks.marks import Marks


@pytest.mark.parametrize(
    ("right", "of", "promised", "doubtful"),
    [
        (20, 50, None, True),
        (20, 50, 1.0, True),
        (20, 50, 0.45, False),  # as promised
        (47, 50, 1.0, False),
        (870, 1000, 1.0, True),  # many examples: 0.87 is not 1.00
        (870, 1000, 0.95, False),  # not far
        (850, 1000, None, False),
        (759, 1000, None, True),
        (0, 1, 1.0, False),  # one wrong answer of one is no evidence of anything
        (0, 2, None, False),
        (1, 3, None, False),
        (0, 3, None, True),
        (2, 5, None, False),
        (0, 0, 1.0, False),
    ],
)
def test_accuracy_far_below_the_promise(right: int, of: int, promised: float | None, doubtful: bool) -> None:
    told = accuracy_doubt(Rate(right, of), promised, "clean_example_acc of METADATA.csv")
    assert (told is not None) == doubtful
    if told is not None:
        assert f"{right / of:.2f} on all {of} clean examples" in told
        assert "preprocessing or the labels are probably wrong" in told
        assert ("METADATA.csv" in told) == (promised is not None)


def test_nothing_is_expected_where_nothing_is_usual() -> None:
    assert accuracy_doubt(Rate(10, 100), None, None, usual=None) is None
    assert accuracy_doubt(Rate(10, 100), 0.5, "the config", usual=None) is not None


@pytest.mark.parametrize(("sentences", "doubtful"), [(40, True), (2, False)])
def test_graded_examples_by_their_interval(sentences: int, doubtful: bool) -> None:
    points = np.tile([0.0, 9.0], sentences // 2)
    marks = Marks(points, np.full(sentences, 12.0), graded=True)
    assert (accuracy_doubt(Rate.of(marks), 1.0, "the config") is not None) == doubtful


def test_kept_accuracy_above_one() -> None:
    row = {"kept_accuracy": 2.5, "kept_accuracy_low": 1.6, "acc_before": 0.4, "acc_after": 1.0}
    told = kept_accuracy_doubt(row)
    assert told is not None
    assert "kept accuracy 2.500 is above 1" in told
    assert "from 0.40 to 1.00" in told
    assert doubts(row, "something") == f"something; {told}"
    by_chance = {"kept_accuracy": 1.02, "kept_accuracy_low": 0.97, "acc_before": 0.98, "acc_after": 1.0}
    assert kept_accuracy_doubt(by_chance) is not None  # a note of the row,
    assert doubts(by_chance, None) is None  # but nothing to worry about
    for kept in (None, 1.0, 0.9):
        assert kept_accuracy_doubt({"kept_accuracy": kept}) is None
