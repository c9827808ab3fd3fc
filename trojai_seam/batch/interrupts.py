"""Ctrl-C once: finish what runs. Twice, or a request to terminate: stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_AT_ONCE = ("SIGTERM", "SIGHUP")


@contextmanager
def two_step_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT calls ``stop``, a second one raises KeyboardInterrupt; SIGTERM and SIGHUP raise it at once.

    Only the main thread receives signals; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if number == signal.SIGINT and not asked:
            asked = True
            stop()
            return
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, *(getattr(signal, name) for name in _AT_ONCE if hasattr(signal, name))]
    before = {number: signal.getsignal(number) for number in numbers}
    # One that is ignored (as nohup ignores SIGHUP) stays so.
    mine = [number for number in numbers if before[number] not in (signal.SIG_IGN, None)]
    for number in mine:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
