"""The epoch traces of records."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..errors import RunDirectoryProblem
from ..tables.curves import Curves, mean_curve


def read_curves(path: Path) -> Curves:
    """Fit accuracy per phase of one record, mean over folds; empty for a failed model.

    Raises:
        RunDirectoryProblem: it is no record.
    """
    try:
        with h5py.File(path, "r") as file:
            folds = list(file.get("folds", {}).values())
            curves = {}
            traces = [[str(name) for name in fold["trace/phase"].asstr()[:]] for fold in folds]
            for phase in dict.fromkeys(name for names in traces for name in names):
                pairs = zip(folds, traces, strict=True)
                curves[phase] = mean_curve([_of_fold(fold, phase) for fold, names in pairs if phase in names])
            return curves
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable record ({problem}); remove it to evaluate the model again"
        ) from None


def _of_fold(fold: h5py.Group, phase: str) -> np.ndarray:
    taken = fold["trace/phase"][()] == phase.encode()
    start = fold[f"phases/{phase}"].get("start_accuracy")
    begin = [] if start is None else [start[()]]
    curve = np.concatenate([begin, fold["trace/fit_accuracy"][()][taken]]).astype(np.float64)
    # NaN: after that epoch the network was not asked. The points that there are are joined by straight lines.
    asked, epochs = ~np.isnan(curve), np.arange(len(curve))
    return np.interp(epochs, epochs[asked], curve[asked]) if asked.any() else curve
