"""The epoch traces of records, and their oracle traces of attack success."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ..choices import SHIPPED
from ..errors import RunDirectoryProblem
from ..tables.curves import Curve, Curves, mean_curve


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


TRACE = "oracle_trace"


class TracePoint(NamedTuple):
    """Accuracy and attack success of one model after an epoch (counted from 0; -1: as shipped)."""

    fold: int
    phase: str
    epoch: int
    acc: float
    asr: float


def read_attack_trace(path: Path) -> list[TracePoint]:
    """The points of one record, in their order; none where no trace was made.

    Raises:
        RunDirectoryProblem: it is no record.
    """
    try:
        with h5py.File(path, "r") as file:
            folds = [(int(name), fold[TRACE]) for name, fold in file.get("folds", {}).items() if TRACE in fold]
            return [
                TracePoint(number, str(phase), int(epoch), float(acc), float(asr))
                for number, trace in folds
                for phase, epoch, acc, asr in zip(
                    trace["phase"].asstr()[:], *(trace[name][()] for name in ("epoch", "acc", "asr")), strict=True
                )
            ]
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable record ({problem}); remove it to evaluate the model again"
        ) from None


def attack_curves(points: list[TracePoint]) -> dict[str, Curves]:
    """``acc`` and ``asr`` per phase, mean over folds that have it: from what it was before the phase to its last epoch,
    along straight lines between epochs that were stored."""
    phases = [phase for phase in dict.fromkeys(point.phase for point in points) if phase != SHIPPED]
    folds = [[point for point in points if point.fold == fold] for fold in dict.fromkeys(p.fold for p in points)]
    having = {phase: [fold for fold in folds if any(point.phase == phase for point in fold)] for phase in phases}
    return {
        measure: {phase: mean_curve([_along(fold, phase, measure) for fold in having[phase]]) for phase in phases}
        for measure in ("acc", "asr")
    }


def _along(points: list[TracePoint], phase: str, measure: str) -> Curve:
    first = next(place for place, point in enumerate(points) if point.phase == phase)
    part = [point for point in points if point.phase == phase]
    epochs = [0, *(point.epoch + 1 for point in part)]
    values = [float(getattr(point, measure)) for point in [points[first - 1], *part]]
    curve: Curve = np.interp(np.arange(epochs[-1] + 1), epochs, values)
    return curve


def _of_fold(fold: h5py.Group, phase: str) -> np.ndarray:
    taken = fold["trace/phase"][()] == phase.encode()
    start = fold[f"phases/{phase}"].get("start_accuracy")
    begin = [] if start is None else [start[()]]
    curve = np.concatenate([begin, fold["trace/fit_accuracy"][()][taken]]).astype(np.float64)
    # NaN: after that epoch the network was not asked. The points that there are are joined by straight lines.
    asked, epochs = ~np.isnan(curve), np.arange(len(curve))
    return np.interp(epochs, epochs[asked], curve[asked]) if asked.any() else curve
