"""By what a model file is known again: size and time, and the hash of its content."""

from __future__ import annotations

from pathlib import Path

from ..loading.model_file import ModelFile


def model_stamp(path: Path) -> str | None:
    """Size and modification time, which change with the file; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        RefusedArchive: it is absent, empty, unreadable, or changes meanwhile.
    """
    with ModelFile(path) as file:
        return file.sha256()
