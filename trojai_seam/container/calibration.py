"""From features to a probability: logistic regression with a quadratic penalty, learned by ``configure``, kept as JSON.

Fitted by Newton's method (iteratively reweighted least squares; Hastie, Tibshirani, Friedman, "The Elements of
Statistical Learning", section 4.4.1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigProblem, shown

FILE = "seam_detector.json"
FORMAT = 1
STEPS = 50
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What ``configure`` learned.

    Attributes:
        round: the round that it was learned on; it says nothing about others.
        features: names, in the order of the arrays.
        mean: of each feature over the training models.
        scale: standard deviation of each; 1 for one that never varied.
        weights: of the standardised features.
        intercept: log-odds of an average model.
        settings: the ``infer_`` metaparameters that the features were made with.
        measured: how good it was on models left out in turn.
    """

    round: str
    features: tuple[str, ...]
    mean: Array
    scale: Array
    weights: Array
    intercept: float
    settings: Mapping[str, Any]
    measured: Mapping[str, Any]

    def probability(self, features: Mapping[str, float]) -> float:
        """That the model is poisoned. A feature that is missing counts as average."""
        row = np.array([[features[name] for name in self.features]], dtype=np.float64)
        return float(_probabilities(_standardised(row, self.mean, self.scale), self.weights, self.intercept)[0])

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "round": self.round,
            "features": list(self.features),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
            "settings": dict(self.settings),
            "measured": dict(self.measured),
        }


def fit(rows: Array, truth: Array, penalty: float) -> tuple[Array, Array, Array, float]:
    """Mean, scale, weights and intercept for ``rows`` ``[N, F]`` (NaN is missing) and ``truth`` ``[N]`` of 0 and 1.

    ``penalty`` weighs the squared weights against the summed log-loss; the intercept is free.
    """
    known = np.isfinite(rows)
    counts = known.sum(axis=0).clip(min=1)
    mean = np.where(known, rows, 0).sum(axis=0) / counts
    scale = np.sqrt((np.where(known, rows - mean, 0) ** 2).sum(axis=0) / counts)
    scale[scale == 0] = 1.0
    x = np.column_stack([_standardised(rows, mean, scale), np.ones(len(rows))])
    ridge = np.diag([penalty] * rows.shape[1] + [1e-6])
    beta = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = _sigmoid(x @ beta)
        gradient = x.T @ (truth - p) - ridge @ beta
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return mean, scale, beta[:-1], float(beta[-1])


def left_out(rows: Array, truth: Array, penalty: float, folds: int, seed: int) -> Array:
    """Probabilities for models that were left out in turn, in ``folds`` stratified parts."""
    rng = np.random.default_rng(seed)
    part = np.zeros(len(truth), dtype=np.int64)
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(truth == label))
        part[members] = np.arange(len(members)) % folds
    answers = np.full(len(truth), math.nan)
    for fold in range(folds):
        out = part == fold
        if out.any():
            mean, scale, weights, intercept = fit(rows[~out], truth[~out], penalty)
            answers[out] = _probabilities(_standardised(rows[out], mean, scale), weights, intercept)
    return answers


def cross_entropy(probabilities: Array, truth: Array) -> float:
    """Mean, in nats; 0.693 is what 0.5 for everybody gets."""
    p = probabilities.clip(1e-12, 1 - 1e-12)
    return float(-(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean())


def roc_auc(probabilities: Array, truth: Array) -> float:
    """Share of (poisoned, clean) pairs in the right order; equals count half."""
    poisoned, clean = probabilities[truth == 1], probabilities[truth == 0]
    wins = (poisoned[:, None] > clean[None]).mean() + 0.5 * (poisoned[:, None] == clean[None]).mean()
    return float(wins)


def read_calibration(folder: Path) -> Calibration | None:
    """What ``configure`` left in ``folder``; ``None`` if there is nothing.

    Raises:
        ConfigProblem: something is there, but cannot be used.
    """
    path = folder / FILE
    try:
        document = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigProblem(path, [f"is not readable: {shown(problem)}"]) from None
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"format {shown(document['format'])}, expected {FORMAT}")
        arrays = [np.array(document[name], dtype=np.float64) for name in ("mean", "scale", "weights")]
        features = tuple(str(name) for name in document["features"])
        intercept = float(document["intercept"])
        if any(array.shape != (len(features),) or not np.isfinite(array).all() for array in arrays):
            raise ValueError("arrays of different lengths, or not finite")
        if not math.isfinite(intercept) or (arrays[1] <= 0).any():
            raise ValueError("a scale that is not positive, or an intercept that is not finite")
        mean, scale, weights = arrays
        return Calibration(
            round=str(document["round"]),
            features=features,
            mean=mean,
            scale=scale,
            weights=weights,
            intercept=intercept,
            settings=dict(document["settings"]),
            measured=dict(document["measured"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise ConfigProblem(path, [f"was not written by configure of this version: {shown(problem)}"]) from None


def to_rows(features: Sequence[Mapping[str, float]], names: Sequence[str]) -> Array:
    """Features of several models as ``[N, F]``."""
    return np.array([[one[name] for name in names] for one in features], dtype=np.float64)


def _standardised(rows: Array, mean: Array, scale: Array) -> Array:
    # Beyond five deviations a model is unlike all that were learned from; more would only shout louder.
    return np.nan_to_num((rows - mean) / scale, nan=0.0).clip(-5, 5)


def _probabilities(rows: Array, weights: Array, intercept: float) -> Array:
    return _sigmoid(rows @ weights + intercept)


def _sigmoid(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-values.clip(-500, 500)))
    return result
