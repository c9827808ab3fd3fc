"""Verdicts follow from intervals by a rule."""

from __future__ import annotations

import numpy as np
import pytest

from trojai_seam.reproduction.verdicts import (
    Claim,
    Estimate,
    all_of,
    in_words,
    mean_of,
    rank_correlation,
    ratio_of,
)


def claim(low, high, least=0.8):
    middle = None if low is None else (low + high) / 2
    return Claim("x", "fidelity", Estimate(9, middle, low, high), least)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.8, 0.9, "holds"), (0.79, 0.9, "undecided"), (0.6, 0.79, "does not hold"), (None, None, "undecided")],
)
def test_a_claim_holds_where_its_whole_interval_does(low, high, verdict):
    assert claim(low, high).verdict == verdict


def test_claims_about_one_thing_must_all_hold():
    good, open_, bad = claim(0.9, 1.0), claim(0.7, 0.9), claim(0.1, 0.2)
    assert all_of([good, good]) == "holds"
    assert all_of([good, open_]) == "undecided"
    assert all_of([good, open_, bad]) == "does not hold"


def test_a_statement_says_what_it_holds_for():
    assert in_words({"a": "holds", "b": "holds"}) == "holds"
    assert in_words({"a": "does not hold"}) == "does not hold here"
    assert in_words({"a": "holds", "b": "undecided", "c": "does not hold", "d": "holds"}) == (
        "holds for a, d; does not hold for c; undecided for b"
    )
    assert in_words({}) == "not measured"


def test_intervals_hold_what_is_known():
    assert mean_of([0.5]) == (1, 0.5, None, None)
    assert mean_of([]).value is None
    few = ratio_of([10.0, 1000.0])
    assert few.value == pytest.approx(100)
    assert few.low < 1 < 1000 < few.high
    many = ratio_of([90.0, 100.0, 110.0, 95.0, 105.0])
    assert 85 < many.low < 100 < many.high < 115


def test_rank_correlation_follows_the_order_alone():
    x = np.arange(14.0)
    assert rank_correlation(x, np.exp(x)).value == pytest.approx(1.0)
    assert rank_correlation(x, -x).high < 0
    found = rank_correlation(x, np.array([9, 1, 10, 3, 13, 0, 8, 5, 12, 2, 6, 4, 11, 7]))
    assert found.low < 0 < found.high
    assert rank_correlation(x, np.where(x > 12, np.nan, x)).n == 13
    assert rank_correlation([1.0, 2.0], [1.0, 2.0]).value is None
