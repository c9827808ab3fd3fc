"""95 % intervals: Wilson's for rates of examples, bootstraps for fidelity and for everything that is graded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..tasks.marks import Marks, Measure

Z_95 = 1.959963984540054
SEED = 20221209
"""Of the draws behind a graded rate's interval: the same marks always give the same interval."""


@dataclass(frozen=True)
class Rate:
    """``successes`` out of ``units`` (one per example unless told) on ``n`` examples; fractional successes are means
    over folds, or graded answers.

    ``marks`` are given where examples are graded: units of one example hang together, so that the interval has to be
    one over examples.
    """

    successes: float
    n: int
    units: int | None = None
    marks: Measure | None = field(default=None, compare=False)

    @classmethod
    def of(cls, measure: Measure) -> Rate:
        """The rate that ``measure`` is, over the examples that count."""
        kept = measure.counting()
        return cls(kept.successes, len(kept), kept.units, kept if kept.graded else None)

    @property
    def value(self) -> float | None:
        """The rate, or ``None`` when nothing was measured."""
        if self.marks is not None:
            return self.marks.share
        units = self.n if self.units is None else self.units
        return self.successes / units if units else None

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """95 %: Wilson's, or a bootstrap over examples where they are graded; ``(None, None)`` of nothing."""
        value = self.value
        if value is None:
            return None, None
        if self.marks is None:
            return wilson(self.successes, self.n)
        return _percentiles(rate_draws(np.random.default_rng(SEED), self, self.marks.draw_count), value)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a rate (E. B. Wilson, JASA 22, 1927)."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"no rate: {successes} of {n}")
    rate, square = successes / n, Z_95**2
    centre = (rate + square / (2 * n)) / (1 + square / n)
    reach = Z_95 * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    # At the ends the formula gives exactly 0 or 1 but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == n else min(1.0, centre + reach)
    return low, high


def bootstrap(
    before: Measure, after: Measure, attacks: Rate, seed: int
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """95 % intervals of (fidelity, kept accuracy) over the draw of examples.

    With a handful of examples the plain bootstrap of "all right" has no width at all, which would claim certainty. So
    the rates are drawn from their posteriors under a Jeffreys-type prior (a Bayesian bootstrap, Rubin 1981, with half
    a pseudo-example per rate): the clean examples jointly, as pairs of before and after, the attacks independently.
    An interval is widened to contain the estimate where the prior would exclude it.

    Args:
        before: accuracy of n clean examples before unlearning, not 0 in all.
        after: of the same examples after it (over folds).
        attacks: attack successes after unlearning; ``n = 0`` for a clean model: no fidelity then.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    if isinstance(before, Marks) and isinstance(after, Marks) and not before.graded:
        acc_before, acc_after = _pairs(rng, before, after)
    else:
        acc_before, acc_after = _graded_pairs(rng, before, after)
    was, kept = before.share or 0.0, after.share or 0.0
    accuracy = _percentiles(acc_after / acc_before, kept / was)
    if attacks.n == 0:
        return None, accuracy
    successes = rate_draws(rng, attacks, before.draw_count)
    estimate = (kept - (attacks.value or 0.0)) / was
    return _percentiles((acc_after - successes) / acc_before, estimate), accuracy


def rate_draws(rng: np.random.Generator, rate: Rate, count: int) -> NDArray[np.float64]:
    """Draws from the posterior of one rate, ``float64 [count]``: of examples, or of marks weighted by example."""
    if rate.marks is None:
        return rng.beta(rate.successes + 0.5, rate.n - rate.successes + 0.5, size=count)
    return rate.marks.draws(rng.dirichlet([1.0] * rate.n + [0.5, 0.5], size=count), pseudo=(1, 0))


def _pairs(rng: np.random.Generator, before: Marks, after: Marks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws of both accuracies where examples are right or wrong: four kinds of examples."""
    right, kept = before.points, after.points
    cells = [right * kept, right * (1 - kept), (1 - right) * kept, (1 - right) * (1 - kept)]
    shares = rng.dirichlet([float(cell.sum()) + 0.25 for cell in cells], size=before.draw_count)
    return shares[:, 0] + shares[:, 1], shares[:, 0] + shares[:, 2]


def _graded_pairs(
    rng: np.random.Generator, before: Measure, after: Measure
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws of both accuracies where examples are graded: every example has a weight of its own, and the four
    pseudo-examples have as many units as the mean example."""
    weights = rng.dirichlet([1.0] * len(before) + [0.25] * 4, size=before.draw_count)
    return before.draws(weights, pseudo=(1, 1, 0, 0)), after.draws(weights, pseudo=(1, 0, 1, 0))


def _percentiles(draws: NDArray[np.float64], estimate: float) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return min(float(low), float(estimate)), max(float(high), float(estimate))
