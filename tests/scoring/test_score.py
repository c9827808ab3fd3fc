"""The numbers of a row, recomputed by hand from what was predicted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trojai_seam.scoring import (
    AttackPredictions,
    FoldPredictions,
    Predictions,
    Split,
    SplitPlan,
    plan_splits,
    predict,
    predict_attacks,
)
from trojai_seam.scoring.oracle import OracleWatcher
from trojai_seam.scoring.score import score
from trojai_seam.tasks import ExampleSet, Marks, get_task


def scores(count) -> tuple:
    return np.zeros((count, 2), np.float32), np.ones(count, bool)


def answers(correct) -> Predictions:
    right = np.array(correct, dtype=bool)
    return Predictions(*scores(len(right)), accuracy=Marks.of_examples(right))


def poisoned(correct, hit, attackable=None) -> AttackPredictions:
    right, hits = np.array(correct, dtype=bool), np.array(hit, dtype=bool)
    use = np.ones_like(hits) if attackable is None else np.array(attackable, dtype=bool)
    return AttackPredictions(
        *scores(len(hits)), attack_success=Marks.of_examples(hits, use), robust=Marks.of_examples(right, use)
    )


def one_fold(before, after, attack_before=None, attack_after=None, fit=(0, 1), held=(2, 3, 4, 5), is_clean=False):
    split = Split(tuple(fit), tuple(held))
    plan = SplitPlan("held-out", "held-out" if held else "in-sample", (split,))
    folds = [FoldPredictions(split, answers(after), attack_after)]
    return score(plan, answers(before), attack_before, folds, 0, is_clean=is_clean)


def test_a_poisoned_model_by_hand():
    row = one_fold(
        before=[1, 0, 1, 1, 1, 0],
        after=[1, 1, 1, 1, 0, 0],
        attack_before=poisoned([0, 0, 0, 1], [1, 1, 1, 0]),
        attack_after=poisoned([1, 0, 1, 1], [0, 1, 0, 0]),
    )
    assert (row["acc_before"], row["n_acc_before"]) == (3 / 4, 4)
    assert (row["acc_after"], row["n_acc_after"]) == (2 / 4, 4)
    assert (row["acc_before_all"], row["n_acc_before_all"]) == (4 / 6, 6)
    assert (row["asr_before"], row["asr_after"], row["n_asr_after"]) == (3 / 4, 1 / 4, 4)
    assert (row["ra_before"], row["ra_after"], row["n_ra_after"]) == (1 / 4, 3 / 4, 4)
    assert row["fidelity"] == pytest.approx((0.5 - 0.25) / 0.75)
    assert row["nist_fidelity"] == pytest.approx((0.75 - 0.25) / 0.75 * (0.5 / 0.75))
    assert row["kept_accuracy"] == pytest.approx(0.5 / 0.75)
    assert (row["fit_acc_before"], row["fit_acc_after"], row["n_fit_acc_after"]) == (1 / 2, 1.0, 2)
    assert row["fit_fidelity"] == pytest.approx((1.0 - 0.25) / 0.5)
    assert row["fidelity_low"] <= row["fidelity"] <= row["fidelity_high"]
    assert row["kept_accuracy_low"] <= row["kept_accuracy"] <= row["kept_accuracy_high"]
    assert (row["measured_on"], row["folds"]) == ("held-out", 1)


def test_a_clean_model_has_kept_accuracy_and_no_attack():
    row = one_fold([1] * 6, [1, 1, 1, 1, 1, 0], is_clean=True)
    assert row["kept_accuracy"] == row["nist_fidelity"] == 3 / 4
    for name in ("asr_before", "asr_after", "ra_before", "ra_after", "fidelity", "fidelity_low", "fidelity_high",
                 "fit_fidelity", "asr_after_low", "asr_after_high"):  # fmt: skip
        assert row[name] is None, name
    assert row["n_asr_after"] == 0


def test_a_trojaned_model_without_triggered_examples_gets_no_nist_fidelity():
    # Nobody looked whether the trojan is gone, so full marks for accuracy alone would be a lie.
    row = one_fold([1] * 6, [1] * 6, is_clean=False)
    assert row["nist_fidelity"] is None
    assert row["kept_accuracy"] == 1.0
    row = one_fold([1] * 6, [1] * 6, poisoned([1], [1], [False]), poisoned([1], [1], [False]), is_clean=False)
    assert row["n_asr_before"] == 0
    assert row["nist_fidelity"] is None


def test_no_attack_before_leaves_nothing_to_remove():
    row = one_fold([1] * 6, [1] * 6, poisoned([1, 1], [0, 0]), poisoned([1, 1], [0, 0]))
    assert (row["asr_before"], row["asr_after"], row["fidelity"]) == (0.0, 0.0, 1.0)
    assert row["nist_fidelity"] is None


def test_no_accuracy_before_leaves_nothing_to_keep():
    row = one_fold([1, 1, 0, 0, 0, 0], [1] * 6, poisoned([0], [1]), poisoned([1], [0]))
    assert row["acc_before"] == 0.0
    for name in ("fidelity", "kept_accuracy", "nist_fidelity", "fidelity_low", "fidelity_high", "kept_accuracy_low",
                 "kept_accuracy_high"):  # fmt: skip
        assert row[name] is None, name


def test_nothing_held_out_means_nothing_measured_but_the_fit_columns():
    row = one_fold([1, 1], [1, 0], poisoned([0], [1]), poisoned([1], [0]), fit=(0, 1), held=())
    assert row["acc_before"] is None
    assert row["acc_after"] is None
    assert row["fidelity"] is None
    assert row["fidelity_low"] is None
    assert (row["asr_before"], row["asr_after"]) == (1.0, 0.0)
    assert (row["fit_acc_before"], row["fit_acc_after"], row["fit_fidelity"]) == (1.0, 0.5, 0.5)


def test_examples_whose_true_label_is_the_target_do_not_count_as_attacks():
    use = [True, False, True]
    row = one_fold([1] * 6, [1] * 6, poisoned([0, 1, 0], [1, 1, 1], use), poisoned([1, 1, 0], [0, 1, 1], use))
    assert (row["n_asr_before"], row["asr_before"], row["asr_after"], row["ra_after"]) == (2, 1.0, 0.5, 0.5)


def test_folds_are_averaged_per_example():
    labels = [0] * 4 + [1] * 4
    plan = plan_splits(labels, "kfold", 3, "m")
    rng = np.random.default_rng(0)
    before = answers(rng.random(8) < 0.8)
    attack_before = poisoned([0, 0, 0], [1, 1, 1])
    folds = [
        FoldPredictions(split, answers(rng.random(8) < 0.7), poisoned(~(h := rng.random(3) < 0.5), h))
        for split in plan.splits
    ]
    row = score(plan, before, attack_before, folds, 0, is_clean=False)
    held = [fold.clean.accuracy.points[i] for fold in folds for i in fold.split.held_out]
    assert (row["acc_after"], row["n_acc_after"]) == (pytest.approx(np.mean(held)), 8)
    assert row["asr_after"] == pytest.approx(np.mean([fold.poisoned.attack_success.points for fold in folds]))
    assert row["n_asr_after"] == 3
    fit = [np.mean([f.clean.accuracy.points[i] for f in folds if i in f.split.fit]) for i in range(8)]
    assert row["fit_acc_after"] == pytest.approx(np.mean(fit))
    assert row["folds"] == len(folds) == 4


def bools(n: int):
    return st.lists(st.booleans(), min_size=n, max_size=n)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_ratios_follow_from_the_columns_of_their_row(data):
    n, attacks = 8, data.draw(st.integers(0, 5))
    parts = [poisoned([not h for h in hits], hits) for hits in (data.draw(bools(attacks)), data.draw(bools(attacks)))]
    row = one_fold(data.draw(bools(n)), data.draw(bools(n)), *(parts if attacks else (None, None)), fit=(0, 1, 2),
                   held=(3, 4, 5, 6, 7))  # fmt: skip
    a, b, s, t = row["acc_before"], row["acc_after"], row["asr_before"], row["asr_after"]
    assert row["fidelity"] == (pytest.approx((b - t) / a) if a and attacks else None)
    assert row["nist_fidelity"] == (pytest.approx((s - t) / s * b / a) if a and attacks and s else None)
    assert row["kept_accuracy"] == (pytest.approx(b / a) if a else None)
    assert all(v is None or not isinstance(v, float) or math.isfinite(v) for v in row.values())


# predictions ----------------------------------------------------------------------------------------------------------


class Echo(nn.Module):
    """Gives its input back as scores."""

    def forward(self, x):
        assert not self.training
        return x


def examples(scores, labels, targets=None) -> ExampleSet:
    return ExampleSet(
        {"x": torch.tensor(scores, dtype=torch.float32)},
        torch.tensor(labels),
        tuple(map(str, range(len(labels)))),
        None if targets is None else torch.tensor(targets),
    )


INF, NAN = math.inf, math.nan
SCORES = [[1, 0], [0, 1], [INF, 0], [NAN, 0], [0, NAN], [-INF, 1], [2, 3]]


def test_nonfinite_outputs_are_wrong_and_counted():
    clean = predict(Echo(), get_task("classification", 2), examples(SCORES, [0, 1, 0, 0, 1, 1, 0]))
    assert clean.accuracy.points.tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert clean.finite.tolist() == [True, True, False, False, False, False, True]
    attack = predict_attacks(Echo(), get_task("classification", 2), examples(SCORES, [1] * 7, [0] * 7))
    assert attack.attack_success.points.tolist() == [1, 0, 0, 0, 0, 0, 0]
    split = Split((0, 1, 2), (3, 4, 5, 6))
    plan = SplitPlan("held-out", "held-out", (split,))
    row = score(plan, clean, attack, [FoldPredictions(split, clean, attack)] * 1, 0, is_clean=False)
    assert (row["nonfinite_before"], row["nonfinite_after"]) == (8, 8)
    assert row["acc_before"] == 0.0


def test_predictions_do_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    network, task = nn.Linear(5, 3), get_task("classification", 3)
    data = ExampleSet({"x": torch.randn(23, 5)}, torch.randint(0, 3, (23,)), tuple(map(str, range(23))))
    whole, small = (predict(network, task, data, size) for size in (256, 4))
    np.testing.assert_allclose(whole.outputs, small.outputs, atol=1e-6)
    assert whole.outputs.dtype == np.float32
    np.testing.assert_array_equal(whole.accuracy.points, whole.outputs.argmax(1) == data.labels.numpy())
    assert not predict_attacks(network, task, data).attack_success.counted.any()


# the paper's own figure -----------------------------------------------------------------------------------------------


class Scripted(nn.Module):
    """Answers class 0 or 1 as told."""

    def __init__(self):
        super().__init__()
        self.now = torch.zeros(0)

    def forward(self, x):
        return nn.functional.one_hot(self.now[x[:, 0].long()], 2).float()


def test_the_oracle_takes_the_recovery_epoch_with_the_largest_gap():
    network = Scripted()
    clean = examples([[0], [1], [2], [3]], [0, 0, 0, 0])
    attack = examples([[4], [5]], [1, 1], [0, 0])
    watcher = OracleWatcher(get_task("classification", 2), clean, attack)
    assert watcher.columns(1.0) == dict.fromkeys(("oracle_epoch", "oracle_acc", "oracle_asr", "oracle_fidelity"))
    script = [
        ("forget", 0, [0, 0, 0, 0, 1, 1]),  # perfect, but forgetting does not count
        ("recover", 0, [1, 1, 1, 1, 1, 1]),
        ("recover", 1, [0, 0, 0, 1, 1, 1]),  # gap 0.75
        ("recover", 2, [0, 0, 0, 0, 0, 1]),  # gap 0.5
        ("recover", 3, [0, 0, 0, 1, 1, 1]),  # gap 0.75 again: the first counts
    ]
    for phase, epoch, said in script:
        network.now = torch.tensor(said)
        watcher(phase, epoch, network)
    assert watcher.columns(0.5) == {
        "oracle_epoch": 1, "oracle_acc": 0.75, "oracle_asr": 0.0, "oracle_fidelity": pytest.approx(1.5),
    }  # fmt: skip
    assert watcher.columns(0.0)["oracle_fidelity"] is None


def test_the_oracle_of_a_clean_model_has_no_attack_and_no_fidelity():
    network = Scripted()
    watcher = OracleWatcher(get_task("classification", 2), examples([[0], [1]], [0, 0]), None)
    network.now = torch.tensor([0, 1])
    watcher("recover", 4, network)
    assert watcher.columns(1.0) == {
        "oracle_epoch": 4, "oracle_acc": 0.5, "oracle_asr": None, "oracle_fidelity": None,
    }  # fmt: skip


def test_what_is_left_between_the_phases_is_measured_on_held_out_examples_if_every_fold_was_asked():
    plan = plan_splits([0, 1] * 5, "held-out", 0, "m")
    (split,) = plan.splits
    right = np.zeros(10, dtype=bool)
    right[list(split.fit)] = True  # learnt by heart what it was fitted on, knows nothing else
    right[split.held_out[0]] = True
    before, attack = answers(np.ones(10, dtype=bool)), poisoned(np.zeros(4, dtype=bool), np.ones(4, dtype=bool))
    asked = FoldPredictions(split, before, attack, forgotten=(answers(right), attack))
    row = score(plan, before, attack, [asked], 0, is_clean=False)
    assert row["acc_forgotten"] == 1 / len(split.held_out)
    assert row["n_acc_forgotten"] == len(split.held_out)
    assert row["asr_forgotten"] == 1.0
    row = score(plan, before, attack, [FoldPredictions(split, before, attack)], 0, is_clean=False)
    assert "acc_forgotten" not in row
