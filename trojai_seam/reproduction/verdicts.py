"""From figures with intervals to verdicts, by one rule: nobody writes them by hand.

A claim is a figure that must reach a bound. It *holds* where the whole interval does, it *does not hold* where none of
the interval does, and else it is *undecided*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..seeds import derive_seed
from ..tables.statistics import mean_intervals

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
DRAWS = 2000


class Estimate(NamedTuple):
    """A figure over ``n`` models with its 95 % interval; None where there are too few."""

    n: int
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        bounds = "" if self.low is None or self.high is None else f" [{told(self.low)}, {told(self.high)}]"
        return told(self.value) + bounds


class Claim(NamedTuple):
    """``estimate`` of ``figure`` must be at least ``least`` for ``about``."""

    about: str
    figure: str
    estimate: Estimate
    least: float

    @property
    def verdict(self) -> str:
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return OPEN
        return HOLDS if low >= self.least else FAILS if high < self.least else OPEN


class Drawing(NamedTuple):
    """A figure of the page."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


class Finding(NamedTuple):
    """One statement of the paper, and what was found.

    Attributes:
        statement: of the paper.
        rule: what is demanded of the figures, in words.
        claims: several with the same ``about`` must all hold.
        table: of texts, for people.
        drawings: for the page.
    """

    statement: str
    rule: str
    claims: Sequence[Claim]
    table: pd.DataFrame
    drawings: Sequence[Drawing]

    @property
    def verdict(self) -> str:
        """In plain words."""
        return in_words(self.verdicts)

    @property
    def verdicts(self) -> dict[str, str]:
        """By what there are claims about."""
        subjects = dict.fromkeys(claim.about for claim in self.claims)
        return {about: all_of([claim for claim in self.claims if claim.about == about]) for about in subjects}


def all_of(claims: Sequence[Claim]) -> str:
    """The verdict on all of them together."""
    verdicts = {claim.verdict for claim in claims}
    return FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS


def in_words(verdicts: dict[str, str]) -> str:
    """``holds``, ``does not hold here``, or what it holds for."""
    if not verdicts:
        return "not measured"
    groups = {verdict: [about for about, v in verdicts.items() if v == verdict] for verdict in (HOLDS, FAILS, OPEN)}
    met = [verdict for verdict, abouts in groups.items() if abouts]
    if len(met) == 1:
        return met[0] if met[0] == HOLDS else f"{met[0]} here"
    words = {HOLDS: "holds for", FAILS: "does not hold for", OPEN: "undecided for"}
    return "; ".join(f"{words[verdict]} {', '.join(groups[verdict])}" for verdict in met)


FEW = 6
"""Below so many values a bootstrap says too little of how far a mean may be off."""


def mean_of(values: ArrayLike) -> Estimate:
    """The mean over models; interval by bootstrap over them, or by Student's t of fewer than :data:`FEW`."""
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    if len(array) < FEW:
        return _by_student(array)
    low, high = mean_intervals({"": array})[""]
    return Estimate(len(array), float(array.mean()), low, high)


def ratio_of(values: ArrayLike) -> Estimate:
    """The geometric mean of ratios; interval by Student's t of their logarithms, as there are few."""
    n, *logs = _by_student(np.log(np.asarray(values, np.float64)))
    return Estimate(n, *(None if log is None else math.exp(log) for log in logs))


def _by_student(values: NDArray[np.float64]) -> Estimate:
    if len(values) < 2:
        return Estimate(len(values), float(values[0]) if len(values) else None, None, None)
    middle, deviation = float(values.mean()), float(values.std(ddof=1))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Estimate(len(values), middle, middle - reach, middle + reach)


def rank_correlation(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Spearman's, with a percentile bootstrap over the pairs."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b = a[kept], b[kept]
    if len(a) < 3:
        return Estimate(len(a), None, None, None)
    rng = np.random.default_rng(derive_seed("rank correlation", len(a)))
    drawn = rng.integers(0, len(a), (DRAWS, len(a)))
    found: NDArray[np.float64] = np.array([_spearman(a[some], b[some]) for some in drawn])
    if np.isnan(found).all():
        return Estimate(len(a), None, None, None)
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Estimate(len(a), _spearman(a, b), float(low), float(high))


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    x, y = stats.rankdata(a), stats.rankdata(b)
    if x.std() == 0 or y.std() == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def told(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
