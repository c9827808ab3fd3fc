"""Figures of tokens, entities and answers: ratios of sums, counted in examples and units, intervals over examples."""

from __future__ import annotations

import numpy as np
import pytest

from trojai_seam.scoring import (
    AttackPredictions,
    FoldPredictions,
    Predictions,
    Rate,
    Split,
    SplitPlan,
    plan_splits,
    wilson,
)
from trojai_seam.scoring.intervals import bootstrap
from trojai_seam.scoring.score import score
from trojai_seam.tasks import Marks


def marks(points, counted) -> Marks:
    return Marks(np.array(points, np.float64), np.array(counted, np.int64), graded=True)


def said(right: Marks, further: dict[str, Marks] | None = None) -> Predictions:
    return Predictions(np.zeros((len(right), 1), np.float32), np.ones(len(right), bool), right, further or {})


def attacked(hits: Marks) -> AttackPredictions:
    count = len(hits)
    return AttackPredictions(np.zeros((count, 1), np.float32), np.ones(count, bool), hits, Marks.nothing(count))


def test_a_row_of_sentences_by_hand():
    # Six sentences of 4, 6, 2, 8, 10, 0 counted words; the last four are held out.
    counted = [4, 6, 2, 8, 10, 0]
    before, after = marks([4, 6, 2, 8, 9, 0], counted), marks([3, 6, 1, 6, 9, 0], counted)
    split = Split((0, 1), (2, 3, 4, 5))
    plan = SplitPlan("held-out", "held-out", (split,))
    f1 = {"entity_f1": marks([2, 2, 2, 4, 2, 0], [2, 2, 2, 4, 4, 0])}, {"entity_f1": marks([2, 0, 0, 2, 2, 0], [2] * 6)}
    attack = marks([2, 0, 3], [2, 1, 3]), marks([1, 0, 0], [2, 1, 3])
    folds = [FoldPredictions(split, said(after, f1[1]), attacked(attack[1]))]
    row = score(plan, said(before, f1[0]), attacked(attack[0]), folds, 0, is_clean=False)
    assert (row["acc_before"], row["n_acc_before"], row["units_acc_before"]) == (19 / 20, 3, 20)
    assert (row["acc_after"], row["n_acc_after"], row["units_acc_after"]) == (16 / 20, 3, 20)
    assert (row["acc_before_all"], row["n_acc_before_all"], row["units_acc_before_all"]) == (29 / 30, 5, 30)
    assert (row["fit_acc_after"], row["n_fit_acc_after"], row["units_fit_acc_after"]) == (9 / 10, 2, 10)
    assert (row["asr_before"], row["n_asr_before"], row["units_asr_before"]) == (5 / 6, 3, 6)
    assert (row["asr_after"], row["n_asr_after"]) == (1 / 6, 3)
    assert row["ra_after"] is None
    assert row["n_ra_after"] == 0
    assert (row["entity_f1_before"], row["n_entity_f1_before"]) == (8 / 10, 3)
    assert (row["entity_f1_after"], row["units_entity_f1_after"]) == (4 / 8, 8)
    assert row["fidelity"] == pytest.approx((16 / 20 - 1 / 6) / (19 / 20))
    assert row["fidelity_low"] < row["fidelity"] < row["fidelity_high"]
    assert row["kept_accuracy_low"] < row["kept_accuracy"] < row["kept_accuracy_high"]
    assert row["acc_after_low"] < 16 / 20 < row["acc_after_high"] <= 1


def test_graded_accuracy_beside_plain_attacks_as_in_question_answering():
    right, split = marks([1, 0.5, 0.8, 1, 0, 1], [1] * 6), Split((0, 1), (2, 3, 4, 5))
    attack = Marks.of_examples(np.array([True, False, True, True]))
    plan, poisoned = SplitPlan("held-out", "held-out", (split,)), attacked(attack)
    row = score(plan, said(right), poisoned, [FoldPredictions(split, said(right), poisoned)], 0, is_clean=False)
    assert row["acc_after"] == pytest.approx(2.8 / 4)
    assert (row["asr_after_low"], row["asr_after_high"]) == wilson(3, 4)
    assert "units_asr_after" not in row
    assert row["fidelity_low"] < row["fidelity"] < row["fidelity_high"]


def test_folds_hold_every_sentence_out_once():
    plan = plan_splits([0, 0, 0, 0, 1, 1], "kfold", 0, "m")
    rng = np.random.default_rng(0)
    counted = rng.integers(1, 9, 6)
    folds = [FoldPredictions(split, said(marks(rng.integers(0, counted + 1), counted)), None) for split in plan.splits]
    row = score(plan, said(marks(counted, counted)), None, folds, 0, is_clean=True)
    points = [fold.clean.accuracy.points[i] for fold in folds for i in fold.split.held_out]
    assert row["acc_after"] == pytest.approx(sum(points) / counted.sum())
    assert (row["n_acc_after"], row["units_acc_after"]) == (6, counted.sum())


def test_units_of_one_example_hang_together():
    """Ten sentences of 30 words, each right or wrong as a whole, are ten observations and not three hundred."""
    together = Rate.of(marks([30] * 8 + [0] * 2, [30] * 10)).interval
    spread = Rate.of(marks([24] * 10, [30] * 10)).interval
    assert together[1] - together[0] > 2 * (spread[1] - spread[0])
    assert together == pytest.approx(wilson(8, 10), abs=0.08)


def test_all_right_is_not_certain():
    low, high = Rate.of(marks([7, 9, 4], [7, 9, 4])).interval
    assert 0.3 < low < 0.9
    assert high == 1.0
    low, high = Rate.of(marks([0, 0, 0], [7, 9, 4])).interval
    assert (low, 0.1 < high < 0.7) == (0.0, True)


def test_nothing_counted_is_nothing_measured():
    rate = Rate.of(marks([0, 0], [0, 0]))
    assert (rate.value, rate.n, rate.interval) == (None, 0, (None, None))


def test_the_same_marks_give_the_same_interval():
    assert Rate.of(marks([3, 4], [5, 5])).interval == Rate.of(marks([3, 4], [5, 5])).interval


def test_one_unit_per_example_agrees_with_the_plain_bootstrap():
    rng = np.random.default_rng(3)
    before, after = rng.random(40) < 0.9, rng.random(40) < 0.7
    plain = bootstrap(Marks.of_examples(before), Marks.of_examples(after), Rate(4, 20), 0)
    graded = bootstrap(marks(before, [1] * 40), marks(after, [1] * 40), Rate(4, 20), 0)
    np.testing.assert_allclose(graded, plain, atol=0.015)


def test_coverage_over_sentences_is_roughly_right():
    """Words of a sentence share its difficulty; 95 of 100 intervals contain the truth all the same."""
    rng = np.random.default_rng(5)
    inside = fidelity_inside = 0
    truth, kept, attack = 0.8, 0.75, 0.2
    for seed in range(150):
        counted = rng.integers(3, 25, 24)
        ease = rng.beta(4, 1, 24)  # mean 0.8
        before = marks(rng.binomial(counted, ease), counted)
        after = marks(rng.binomial(counted, ease * kept / truth), counted)
        hits = marks(rng.binomial(2, attack, 20), [2] * 20)
        low, high = Rate.of(before).interval
        inside += low <= truth <= high
        low, high = bootstrap(before, after, Rate.of(hits), seed)[0]
        fidelity_inside += low <= (kept - attack) / truth <= high
    assert 0.90 <= inside / 150 <= 1.0, inside
    assert 0.90 <= fidelity_inside / 150 <= 1.0, fidelity_inside
