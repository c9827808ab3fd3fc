"""Accuracies as NIST's test harness counts them, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trojai_seam.scoring.harness import COLUMNS, Answered, Labelled, harness_columns


def answers(*classes: int | None) -> np.ndarray:
    """Logits whose largest is that of the class; None: not finite."""
    rows = np.zeros((len(classes), 3), np.float32)
    for row, one in zip(rows, classes, strict=True):
        row[0 if one is None else one] = np.nan if one is None else 1.0
    return rows


KEY = Labelled(labels=np.array([0, 1, 2, 0]), true=np.array([1, 2, -1, 0]), targets=np.array([0, 0, 0, 0]))


def columns(before: Answered, *after: Answered, is_clean: bool = False) -> dict[str, float | None]:
    return harness_columns(KEY, before, after, is_clean)


def test_every_image_with_a_label_counts_triggered_ones_too():
    before = Answered(answers(0, 1, 2, 0), answers(0, 0, 0, 0), np.zeros(0, np.int64))
    after = Answered(answers(0, 0, 2, 1), answers(1, 2, 1, 0), np.array([1, 2, 3]))
    found = columns(before, after)
    # clean: 3 held-out images and the 3 triggered ones with a true class; the last of these is the target itself
    assert found["harness_clean_acc_before"] == pytest.approx(4 / 6)
    assert found["harness_clean_acc_after"] == pytest.approx((1 + 3) / 6)
    assert found["harness_poisoned_acc_before"] == 1.0
    assert found["harness_poisoned_acc_after"] == 0.25
    assert found["harness_fidelity"] == pytest.approx(0.75 * 1.0)


def test_images_without_finite_logits_leave_the_denominator():
    before = Answered(answers(0, 1, 2, 0), answers(0, 0, 0, None), np.zeros(0, np.int64))
    after = Answered(answers(0, None, 2, 0), answers(None, None, None, None), np.array([1, 2]))
    found = columns(before, after)
    assert found["harness_poisoned_acc_before"] == 1.0
    assert found["harness_poisoned_acc_after"] is None
    assert found["harness_clean_acc_after"] == 1.0
    assert found["harness_fidelity"] is None


def test_folds_speak_for_what_they_held_out_and_together_of_triggered_images():
    before = Answered(answers(0, 1, 2, 0), answers(0, 0, 0, 0), np.zeros(0, np.int64))
    one = Answered(answers(1, 1, 0, 0), answers(1, 0, 0, 0), np.array([0, 1]))
    two = Answered(answers(0, 0, 2, 0), answers(1, 2, 0, 0), np.array([2, 3]))
    found = columns(before, one, two)
    assert found["harness_clean_acc_after"] == pytest.approx((1 + 2 + 1 + 0.5 + 1) / 7)
    assert found["harness_poisoned_acc_after"] == pytest.approx((0 + 0.5 + 1 + 1) / 4)


def test_clean_models_and_nothing_held_out():
    before = Answered(answers(0, 1, 2, 1), answers(), np.zeros(0, np.int64))
    key = Labelled(KEY.labels, np.zeros(0, np.int64), np.zeros(0, np.int64))
    after = Answered(answers(0, 0, 2, 1), answers(), np.array([0, 1, 2, 3]))
    found = harness_columns(key, before, [after], is_clean=True)
    assert found["harness_fidelity"] == pytest.approx((2 / 4) / (3 / 4))
    assert found["harness_poisoned_acc_after"] is None
    nothing = harness_columns(
        key, before, [Answered(after.clean, after.triggered, np.zeros(0, np.int64))], is_clean=True
    )
    assert nothing == dict.fromkeys(COLUMNS)
