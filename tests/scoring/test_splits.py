"""Splits: stratified, disjoint, complete, deterministic, and never a class that training does not know."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trojai_seam.errors import UsageProblem
from trojai_seam.scoring import PROTOCOLS, FitLimit, plan_splits

LABELS = st.lists(st.integers(0, 7), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**63 - 1)
quick = settings(max_examples=150, deadline=None)


@quick
@given(LABELS, st.sampled_from(PROTOCOLS), SEEDS)
def test_every_split_is_disjoint_complete_sorted_and_knows_every_class(labels, protocol, seed):
    plan = plan_splits(labels, protocol, seed, "id-00000001")
    assert plan.splits
    for split in plan.splits:
        assert sorted(split.fit + split.held_out) == list(range(len(labels)))
        assert list(split.fit) == sorted(split.fit)
        assert list(split.held_out) == sorted(split.held_out)
        assert all(type(i) is int for i in split.fit + split.held_out)
        assert {labels[i] for i in split.fit} == set(labels)


@quick
@given(LABELS, st.sampled_from(PROTOCOLS), SEEDS)
def test_the_same_seed_and_model_give_the_same_plan(labels, protocol, seed):
    plans = {plan_splits(list(labels), protocol, seed, "id-00000001") for _ in range(2)}
    assert len(plans) == 1


@quick
@given(LABELS, SEEDS)
def test_held_out_takes_thirty_percent_of_every_class(labels, seed):
    plan = plan_splits(labels, "held-out", seed, "m")
    held = Counter(labels[i] for i in plan.splits[0].held_out)
    for label, size in Counter(labels).items():
        # Half rounded up, and one stays: 1 -> 0, 2 -> 1, 3 -> 1, 5 -> 2, 10 -> 3.
        assert held[label] == min(int(0.3 * size + 0.5), size - 1)
    assert plan.measured_on == ("held-out" if held else "in-sample")


@quick
@given(LABELS, SEEDS)
def test_kfold_holds_out_each_example_of_a_class_with_company_exactly_once(labels, seed):
    plan = plan_splits(labels, "kfold", seed, "m")
    sizes = Counter(labels)
    times = Counter(i for split in plan.splits for i in split.held_out)
    if max(sizes.values()) == 1:
        assert plan.measured_on == "in-sample"
        assert not times
        return
    assert plan.measured_on == "cross-validated"
    assert len(plan.splits) == min(5, max(sizes.values()))
    for index, label in enumerate(labels):
        assert times[index] == (1 if sizes[label] > 1 else 0)
    for split in plan.splits:
        assert split.held_out
        held = Counter(labels[i] for i in split.held_out)
        for label, size in sizes.items():
            if size > 1:
                assert held[label] in (size // len(plan.splits), -(-size // len(plan.splits)))


def test_twenty_examples_as_in_the_pdf_round():
    plan = plan_splits([0] * 10 + [1] * 10, "held-out", 0, "id-00000002")
    (split,) = plan.splits
    assert (len(split.fit), len(split.held_out)) == (14, 6)
    assert Counter(i // 10 for i in split.held_out) == {0: 3, 1: 3}


def test_three_examples_of_one_class_as_in_the_apk_round():
    plan = plan_splits([0, 0, 0], "held-out", 0, "id-00000001")
    assert (len(plan.splits[0].fit), len(plan.splits[0].held_out)) == (2, 1)
    assert len(plan_splits([0, 0, 0], "kfold", 0, "id-00000001").splits) == 3


def test_nothing_to_hold_out_is_in_sample_and_says_so():
    for protocol in ("held-out", "kfold"):
        plan = plan_splits([0, 1, 2], protocol, 0, "m")
        assert plan.measured_on == "in-sample"
        assert plan.splits[0].fit == (0, 1, 2)
        assert plan.splits[0].held_out == ()


def test_the_paper_protocol_trains_on_everything():
    plan = plan_splits([0] * 10 + [1] * 10, "paper", 0, "m")
    assert (plan.measured_on, plan.splits[0].held_out) == ("in-sample", ())


def test_seed_and_model_id_both_matter():
    labels = [0] * 10 + [1] * 10
    held = {
        (seed, model): plan_splits(labels, "held-out", seed, model).splits[0].held_out
        for seed in range(6)
        for model in ("id-00000001", "id-00000002")
    }
    assert len(set(held.values())) >= 11


def test_every_example_is_held_out_equally_often():
    times = Counter(
        i for seed in range(600) for i in plan_splits([0] * 10 + [1] * 10, "held-out", seed, "m").splits[0].held_out
    )
    assert all(130 < times[i] < 230 for i in range(20)), times  # 180 expected, deviation 11


@quick
@given(LABELS, st.sampled_from(PROTOCOLS), SEEDS, st.sets(st.integers(0, 59)))
def test_what_had_a_say_in_something_is_fit_in_every_split(labels, protocol, seed, kept):
    plan = plan_splits(labels, protocol, seed, "m", keep=kept)
    for split in plan.splits:
        assert not kept & set(split.held_out)
        assert sorted(split.fit + split.held_out) == list(range(len(labels)))
        assert {labels[i] for i in split.fit} == set(labels)
    if protocol == "kfold" and plan.measured_on == "cross-validated":
        sizes = Counter(labels)
        free = {i for i, label in enumerate(labels) if sizes[label] > 1 and i not in kept}
        assert sorted(i for split in plan.splits for i in split.held_out) == sorted(free)


def test_keeping_half_of_a_class_leaves_enough_to_hold_out():
    for size in range(1, 30):
        kept = range(max(1, size // 2))
        with_kept, without = (plan_splits([0] * size, "held-out", 0, "m", keep=k).splits[0] for k in (kept, ()))
        assert len(with_kept.held_out) == len(without.held_out)


def test_unknown_protocol():
    with pytest.raises(UsageProblem, match="held-out, kfold, paper"):
        plan_splits([0, 1], "random", 0, "m")


LIMITS = st.builds(FitLimit, st.one_of(st.none(), st.integers(1, 12)), st.one_of(st.none(), st.integers(1, 60))).filter(
    lambda limit: not limit.unset
)


@quick
@given(LABELS, st.sampled_from(PROTOCOLS), SEEDS, LIMITS)
def test_a_limit_bounds_what_is_trained_on_and_the_rest_measures(labels, protocol, seed, limit):
    plan = plan_splits(labels, protocol, seed, "id-00000001", limit=limit)
    for split in plan.splits:
        taken = Counter(labels[i] for i in split.fit)
        assert len(split.fit) <= (limit.total or len(labels))
        assert max(taken.values()) <= (limit.per_class or len(labels))
        assert not set(split.fit) & set(split.held_out)
        if limit.total is None or limit.total >= len(set(labels)):
            assert set(taken) == set(labels)
        if plan.measured_on == "held-out":
            assert sorted(split.fit + split.held_out) == list(range(len(labels)))
            assert {labels[i] for i in split.held_out} >= {c for c, n in Counter(labels).items() if n > 1}


@quick
@given(LABELS, SEEDS, st.integers(1, 8))
def test_larger_limits_train_on_all_that_smaller_ones_do(labels, seed, number):
    for name in ("per_class", "total"):
        small, large = (
            set(plan_splits(labels, "held-out", seed, "id", limit=FitLimit(**{name: n})).splits[0].fit)
            for n in (number, number + 2)
        )
        assert small <= large


def test_a_total_is_shared_out_in_proportion():
    labels = [0] * 60 + [1] * 30 + [2] * 10 + [3]
    (split,) = plan_splits(labels, "held-out", 0, "id", limit=FitLimit(total=20)).splits
    assert Counter(labels[i] for i in split.fit) == {0: 11, 1: 6, 2: 2, 3: 1}
    (split,) = plan_splits(labels, "held-out", 0, "id", limit=FitLimit(total=2)).splits
    assert len(split.fit) == 2


def test_a_test_set_of_its_own_is_never_trained_on():
    labels = [0, 1] * 20
    apart = range(30, 40)
    for limit, fitted in ((None, 30), (FitLimit(per_class=4), 8)):
        (split,) = plan_splits(labels, "held-out", 3, "id", only_measured=apart, limit=limit).splits
        assert (len(split.fit), split.held_out) == (fitted, tuple(apart))
    folds = plan_splits(labels, "kfold", 3, "id", only_measured=apart).splits
    assert not {i for split in folds for i in split.fit} & set(apart)
    assert not set(plan_splits(labels, "paper", 3, "id", only_measured=apart).splits[0].fit) & set(apart)


def test_limits_below_one_are_refused():
    for name in ("per_class", "total"):
        with pytest.raises(UsageProblem, match=f"--fit-{name.replace('_', '-')} 0: expected at least 1"):
            FitLimit(**{name: 0})
