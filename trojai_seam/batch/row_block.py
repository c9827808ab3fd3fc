"""The row of a record once more, as JSON in the user block of its HDF5 file: a hundred times quicker to read.

HDF5 leaves the first 512 · 2^k bytes of a file to its user. There stands one line with sizes and a checksum, then the
row; what HDF5 readers see is not changed by it.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FIRST_READ = 1 << 14
_HEAD = re.compile(rb"trojai-seam row, (\d{1,8}) bytes, checksum (\d{1,10}), file of (\d{1,15}) bytes\n")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def encoded(row: Mapping[str, Any]) -> bytes:
    """The row as JSON; empty if it holds a number that JSON does not have."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in row.values()):
        return b""
    return json.dumps(row, allow_nan=False).encode()


def block_size(text: bytes) -> int:
    """Size of the user block for ``text``: 0, or a power of two from 512 on."""
    return max(512, 1 << (len(text) + 100 - 1).bit_length()) if text else 0


def fill(file: bytearray, text: bytes) -> None:
    """Put ``text`` into the user block of a whole HDF5 file that was made with :func:`block_size`."""
    if text:
        head = f"trojai-seam row, {len(text)} bytes, checksum {zlib.crc32(text)}, file of {len(file)} bytes\n".encode()
        file[: len(head) + len(text)] = head + text


def read(path: Path) -> dict[str, Any] | None:
    """The row in the user block of ``path``; None if the file has none, then its attributes are to be read.

    Raises:
        OSError: the file cannot be read.
        ValueError: it was cut or damaged.
    """
    with path.open("rb") as file:
        content = file.read(_FIRST_READ)
        head = _HEAD.match(content)
        if head is None:
            return None
        size, checksum, whole = (int(number) for number in head.groups())
        end = head.end() + size
        start = block_size(b"x" * size)
        if len(content) < start + len(_SIGNATURE):
            content += file.read(start + len(_SIGNATURE) - len(content))
        if file.seek(0, 2) != whole or content[start : start + len(_SIGNATURE)] != _SIGNATURE:
            raise ValueError("it is not whole")
    text = content[head.end() : end]
    if zlib.crc32(text) != checksum:
        raise ValueError("its row is damaged")
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError("its row is no row")
    return row
