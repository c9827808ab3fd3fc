"""A file mapped into memory, read-only."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import Final

from ..errors import RefusedArchive

#: Bytes that are worked on at a time, so that a large file never counts as this process's memory twice.
CHUNK: Final = 1 << 24


def map_file(path: Path) -> mmap.mmap:
    """Map the whole file at ``path``.

    Raises:
        RefusedArchive: there is no such file, or it is empty, not a regular file, or not readable.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                raise RefusedArchive(path, "a folder, not a model file")
            if not stat.S_ISREG(status.st_mode):
                raise RefusedArchive(path, "not a regular file")
            if status.st_size == 0:
                raise RefusedArchive(path, "the file is empty")
            return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise RefusedArchive(path, "no such file") from None
    except (OSError, ValueError) as problem:
        raise RefusedArchive(path, f"cannot be read: {getattr(problem, 'strerror', None) or problem}") from None


def release(data: mmap.mmap, start: int, stop: int) -> None:
    """Say that bytes ``start`` to ``stop`` are done with, so that they stop counting as this process's memory."""
    if hasattr(mmap, "MADV_DONTNEED"):
        start -= start % mmap.PAGESIZE
        if stop > start:
            data.madvise(mmap.MADV_DONTNEED, start, stop - start)
