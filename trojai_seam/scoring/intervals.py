"""95 % intervals: Wilson's for rates, a bootstrap for fidelity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
DRAWS = 10_000


@dataclass(frozen=True)
class Rate:
    """``successes`` out of ``n``; fractional successes are means over folds."""

    successes: float
    n: int

    @property
    def value(self) -> float | None:
        """The rate, or ``None`` when nothing was measured."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """Wilson's 95 % interval, or ``(None, None)`` when nothing was measured."""
        return wilson(self.successes, self.n) if self.n else (None, None)


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
    before: NDArray[np.bool_], after: NDArray[np.float64], attacks: Rate, seed: int
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """95 % intervals of (fidelity, kept accuracy) over the draw of examples.

    With a handful of examples the plain bootstrap of "all right" has no width at all, which would claim certainty. So
    the rates are drawn from their posteriors under a Jeffreys-type prior (a Bayesian bootstrap, Rubin 1981, with half
    a pseudo-example per rate): the clean examples jointly, as pairs of before and after, the attacks independently.
    An interval is widened to contain the estimate where the prior would exclude it.

    Args:
        before: ``[n]``, correct before unlearning.
        after: ``[n]`` in [0, 1], correct after it, on the same examples.
        attacks: attack successes after unlearning; ``n = 0`` for a clean model: no fidelity then.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    right, kept = before.astype(np.float64), after.astype(np.float64)
    cells = [right * kept, right * (1 - kept), (1 - right) * kept, (1 - right) * (1 - kept)]
    shares = rng.dirichlet([float(cell.sum()) + 0.25 for cell in cells], size=DRAWS)
    acc_before, acc_after = shares[:, 0] + shares[:, 1], shares[:, 0] + shares[:, 2]
    accuracy = _percentiles(acc_after / acc_before, kept.mean() / right.mean())
    if attacks.n == 0:
        return None, accuracy
    successes = rng.beta(attacks.successes + 0.5, attacks.n - attacks.successes + 0.5, size=DRAWS)
    estimate = (kept.mean() - attacks.successes / attacks.n) / right.mean()
    return _percentiles((acc_after - successes) / acc_before, estimate), accuracy


def _percentiles(draws: NDArray[np.float64], estimate: float) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return min(float(low), float(estimate)), max(float(high), float(estimate))
