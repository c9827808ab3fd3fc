"""Opens a file of ``torch.save``, whichever container it has, and says clearly what a file is that has none."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, Literal

from ..errors import RefusedArchive
from .budget import Budget
from .legacy_container import read_legacy
from .model_file import Identity, ModelFile, Record
from .nodes import Inert
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
    """What a file holds, and where in it its tensors lie. The file itself is closed.

    Attributes:
        globals: every name that the pickles mention.
        storages: every storage by its key.
        unchecked: records of a zip archive whose checksums were not compared yet.
        objections: why the file would have been refused, had it not been read to be described.
    """

    path: Path
    identity: Identity
    format: Literal["zip", "legacy"]
    root: Inert
    globals: tuple[str, ...]
    storages: dict[str, Record]
    unchecked: set[Record]
    objections: tuple[str, ...] = ()

    def open(self) -> ModelFile:
        """The file again.

        Raises:
            RefusedArchive: it is another one now, or cannot be read.
        """
        return ModelFile(self.path, self.identity)

    def check_rest(self, file: ModelFile) -> None:
        """Compare all checksums that were not compared yet.

        Raises:
            RefusedArchive: a record is damaged.
        """
        for record in sorted(self.unchecked, key=lambda record: record.start):
            file.check_record(record)
            self.unchecked.discard(record)


def open_archive(
    path: str | PathLike[str], budget: Budget, defer_checksums: bool = False, describing: bool = False
) -> Contents:
    """Read the pickles of the file at ``path`` and check the place and size of every storage.

    With ``defer_checksums``, those of the storages are left to whoever reads them. With ``describing``, calls of
    what is not known to be data stay inert nodes like all others and are told as ``objections``.

    Raises:
        RefusedArchive: the file cannot be read, is not one of ``torch.save``, is damaged, hostile or beyond ``budget``,
            or changes meanwhile.
    """
    path = Path(path)
    try:
        with ModelFile(path) as file:
            reader = PickleReader(file, budget, describing)
            head = file.read(0, min(file.size, 512))
            form: Literal["zip", "legacy"] = "zip" if head.startswith(b"PK\x03\x04") else "legacy"
            if form == "zip":
                root, storages, unchecked = read_zip(file, budget, reader, defer_checksums)
            elif head.startswith(b"\x80") and not _is_safetensors(head, file.size):
                root, storages = read_legacy(file, reader)
                unchecked = set()
            else:
                raise RefusedArchive(path, _what_else(head, file.size))
            names = tuple(sorted(reader.globals))
            return Contents(path, file.identity, form, root, names, storages, unchecked, tuple(reader.objections))
    except MemoryError:
        raise RefusedArchive(path, "not enough memory to read it") from None


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether the file begins with the length of a JSON header and that header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size


def _what_else(head: bytes, size: int) -> str:
    for signature, meaning in _NOT_SUPPORTED:
        if head.startswith(signature):
            return meaning
    if head[257:262] == b"ustar":
        return "a tar archive (the format of PyTorch 0.1, or a packed folder), which is not supported"
    if head[:2] == b"PK":
        return "an empty or spanned zip archive, not a file of torch.save"
    if _is_safetensors(head, size):
        return "a safetensors file, not a file of torch.save"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the model; the download went wrong"
    if text.startswith((b"{", b"[")):
        return "a text file that looks like JSON, not a file of torch.save"
    return "not a file of torch.save"
