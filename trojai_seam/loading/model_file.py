"""An untrusted file, read at given places and never mapped into memory.

A file may shrink while it is read: a download goes on, a copy replaces it, a network drive loses it. The kernel kills
the process that touches a lost page of a map. A read comes back short instead, and that is one refused file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from ..errors import RefusedArchive, shown

CHANGED: Final = "was truncated or replaced while it was being read; run again when nothing writes to it any more"
#: Bytes that are read and summed at a time: few enough to lie in the processor's cache for the sum.
_PIECE: Final = 1 << 19
#: Bytes that are hashed at a time: whoever hashes beside a thread that runs Python waits for its lock in between.
_HASHED: Final = 1 << 22


class Identity(NamedTuple):
    """What tells a file from the one that replaces it; ``changed`` is its modification time in ns."""

    device: int
    inode: int
    size: int
    changed: int


class Record(NamedTuple):
    """A run of bytes in a file, with the CRC-32 that it must have; None in files that store none."""

    name: str
    start: int
    size: int
    crc: int | None


class ModelFile:
    """An open file; leaving it as a context manager closes it. One thread at a time.

    On leaving, a file that is no longer what it was when it was opened is refused, and a refusal for another reason is
    replaced by this one: what was found in a file that changes says nothing.

    Attributes:
        size: in bytes, as it was when the file was opened.
    """

    def __init__(self, path: Path, expected: Identity | None = None) -> None:
        """Open the file at ``path``, which must be the ``expected`` one if that is given.

        Raises:
            RefusedArchive: there is no such file, or it is empty, not a regular file, not readable, or another one.
        """
        self.path = path
        try:
            # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            gone = "no such file" if expected is None else "cannot be read any more: it was removed"
            raise RefusedArchive(path, gone) from None
        except (OSError, ValueError) as problem:
            raise RefusedArchive(path, _unreadable(problem)) from None
        try:
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                raise RefusedArchive(path, "a folder, not a model file")
            if not stat.S_ISREG(status.st_mode):
                raise RefusedArchive(path, "not a regular file")
            self.identity = _identity(status)
            if expected is not None and self.identity != expected:
                raise RefusedArchive(path, CHANGED)
            if status.st_size == 0:
                raise RefusedArchive(path, "the file is empty")
            self._raw = FileIO(handle)
        except BaseException:
            os.close(handle)
            raise
        self.size = self.identity.size
        self._positioned = hasattr(os, "preadv")

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._raw:
            try:
                changed = _identity(os.fstat(self._raw.fileno())) != self.identity
            except OSError:
                changed = True  # the server of a network drive no longer knows it
        if changed and (error is None or isinstance(error, RefusedArchive)):
            raise RefusedArchive(self.path, CHANGED) from None

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop``, none fewer.

        Raises:
            RefusedArchive: as for :meth:`read_into`.
        """
        content = bytearray(stop - start)
        self.read_into(start, memoryview(content))
        return bytes(content)

    def read_into(self, start: int, target: memoryview) -> None:
        """Fill ``target``, which is writable bytes, with those from ``start`` on.

        Raises:
            RefusedArchive: the file ends before, or the disk fails.
        """
        at = 0
        while at < len(target):
            try:
                got = self._some(start + at, target[at:] if at else target)
            except OSError as problem:
                raise RefusedArchive(self.path, _unreadable(problem), f"byte {start + at}") from None
            if got == 0:
                raise RefusedArchive(self.path, CHANGED, f"byte {start + at}")
            at += got

    def _some(self, start: int, target: memoryview) -> int:
        if self._positioned:
            return os.preadv(self._raw.fileno(), [target], start)
        self._raw.seek(start)  # not on Windows
        return self._raw.readinto(target) or 0

    def read_record(self, record: Record, target: memoryview) -> None:
        """Fill ``target`` with ``record``, whose checksum must be right.

        Raises:
            RefusedArchive: it is not, or as for :meth:`read_into`.
        """
        crc = 0
        for at in range(0, record.size, _PIECE):
            piece = target[at : at + _PIECE]
            self.read_into(record.start + at, piece)
            if record.crc is not None:
                crc = zlib.crc32(piece, crc)
        self._compare(record, crc)

    def check_record(self, record: Record) -> None:
        """Compare the checksum of ``record`` without keeping its bytes.

        Raises:
            RefusedArchive: as for :meth:`read_record`.
        """
        crc, stop = 0, record.start + record.size
        scratch = memoryview(bytearray(min(record.size, _PIECE)))
        for at in range(record.start, stop, _PIECE):
            piece = scratch[: stop - at]
            self.read_into(at, piece)
            crc = zlib.crc32(piece, crc)
        self._compare(record, crc)

    def sha256(self) -> str:
        """SHA-256 of the whole file, in hexadecimal.

        Raises:
            RefusedArchive: as for :meth:`read_into`.
        """
        digest, scratch = hashlib.sha256(), memoryview(bytearray(min(self.size, _HASHED)))
        for at in range(0, self.size, _HASHED):
            piece = scratch[: self.size - at]
            self.read_into(at, piece)
            digest.update(piece)
        return digest.hexdigest()

    def _compare(self, record: Record, crc: int) -> None:
        if record.crc is not None and crc != record.crc:
            raise RefusedArchive(self.path, "a damaged record: its checksum (CRC-32) is wrong", shown(record.name))


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _unreadable(problem: Exception) -> str:
    return f"cannot be read: {getattr(problem, 'strerror', None) or problem}"
