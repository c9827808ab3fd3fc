"""Arrays of NumPy out of inert nodes, and plain pickles of data, such as the batches of CIFAR-10. Nothing is called."""

from __future__ import annotations

import re
from math import prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import RefusedArchive
from .budget import Budget
from .model_file import ModelFile
from .nodes import Call, Inert
from .pickle_reader import PickleReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RECONSTRUCT: Final = tuple(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
_KIND: Final = re.compile(r"[<>=|]?([biuf])([1248])")


def read_batch(path: str | PathLike[str], budget: Budget | None = None) -> Inert:
    """The inert root node of a file that is one plain pickle, without the container of ``torch.save``.

    Raises:
        RefusedArchive: the file is missing, damaged, hostile or beyond ``budget``, or more than a pickle.
    """
    path = Path(path)
    with ModelFile(path) as file:
        root, stop = PickleReader(file, budget or Budget()).read(0, file.size, "pickle")
        if stop != file.size:
            raise RefusedArchive(path, "data behind the pickle", f"byte {stop}")
        return root


def array_of(node: Inert) -> NDArray[Any] | None:
    """The array of plain numbers that ``node`` describes, its own copy; None if it is something else."""
    if not isinstance(node, Call) or node.func.path not in _RECONSTRUCT:
        return None
    state = node.state
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, fortran, raw = state
    kind = _kind(dtype)
    if isinstance(raw, str):  # Python 2 knew no bytes
        try:
            raw = raw.encode("latin-1")
        except UnicodeEncodeError:
            return None
    if kind is None or not isinstance(raw, bytes) or not isinstance(shape, tuple):
        return None
    if any(type(extent) is not int or extent < 0 for extent in shape):
        return None
    import numpy as np

    numbers = np.dtype(kind)
    if prod(shape) * numbers.itemsize != len(raw):
        return None
    array: NDArray[Any] = np.frombuffer(raw, numbers).reshape(shape, order="F" if fortran is True else "C").copy()
    return array


def _kind(dtype: Inert) -> str | None:
    """``<i8`` and the like; None for objects, texts and structures."""
    if not isinstance(dtype, Call) or dtype.func.path != "numpy.dtype" or not dtype.args:
        return None
    found = _KIND.fullmatch(dtype.args[0]) if isinstance(dtype.args[0], str) else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    return f"{'>' if order == '>' else '<'}{found[1]}{found[2]}" if found else None
