"""What a model's files say of its accuracy on the clean examples beside it: a check on preprocessing and labels.

NIST chooses examples that the model gets right, and writes down how many it does: in METADATA.csv, in the config, or in
a small file beside the examples, as a share or in percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..errors import DatasetProblem
from .config import RoundConfig
from .model_directory import ModelDirectory
from .raw_values import flat
from .regular_files import read_bounded

_FILES: Final = ("clean-example-accuracy.csv", "example-accuracy.csv")
#: Task → what its accuracy is called in NIST's files, the best first.
_MEASURES: Final[Mapping[str, tuple[str, ...]]] = {
    "detection": ("map",),
    "span-extraction": ("f1",),
}
_ACCURACY: Final = ("acc", "accuracy")
_OTHERS: Final = frozenset(
    {"poisoned", "triggered", "poison", "per", "perclass", "class", "level", "loss", "threshold"}
)
_WORDS: Final = re.compile(r"[a-z]+\d*")


class Promise(NamedTuple):
    """A share from 0 to 1, and where it is written."""

    accuracy: float
    source: str


def promised_accuracy(directory: ModelDirectory, round_config: RoundConfig) -> Promise | None:
    """Accuracy on clean examples as the files of ``directory`` or its round tell it; None if they do not.

    For detectors it is a mean average precision, for question answering an F1.

    Raises:
        DatasetProblem: the config is unreadable.
    """
    if round_config.promised_accuracy is not None:
        return Promise(round_config.promised_accuracy, "the round's promised_accuracy")
    measures = _MEASURES.get(round_config.task, _ACCURACY)
    for document, name in ((directory.metadata, "METADATA.csv"), (directory.config, "the config")):
        for key, value in flat(document).items():
            share = _share(value) if _is_about_clean_examples(key, measures) else None
            if share is not None:
                return Promise(share, f"{key} of {name}")
    if measures is _ACCURACY:
        for name in _FILES:
            share = _in_file(directory, name)
            if share is not None:
                return Promise(share, name)
    return None


def _is_about_clean_examples(key: str, measures: tuple[str, ...]) -> bool:
    words = _WORDS.findall(key.lower())
    return "example" in words and any(m in words for m in measures) and not _OTHERS.intersection(words)


def _share(value: Any) -> float | None:
    """From a share or from percent; 1 is all."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool) or not math.isfinite(number) or not 0 < number <= 100:
        return None
    return number if number <= 1 else number / 100


def _in_file(directory: ModelDirectory, name: str) -> float | None:
    path = directory.path / name
    if not path.is_file():
        return None
    try:
        return _share(read_bounded(path, 4096).decode("utf-8", "replace").strip())
    except (OSError, DatasetProblem):
        return None  # nothing depends on it
