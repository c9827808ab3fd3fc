"""Numbers per example that ship beside it, such as ``clean-example-logits.csv``: what the network answered at NIST.

The format is not documented. R4 to R7: ``file.png, l0,l1,…`` below a header; R7 has the logits of all tokens of a
sentence in one row. R3 (from a writer marked untested): a printed numpy array after the file name, in brackets, wrapped
over lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .regular_files import decoded, read_bounded

MOST_BYTES = 64 * 2**20
_START = re.compile(r"""^\s*["']?([^,"'\[\]]+?\.(?:png|jpe?g|txt))["']?\s*[,;:]?(.*)$""", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def read_logits(path: Path, num_classes: int) -> Mapping[str, NDArray[np.float64]]:
    """Logits by file name. Rows without ``num_classes`` finite numbers are left out; an unreadable file has none.

    The file only helps to choose between candidates, so nothing in it is an error.
    """
    return {name: values for name, values in read_rows(path).items() if len(values) == num_classes}


def read_rows(path: Path) -> Mapping[str, NDArray[np.float64]]:
    """All numbers of every example's row, by file name. Rows with other than finite numbers are left out."""
    try:
        text = decoded(read_bounded(path, MOST_BYTES), errors="replace")
    except OSError:
        return {}
    rows: dict[str, list[str]] = {}
    name = None
    for line in text.splitlines():
        start = _START.match(line)
        if start:
            name = re.split(r"[/\\]", start[1])[-1].strip()
            rows[name] = [start[2]]
        elif name is not None:
            rows[name].append(line)
    found = {}
    for name, parts in rows.items():
        values = _numbers(" ".join(parts))
        if len(values) and np.isfinite(values).all():
            found[name] = values
    return found


def _numbers(text: str) -> NDArray[np.float64]:
    """All numbers in ``text``. Most often there is nothing else but commas: Arrow then reads them to the last bit as
    Python does, in a quarter of the time."""
    try:
        values = np.array(pa.array(text.strip().split(",")).cast(pa.float64()))
    except pa.ArrowInvalid:
        values = np.array([np.nan])
    if np.isfinite(values).all():
        return values
    return np.array([float(number) for number in _NUMBER.findall(text)], dtype=np.float64)


def relative_error(found: NDArray[Any], expected: NDArray[np.float64]) -> float:
    """The largest difference relative to the largest of the ``expected`` numbers; infinite where there are more or
    fewer of them, or one is NaN."""
    if found.size != expected.size:
        return float("inf")
    worst = np.abs(found.ravel() - expected).max() / max(np.abs(expected).max(), 1e-12)
    return float(np.nan_to_num(worst, nan=np.inf))
