"""``clean-example-logits.csv``: what the network answered when NIST packed it. Its format is not documented.

R4: ``file.png, l0,l1,…`` below a header. R3 (from a writer marked untested): a printed numpy array after the file name,
in brackets, wrapped over lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 64 * 2**20
_START = re.compile(r"""^\s*["']?([^,"'\[\]]+?\.(?:png|jpe?g))["']?\s*[,;:]?(.*)$""", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def read_logits(path: Path, num_classes: int) -> Mapping[str, NDArray[np.float64]]:
    """Logits by file name. Rows without ``num_classes`` finite numbers are left out; an unreadable file has none.

    The file only helps to choose between candidates, so nothing in it is an error.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        text = path.read_text("utf-8", errors="replace")
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
    logits = {}
    for name, parts in rows.items():
        values = np.array([float(number) for number in _NUMBER.findall(" ".join(parts))], dtype=np.float64)
        if len(values) == num_classes and np.isfinite(values).all():
            logits[name] = values
    return logits
