"""Opens a file of ``torch.save``, whichever container it has, and says clearly what a file is that has none."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, Literal

from ..errors import RefusedArchive
from .budget import Budget
from .legacy_container import read_legacy
from .mapped import map_file, release
from .nodes import Inert, StorageRef
from .pickle_reader import PickleReader
from .zip_container import read_zip

_NOT_SUPPORTED: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model; fetch the real file with git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not a file of torch.save"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"\x93NUMPY", "a NumPy array, not a file of torch.save"),
    (b"GGUF", "a GGUF file, not a file of torch.save"),
)


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, with the map of the file that its tensors are copied from.

    Attributes:
        starts: byte offset of every storage, by storage key.
        globals: every name that the pickles mention.
    """

    path: Path
    format: Literal["zip", "legacy"]
    root: Inert
    globals: tuple[str, ...]
    starts: dict[str, int]
    data: mmap.mmap

    def view(self, storage: StorageRef, start: int, stop: int) -> memoryview:
        """The raw little-endian bytes ``start`` to ``stop`` of ``storage``, read-only and not copied. Close it."""
        base = self.starts[storage.key]
        return memoryview(self.data)[base + start : base + stop]

    def release(self, storage: StorageRef, start: int, stop: int) -> None:
        """Let go of the memory behind :meth:`view`; reading it again is slower, not wrong."""
        base = self.starts[storage.key]
        release(self.data, base + start, base + stop)


def open_archive(path: str | PathLike[str], budget: Budget) -> Contents:
    """Read the pickles of the file at ``path`` and check the place and size of every storage.

    Raises:
        RefusedArchive: the file cannot be read, is not one of ``torch.save``, is damaged, hostile or beyond ``budget``.
    """
    path = Path(path)
    data = map_file(path)
    try:
        reader = PickleReader(path, data, budget)
        if data[:4] == b"PK\x03\x04":
            root, starts = read_zip(path, data, budget, reader)
        elif data[:1] == b"\x80" and not _is_safetensors(data):
            root, starts = read_legacy(path, data, budget, reader)
        else:
            raise RefusedArchive(path, _what_else(data))
    except MemoryError:
        raise RefusedArchive(path, "not enough memory to read it") from None
    form: Literal["zip", "legacy"] = "zip" if data[:2] == b"PK" else "legacy"
    return Contents(path, form, root, tuple(sorted(reader.globals)), starts, data)


def _is_safetensors(data: mmap.mmap) -> bool:
    """Whether the file begins with the length of a JSON header and that header."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _what_else(data: mmap.mmap) -> str:
    head = data[:512]
    for signature, meaning in _NOT_SUPPORTED:
        if head.startswith(signature):
            return meaning
    if head[257:262] == b"ustar":
        return "a tar archive (the format of PyTorch 0.1, or a packed folder), which is not supported"
    if head[:2] == b"PK":
        return "an empty or spanned zip archive, not a file of torch.save"
    if _is_safetensors(data):
        return "a safetensors file, not a file of torch.save"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the model; the download went wrong"
    if text.startswith((b"{", b"[")):
        return "a text file that looks like JSON, not a file of torch.save"
    return "not a file of torch.save"
