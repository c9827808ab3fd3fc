"""Worker processes that outlast a run, for the next run of the same command: starting them takes seconds each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..units import Assignment
    from .process import WorkerProcess

_waiting: ContextVar[list[WorkerProcess] | None] = ContextVar("waiting", default=None)


@contextmanager
def keep_workers() -> Iterator[None]:
    """While it lasts, executors leave processes that have nothing to do to each other; at its end these end."""
    waiting: list[WorkerProcess] = []
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        for worker in waiting:
            worker.end()


def leave(worker: WorkerProcess) -> bool:
    """Leave an idle process to whoever comes next; False if nobody will."""
    waiting = _waiting.get()
    if waiting is None:
        return False
    waiting.append(worker)
    return True


def end_waiting(device: str) -> None:
    """End those that wait on ``device``: idle processes hold memory of it, too."""
    waiting = _waiting.get() or []
    for worker in [worker for worker in waiting if worker.device == device]:
        waiting.remove(worker)
        worker.end()


def inherit(assignment: Assignment, device: str, crowded: bool) -> WorkerProcess | None:
    """A process that can do this work as well as a fresh one; it is told of it. None if there is none."""
    waiting = _waiting.get() or []
    found = next((worker for worker in waiting if worker.fits(assignment, device, crowded)), None)
    if found is not None:
        waiting.remove(found)
        found.assign(assignment)
    return found
