"""What unlearned classifiers answered to single examples, from records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import RunDirectoryProblem


class Answer(NamedTuple):
    """To one example; None stands for what is unknown, and for a prediction from non-finite scores."""

    example: str
    prediction: int | None
    label: int | None
    target: int | None


def read_answers(path: Path) -> list[Answer]:
    """After unlearning, to the clean examples that were held out and to all poisoned ones; empty for a failed model.

    Over several folds a clean example is answered by the fold that held it out, a poisoned one by the first. Tasks
    other than classification have no single class per example and give nothing.

    Raises:
        RunDirectoryProblem: it is no record.
    """
    try:
        with h5py.File(path, "r") as file:
            if "folds" not in file or file["clean/outputs_before"].ndim != 2 or file["clean/labels"].ndim != 1:
                return []
            return [*_clean(file), *_poisoned(file)]
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable record ({problem}); remove it to evaluate the model again"
        ) from None


def _clean(file: h5py.File) -> Iterator[Answer]:
    names, labels = file["clean/names"].asstr()[()], file["clean/labels"][()]
    found = {}
    for fold in file["folds"].values():
        predictions = _predictions(fold["clean_outputs_after"][()])
        for index in fold["held_out"][()]:
            found[int(index)] = predictions[int(index)]
    for index, prediction in sorted(found.items()):
        yield Answer(names[index], prediction, _class(labels[index]), None)


def _poisoned(file: h5py.File) -> Iterator[Answer]:
    if "poisoned/targets" not in file:
        return
    names, labels = file["poisoned/names"].asstr()[()], file["poisoned/labels"][()]
    predictions = _predictions(file["folds/0/poisoned_outputs_after"][()])
    for name, prediction, label, target in zip(names, predictions, labels, file["poisoned/targets"][()], strict=True):
        yield Answer(name, prediction, _class(label), _class(target))


def _predictions(outputs: NDArray[np.float32]) -> list[int | None]:
    return [int(row.argmax()) if np.isfinite(row).all() else None for row in outputs]


def _class(value: np.integer) -> int | None:
    return int(value) if value >= 0 else None
