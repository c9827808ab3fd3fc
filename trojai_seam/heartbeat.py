"""What a long computation says of how far it is, to whoever listens in this process; it decides nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

FIRST, LONGEST = 5.0, 30.0  # seconds of silence
Listener = Callable[[str], None]
_listeners: list[Listener] = []


def beat(text: str) -> None:
    """Say what is done now and how far it is; costs nothing where nobody listens."""
    if _listeners:
        _listeners[-1](text)


def heard() -> bool:
    """Whether anybody listens: what is costly to say need not be said to nobody."""
    return bool(_listeners)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within, :func:`beat` calls ``listener``, and nobody who listened before."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def seldom(listener: Listener, seconds: float = 1.0) -> Listener:
    """``listener``, called at most once in so many seconds."""
    last = -seconds

    def sometimes(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            listener(text)

    return sometimes


def duration(seconds: float) -> str:
    """``2h05m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class Pulse:
    """Calls ``tell`` from a thread of its own: after 5 seconds, then after growing pauses of at most 30."""

    def __init__(self, tell: Callable[[], None], longest: float = LONGEST) -> None:
        self._tell, self._longest = tell, longest
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="trojai-seam-pulse")

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def stop(self) -> None:
        """Say nothing more."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(min(self._longest, max(FIRST, (time.monotonic() - began) / 4))):
            self._tell()


@contextmanager
def no_silence(stream: TextIO, command: str) -> Iterator[None]:
    """Within, a line on ``stream`` says now and then that ``command`` still works, and what it said last.

    It is silent while somebody else listens, who then does the telling.
    """
    began, said = time.monotonic(), ["starting"]

    def tell() -> None:
        if _listeners and _listeners[-1] is listener:
            print(f"trojai-seam {command}: {duration(time.monotonic() - began)}, {said[0]}", file=stream, flush=True)

    def listener(text: str) -> None:
        said[0] = text

    pulse = Pulse(tell)
    with listening(listener):
        pulse.start()
        try:
            yield
        finally:
            pulse.stop()
