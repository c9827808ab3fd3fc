"""Writing so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import RunDirectoryProblem

PARTIAL = ".partial"


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write ``content`` beside ``path``, fsync, rename over it.

    Raises:
        RunDirectoryProblem: no space, no permission, …; what was there before is untouched and nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{_host()}.{os.getpid()}{PARTIAL}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as problem:
        with suppress(OSError):  # a read-only disk refuses even the removal of what was never made
            beside.unlink()
        raise _cannot_write(path, problem) from None


def write_once(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` unless something is there; of several writers at once exactly one succeeds.

    Raises:
        RunDirectoryProblem: as :func:`write_atomic`.
    """
    beside = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.once{PARTIAL}")
    write_atomic(beside, content)
    try:
        os.link(beside, path)
        _sync_folder(path.parent)
    except FileExistsError:
        pass  # the other one's stands
    except OSError:  # a file system without hard links: what it can do is replace
        if not path.exists():
            write_atomic(path, content)
    finally:
        with suppress(OSError):
            beside.unlink()


def leftovers(folder: Path) -> Iterator[Path]:
    """Files in ``folder`` that a killed writer of this machine left half-written.

    Those of a process that lives, or of another machine (where it may live), are none.
    """
    for path in folder.glob(f".*{PARTIAL}"):
        rest, _, number = path.name.removesuffix(PARTIAL).removesuffix(".once").rpartition(".")
        if rest.endswith(f".{_host()}") and number.isdigit() and not process_exists(int(number)):
            yield path


def _host() -> str:
    return "".join(c if c.isalnum() else "-" for c in socket.gethostname()) or "here"


def process_exists(process: int) -> bool:
    """Whether this machine has a process of that number, ours or not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it is there, but not ours
    return True


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents.

    Raises:
        RunDirectoryProblem: it cannot be made, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise _cannot_write(path, problem) from None


def _cannot_write(path: Path, problem: OSError | ValueError) -> RunDirectoryProblem:
    return RunDirectoryProblem(
        f"{path}: cannot be written: {getattr(problem, 'strerror', None) or problem}; finished models are kept, "
        "mend this and run the same command again"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
