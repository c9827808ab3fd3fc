"""Distributions over models: quantiles, and how sure a mean is."""

from __future__ import annotations

from collections.abc import Mapping
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


def distributions(columns: Mapping[str, ArrayLike]) -> dict[str, Distribution]:
    """The distribution of each of ``columns`` (``[n]``, finite, missing values left out before; n may differ)."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    intervals = mean_intervals(arrays)
    return {name: _distribution(array, *intervals[name]) for name, array in arrays.items()}


def mean_intervals(columns: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[float, float] | tuple[None, None]]:
    """95 % percentile bootstrap intervals of means (Efron 1979), 2 000 draws; ``(None, None)`` below two values.

    The seed is fixed, so the same values give the same interval, in whatever order they come. Columns of one length
    share their draws: drawing costs more than all the rest.
    """
    found: dict[str, tuple[float, float] | tuple[None, None]] = dict.fromkeys(columns, (None, None))
    by_length: dict[int, list[str]] = {}
    for name, values in columns.items():
        by_length.setdefault(len(values), []).append(name)
    for length, names in by_length.items():
        if length > 1:
            means = _resampled_means(np.stack([np.sort(columns[name]) for name in names], axis=1))
            for name, (low, high) in zip(names, np.percentile(means, [2.5, 97.5], axis=0).T, strict=True):
                found[name] = float(low), float(high)
    return found


def _resampled_means(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[draws, columns]`` from ``[n, columns]``: means of n values drawn with replacement."""
    length = len(ordered)
    rng = np.random.default_rng(derive_seed("bootstrap over models", length))
    rows = max(1, _CELLS // length)
    means = []
    for begin in range(0, DRAWS, rows):
        count = min(rows, DRAWS - begin)
        drawn = rng.integers(0, length, size=(count, length)) + length * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * length).reshape(count, length)
        means.append(times.astype(np.float64) @ ordered / length)
    return np.concatenate(means)


def _distribution(values: NDArray[np.float64], low: float | None, high: float | None) -> Distribution:
    if not len(values):
        return Distribution(0, None, None, None, None, None, None)
    q05, median, q95 = (float(q) for q in np.quantile(values, [0.05, 0.5, 0.95]))
    return Distribution(len(values), float(values.mean()), low, high, median, q05, q95)
