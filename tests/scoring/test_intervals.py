"""Wilson's interval against scipy's, and what the bootstrap of fidelity promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from trojai_seam.scoring import Rate, wilson
from trojai_seam.scoring.intervals import bootstrap
from trojai_seam.tasks import Marks


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.data())
@example(1, None)
def test_wilson_equals_scipy(n, data):
    for k in {0, n, n // 2, data.draw(st.integers(0, n)) if data else 0}:
        theirs = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.floats(0, 1))
def test_wilson_contains_the_rate_and_stays_in_bounds_for_fractions_too(n, share):
    low, high = wilson(share * n, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert low < high


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5), (float("nan"), 5), (0, -1)])
def test_no_rate(k, n):
    with pytest.raises(ValueError, match="no rate"):
        wilson(k, n)


def test_rate_of_nothing_is_nothing():
    assert Rate(0, 0).value is None
    assert Rate(0, 0).interval == (None, None)
    assert Rate(3, 4).value == 0.75


def figures(n: int, right_before: int, right_after: int, hits: int, attacks: int, seed: int = 0):
    before = np.arange(n) < right_before
    after = (np.arange(n) < right_after).astype(float)
    return bootstrap(Marks.of_examples(before), Marks(after, np.ones(n, np.int64)), Rate(hits, attacks), seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.data())
def test_the_interval_contains_the_estimate(n, data):
    right = data.draw(st.integers(1, n))
    kept = data.draw(st.integers(0, n))
    attacks = data.draw(st.integers(1, 20))
    hits = data.draw(st.integers(0, attacks))
    fidelity, accuracy = figures(n, right, kept, hits, attacks)
    assert fidelity[0] <= (kept / n - hits / attacks) / (right / n) <= fidelity[1]
    assert accuracy[0] <= kept / right <= accuracy[1]
    assert fidelity[0] < fidelity[1]
    assert np.isfinite([*fidelity, *accuracy]).all()


def test_six_of_six_is_not_certainty():
    fidelity, accuracy = figures(6, 6, 6, 0, 10)
    assert fidelity[0] < 0.9
    assert fidelity[1] > 1.0
    assert accuracy[1] - accuracy[0] > 0.2


def test_a_clean_model_has_no_fidelity_interval():
    fidelity, accuracy = figures(6, 6, 6, 0, 0)
    assert fidelity is None
    assert accuracy[0] < 1 < accuracy[1]


def test_the_interval_shrinks_with_the_number_of_examples():
    widths = []
    for n in (6, 20, 80, 320, 1280):
        low, high = figures(n, n, n * 9 // 10, n // 10, n)[0]
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1
    assert widths[2] / widths[4] == pytest.approx(4, rel=0.3)  # sixteen times the examples: a quarter of the width


def test_the_same_seed_gives_the_same_interval():
    assert figures(10, 9, 8, 2, 10, seed=5) == figures(10, 9, 8, 2, 10, seed=5)
    assert figures(10, 9, 8, 2, 10, seed=5) != figures(10, 9, 8, 2, 10, seed=6)


@pytest.mark.parametrize(
    ("n", "attacks", "acc_before", "kept", "repaired", "asr"),
    [(20, 20, 0.95, 0.95, 0.3, 0.1), (6, 10, 0.95, 0.9, 0.3, 0.2), (40, 40, 0.8, 0.85, 0.2, 0.5)],
)
def test_coverage_is_roughly_right(n, attacks, acc_before, kept, repaired, asr):
    """In a population where the truth is known, about 95 of 100 intervals contain it."""
    rng = np.random.default_rng(7)
    acc_after = acc_before * kept + (1 - acc_before) * repaired
    truth = (acc_after - asr) / acc_before
    inside = total = 0
    for seed in range(250):
        before = rng.random(n) < acc_before
        after = (rng.random(n) < np.where(before, kept, repaired)).astype(float)
        hits = rng.binomial(attacks, asr)
        if before.any():
            low, high = bootstrap(
                Marks.of_examples(before), Marks(after, np.ones(len(after), np.int64)), Rate(hits, attacks), seed
            )[0]
            inside += low <= truth <= high
            total += 1
    assert 0.90 <= inside / total <= 1.0, inside / total
