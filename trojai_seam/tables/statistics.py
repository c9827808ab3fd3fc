"""Distributions over models: quantiles, and how sure a mean is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..seeds import derive_seed

DRAWS = 2_000
_CELLS = 2_000_000  # drawn at a time: 16 MB


class Distribution(NamedTuple):
    """Of a measure over ``n`` models; every figure is None where there are too few of them.

    Attributes:
        n: models with a value.
        mean: over these.
        low: lower end of the 95 % interval of the mean, by bootstrap over models; needs two models.
        high: its upper end.
        median: middle value.
        q05: 5 % quantile, linear between neighbours.
        q95: 95 % quantile.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    q05: float | None
    q95: float | None


def distribution(values: ArrayLike) -> Distribution:
    """The distribution of ``values`` (``[n]``, finite; missing ones left out before)."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return Distribution(0, None, None, None, None, None, None)
    low, high = mean_interval(array)
    q05, median, q95 = (float(q) for q in np.quantile(array, [0.05, 0.5, 0.95]))
    return Distribution(len(array), float(array.mean()), low, high, median, q05, q95)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """95 % percentile bootstrap interval of the mean (Efron 1979), 2 000 draws; ``(None, None)`` below two values.

    The seed is fixed, so the same values give the same interval, in whatever order they come.
    """
    if len(values) < 2:
        return None, None
    ordered = np.sort(values)
    rng = np.random.default_rng(derive_seed("bootstrap over models", len(ordered)))
    rows = max(1, _CELLS // len(ordered))
    means = np.concatenate(
        [
            ordered[rng.integers(0, len(ordered), size=(min(rows, DRAWS - begin), len(ordered)))].mean(axis=1)
            for begin in range(0, DRAWS, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
