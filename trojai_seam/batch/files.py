"""Writing so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import RunDirectoryProblem

PARTIAL = ".partial"


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, fsync, rename over it.

    Raises:
        RunDirectoryProblem: no space, no permission, …; what was there before is untouched and nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise _cannot_write(path, problem) from None


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents.

    Raises:
        RunDirectoryProblem: it cannot be made, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _cannot_write(path, problem) from None


def _cannot_write(path: Path, problem: OSError) -> RunDirectoryProblem:
    return RunDirectoryProblem(
        f"{path}: cannot be written: {problem.strerror or problem}; finished models are kept, "
        "mend this and run the same command again"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
