"""The epoch traces of records."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..errors import RunDirectoryProblem
from ..tables.curves import PHASES, Curves, mean_curve


def read_curves(path: Path) -> Curves:
    """Fit accuracy per phase of one record, mean over folds; empty for a failed model.

    Raises:
        RunDirectoryProblem: it is no record.
    """
    try:
        with h5py.File(path, "r") as file:
            folds = list(file.get("folds", {}).values())
            curves = {}
            for phase in PHASES:
                parts = [part for part in (_of_fold(fold, phase) for fold in folds) if len(part) > 1]
                if parts:
                    curves[phase] = mean_curve(parts)
            return curves
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable record ({problem}); remove it to evaluate the model again"
        ) from None


def _of_fold(fold: h5py.Group, phase: str) -> np.ndarray:
    taken = fold["trace/phase"][()] == phase.encode()
    start = fold[f"phases/{phase}/start_accuracy"][()]
    return np.concatenate([[start], fold["trace/fit_accuracy"][()][taken]]).astype(np.float64)
