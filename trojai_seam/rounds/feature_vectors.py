"""Adapter for the cyber rounds: feature vectors as ``.npy`` files with a class number beside each.

Sources: usnistgov/trojai-example, branches cyber-pdf-dec2022 and cyber-apk-nov2023 (``detector.py``), and the example
data there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from ..errors import ExampleProblem
from ..tasks import ExampleSet
from .adapter_keys import PLACES, SIDECARS, SUFFIXES, TARGET_LABEL, AdapterKeys, Group, labels
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .example_files import class_label, example_files, first_bytes, sidecar
from .model_directory import ModelDirectory
from .regular_files import open_regular
from .shared_parts import missing_scale_file

_MAGIC = b"\x93NUMPY"
_UNREADABLE = (
    OSError, ValueError, TypeError, EOFError, OverflowError, SyntaxError, TokenError, RecursionError,
    MemoryError,  # of a header that nests too deeply, or says that it is gigabytes long
)  # fmt: skip
"""What NumPy raises for files that are no arrays."""


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork | None = None
) -> Examples:
    """Clean and poisoned vectors as ``float32 [N, features]``, standardised if the round says so.

    A poisoned example's side-car holds its true label; the attacker's is ``attack.target_label`` of the round.

    Raises:
        ExampleProblem: no clean example; a vector of the wrong length, type or with non-finite values; a bad label; a
            missing or misshapen scale file.
    """
    features = int(round_config.examples["features"])
    scale = _scale(directory, round_config, features)
    clean = _read(directory, "clean", round_config, num_classes, features, scale)
    if clean is None:
        raise _no_clean_example(directory, round_config)
    if round_config.poisoned_examples == "synthesised":
        raise ExampleProblem(f"{round_config.name}: poisoned examples cannot be synthesised; use shipped, none or auto")
    if round_config.poisoned_examples == "none":
        return Examples(clean, None)
    poisoned = _read(directory, "poisoned", round_config, num_classes, features, scale)
    if poisoned is None:
        return Examples(clean, None)
    target = class_label(round_config.attack["target_label"], num_classes, Path(round_config.name))
    wanted = torch.full_like(poisoned.labels, target)
    return Examples(clean, ExampleSet(poisoned.inputs, poisoned.labels, poisoned.names, targets=wanted))


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Mapping[str, tuple[int, ...]]:
    """Whether scale file, labels and arrays are there; of clean arrays the first bytes, of the first one its numbers.

    Of poisoned examples, of which there may be many, only the first is looked at.

    Raises:
        ExampleProblem: as for :func:`read_examples`.
    """
    features = int(round_config.examples["features"])
    scale = _scale(directory, round_config, features)
    for which in ("clean", "poisoned")[: 1 + (round_config.poisoned_examples != "none")]:
        paths = example_files(directory, round_config.layout[which], round_config.examples["suffixes"])
        if not paths and which == "clean":
            raise _no_clean_example(directory, round_config)
        looked_at = paths if which == "clean" else paths[:1]
        _labels(looked_at, round_config, num_classes)
        for path in looked_at:
            if first_bytes(path, len(_MAGIC)) != _MAGIC:
                _vector(path, features, scale)  # which says what it is instead
        if paths:
            _vector(paths[0], features, scale)
    return {"x": (features,)}


def _no_clean_example(directory: ModelDirectory, round_config: RoundConfig) -> ExampleProblem:
    folders = " or ".join(round_config.layout["clean"])
    return ExampleProblem(f"{directory.path}: no clean example; expected *.npy files in {folders}")


def _labels(paths: Sequence[Path], round_config: RoundConfig, num_classes: int) -> list[int]:
    if round_config.examples.get("labels") == "unknown":
        return [-1] * len(paths)
    found = (sidecar(path, round_config.examples["sidecars"]) for path in paths)
    return [class_label(value, num_classes, where) for where, value in found]


def _read(
    directory: ModelDirectory,
    which: str,
    round_config: RoundConfig,
    num_classes: int,
    features: int,
    scale: NDArray[np.float64] | None,
) -> ExampleSet | None:
    paths = example_files(directory, round_config.layout[which], round_config.examples["suffixes"])
    if not paths:
        return None
    labels = _labels(paths, round_config, num_classes)
    vectors = np.stack([_vector(path, features, scale) for path in paths])
    return ExampleSet(
        inputs={"x": torch.from_numpy(vectors)},
        labels=torch.tensor(labels, dtype=torch.int64),
        names=tuple(path.name for path in paths),
    )


def _scale(directory: ModelDirectory, round_config: RoundConfig, features: int) -> NDArray[np.float64] | None:
    name = round_config.preprocessing.get("scale_file")
    if name is None:
        return None
    path = directory.find_upwards(name)
    if path is None:
        raise missing_scale_file(name, str(directory.path), directory.root)
    held = path.stat()
    return _scale_of(path, held.st_mtime_ns, held.st_size, features)


@lru_cache(maxsize=4)
def _scale_of(path: Path, changed: int, size: int, features: int) -> NDArray[np.float64]:
    """Of a file as it was when it was ``changed``: all models of a round share one."""
    scale = _array(path, ((2, features),), f"scale parameters of shape (2, {features})")
    if not np.isfinite(scale).all() or (scale[1] < 0).any():
        raise ExampleProblem(f"{path}: scale parameters must be finite, standard deviations not negative")
    # A feature that never varied has deviation 0; like scikit-learn's StandardScaler, leave it unscaled.
    scale[1, scale[1] == 0] = 1.0
    scale.flags.writeable = False
    return scale


def _vector(path: Path, features: int, scale: NDArray[np.float64] | None) -> NDArray[np.float32]:
    array = _array(path, ((features,), (1, features)), f"{features} features").reshape(features)
    if not np.isfinite(array).all():
        raise ExampleProblem(f"{path}: holds non-finite values")
    with np.errstate(over="ignore"):
        vector = (array if scale is None else (array - scale[0]) / scale[1]).astype(np.float32)
    if not np.isfinite(vector).all():
        raise ExampleProblem(f"{path}: holds values that are too large for float32")
    return vector


def _array(path: Path, shapes: tuple[tuple[int, ...], ...], wanted: str) -> NDArray[np.float64]:
    """The numbers in ``path``, which must have one of ``shapes``; ``wanted`` says so in words.

    The shape is looked at before memory is taken: a header may promise anything. The file is read and not mapped: one
    that shrinks meanwhile would bring the process down.
    """
    try:
        with open_regular(path) as file:
            version = read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"format version {version}")
            header = read_array_header_1_0(file) if version == (1, 0) else read_array_header_2_0(file)
            shape, by_columns, dtype = header
            if dtype.hasobject:
                raise ValueError("it holds pickled objects, which are never loaded")
            if dtype.kind not in "fiub":
                raise ExampleProblem(f"{path}: expected an array of numbers, found {dtype}")
            if shape not in shapes:
                raise ExampleProblem(f"{path}: expected {wanted}, found an array of shape {shape}")
            size = math.prod(shape) * dtype.itemsize
            content = file.read(size)
    except _UNREADABLE as problem:
        told = str(problem) or type(problem).__name__
        raise ExampleProblem(f"{path}: is not a readable .npy array: {told}") from None
    if len(content) < size:
        raise ExampleProblem(f"{path}: is not a readable .npy array: truncated, {len(content)} of {size} bytes")
    numbers = np.frombuffer(content, dtype=dtype).astype(np.float64)
    return numbers.reshape(shape, order="F" if by_columns else "C")


SCALE_FILE = {
    "description": "a .npy of shape [2, features], row 0 mean, row 1 standard deviation; searched from the model "
    "directory upwards to the dataset root, or an absolute path",
    "type": "string",
    "minLength": 1,
}
FEATURES = {"description": "length of a feature vector", "type": "integer", "minimum": 1, "maximum": 1_000_000}
KEYS = AdapterKeys(
    layout=Group(PLACES),
    examples=Group(
        {"suffixes": SUFFIXES, "sidecars": SIDECARS, "features": FEATURES, "labels": labels("sidecar", "unknown")},
        ("sidecars", "features"),
    ),
    preprocessing=Group({"scale_file": SCALE_FILE}),
    attack=Group({"target_label": TARGET_LABEL}, ("target_label",)),
    required=("attack",),
)
KIND = AdapterKind(KEYS, read_examples, check_examples)
