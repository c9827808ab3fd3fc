"""Fit accuracy over the epochs of a phase, of one model and of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]  # [epochs + 1], accuracy on the fit examples; the first before the first epoch
Curves = Mapping[str, Curve]  # by phase, in their order; those without epochs are left out


class Band(NamedTuple):
    """Of ``models`` curves, per epoch from 0: ``[epochs + 1]`` each."""

    models: int
    q05: Curve
    median: Curve
    q95: Curve


def mean_curve(folds: Sequence[Curve]) -> Curve:
    """Mean over folds; a fold that ended early keeps its last value, as its network does."""
    mean: Curve = np.mean(_carried_on(folds), axis=0)
    return mean


def band(models: Iterable[Curves], phase: str) -> Band | None:
    """Median and 5 % to 95 % range over models; one that ended early keeps its last value. None without any curve."""
    curves = [curves[phase] for curves in models if phase in curves]
    if not curves:
        return None
    q05, median, q95 = np.quantile(_carried_on(curves), [0.05, 0.5, 0.95], axis=0)
    return Band(len(curves), q05, median, q95)


def _carried_on(curves: Sequence[Curve]) -> NDArray[np.float64]:
    whole = np.empty((len(curves), max(map(len, curves))))
    for row, curve in zip(whole, curves, strict=True):
        row[: len(curve)], row[len(curve) :] = curve, curve[-1]
    return whole
