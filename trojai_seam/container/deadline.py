"""The wall clock inside: the server kills a submission that is late, so we stop ourselves before."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class TimeUp(BaseException):
    """Time is up, or the process was told to end. No ``Exception``: nothing but its addressee may catch it."""


class Deadline:
    """Raises :class:`TimeUp` in the main thread when its seconds have passed, or when SIGTERM arrives.

    As a context manager; outside of it the process behaves as before. Python runs signal handlers between two
    bytecodes, so a long kernel on the CPU delays it by that kernel's time.

    Args:
        seconds: from ``began`` on.
        began: ``time.monotonic()`` at the beginning; now when unset.
    """

    def __init__(self, seconds: float, began: float | None = None) -> None:
        self._ends = (time.monotonic() if began is None else began) + seconds
        self._before: dict[int, object] = {}

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._ends - time.monotonic())

    def __enter__(self) -> Deadline:
        for number in (signal.SIGALRM, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._raise)
        # A timer of 0 would be no timer.
        signal.setitimer(signal.ITIMER_REAL, max(self.remaining(), 1e-3))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _raise(self, number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # once is enough: what follows is the writing of the result
        raise TimeUp("told to end (SIGTERM)" if number == signal.SIGTERM else "the time allowed is over")


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block that neither the deadline nor SIGTERM interrupts: for writing a result."""
    # Not by a signal mask: that is one thread's own, and the kernel hands the signal to any other thread.
    came: list[tuple[int, FrameType | None]] = []
    numbers = (signal.SIGALRM, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda *signalled: came.append(signalled)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signalled, frame in came[:1]:
            handler = handlers[signal.Signals(signalled)]
            if callable(handler):
                handler(signalled, frame)
            elif handler == signal.SIG_DFL:
                signal.raise_signal(signalled)
