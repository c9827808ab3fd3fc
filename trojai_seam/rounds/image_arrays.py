"""Images in NumPy files: nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleProblem, listed, shown
from .image_files import MOST_TOGETHER
from .regular_files import open_regular

IMAGE_NAMES = ("x", "X", "images", "image", "data", "x_test", "X_test", "arr_0")
LABEL_NAMES = ("y", "Y", "labels", "label", "targets", "y_test", "Y_test", "arr_1")


def npz_arrays(path: Path, labelled: bool = True) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images and labels of a ``.npz``: those called ``x`` and ``y``, or by another usual name.

    Raises:
        ExampleProblem: it is unreadable, or has no such arrays.
    """
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            images = next((archive[name] for name in IMAGE_NAMES if name in archive.files), None)
            labels = next((archive[name] for name in LABEL_NAMES if name in archive.files), None)
            names = archive.files
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as problem:
        raise ExampleProblem(f"{path}: is not a readable .npz file: {shown(problem, 200)}") from None
    if images is None or (labels is None and labelled):
        lacking = "images" if images is None else "labels"
        usual = IMAGE_NAMES if images is None else LABEL_NAMES
        raise ExampleProblem(
            f"{path}: has no array of {lacking}: it holds {listed(names)}, expected one of {listed(usual)}"
        )
    return checked_arrays(path, images, labels)


def array_pair(
    path: Path, labelled: bool = True, among: Sequence[Path] = ()
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images and labels of two ``.npy`` files that lie beside each other: ``x.npy`` and ``y.npy``, and the like.

    Raises:
        ExampleProblem: one is missing or unreadable.
    """
    if among:
        first, second = (_read(one) for one in among)
        pair = (first, second) if first.ndim >= 3 else (second, first)
        return checked_arrays(path, *pair)
    images = _read(path)
    pairs = zip(IMAGE_NAMES, LABEL_NAMES, strict=True)
    wanted = [path.with_name(f"{y}.npy") for x, y in pairs if x == path.stem]
    wanted += [path.with_name(f"{path.stem}_labels.npy"), path.with_name("labels.npy"), path.with_name("y.npy")]
    found = next((beside for beside in wanted if beside.is_file() and beside != path), None)
    if found is None and labelled:
        raise ExampleProblem(
            f"{path}: no labels beside it; expected {listed([w.name for w in wanted])}, or a .npz with x and y"
        )
    return checked_arrays(path, images, None if found is None else _read(found))


def picture_of(path: Path) -> NDArray[Any]:
    """One image in a ``.npy`` file: ``[H, W, C]``, ``[C, H, W]`` or ``[H, W]``.

    Raises:
        ExampleProblem: it is something else.
    """
    picture: NDArray[Any] = checked_arrays(path, _read(path)[None], None)[0][0]
    return picture


def _read(path: Path) -> NDArray[Any]:
    try:
        with open_regular(path) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except (OSError, ValueError, EOFError, MemoryError) as problem:
        raise ExampleProblem(f"{path}: is not a readable .npy file: {shown(problem, 200)}") from None


def checked_arrays(
    path: Path, images: NDArray[Any], labels: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images as ``uint8`` or ``float32`` (0 … 1) ``[N, H, W, C]``, and labels.

    Raises:
        ExampleProblem: they are none, or normalised already.
    """
    if labels is not None and (labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iuUS"):
        raise ExampleProblem(
            f"{path}: labels of {labels.dtype} and shape {list(labels.shape)} for {len(images)} images; expected one "
            "whole number for each"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ExampleProblem(
            f"{path}: images of shape {list(images.shape)}, expected [N, H, W, 3], [N, 3, H, W] or [N, H, W]"
        )
    if images.shape[0] * images.shape[1] * images.shape[2] > MOST_TOGETHER:
        raise ExampleProblem(f"{path}: more than {MOST_TOGETHER} pixels together")
    if images.dtype == np.uint8:
        return images, labels
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if images.dtype.kind in "iu" and low >= 0 and high <= 255:
        return images.astype(np.uint8), labels
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return images.astype(np.float32), labels
    raise ExampleProblem(
        f"{path}: images of {images.dtype} from {low:g} to {high:g}; expected 0 to 255 in 8 bits or 0.0 to 1.0, before "
        "any normalisation"
    )
