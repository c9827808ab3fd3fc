"""Progress that tells the truth, on a terminal, in a log file, or not at all."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from ..errors import shown

PLAIN_INTERVAL = 30.0


class Progress(Protocol):
    """What the runner tells; it knows nothing of terminals."""

    def start(self, total: int, finished: int, failed: int) -> None:
        """``total`` models are asked for, ``finished`` have a record from before, ``failed`` of these failed."""

    def update(self, row: Mapping[str, Any]) -> None:
        """One more model has its record."""

    def stop(self) -> None:
        """No more updates."""


class Tally:
    """Counts of a run, and what they say about the time left."""

    def __init__(self, total: int, finished: int, failed: int) -> None:
        self.total, self.finished = total, finished
        self.done, self.failed = finished - failed, failed
        self._seconds: list[float] = []
        self._fidelities: list[float] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        if row["status"] == "done":
            self.done += 1
        else:
            self.failed += 1
        self._seconds.append(float(row["seconds_total"]))
        if row.get("fidelity") is not None:
            self._fidelities.append(float(row["fidelity"]))

    @property
    def left(self) -> int:
        """Models without a record."""
        return self.total - self.done - self.failed

    @property
    def seconds_left(self) -> float | None:
        """Median time of a model times the models left."""
        return statistics.median(self._seconds) * self.left if self._seconds else None

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{self.total - self.left}/{self.total} models", f"{self.failed} failed"]
        if self.finished:
            parts.append(f"{self.finished} from before")
        if self._fidelities:
            parts.append(f"mean fidelity {statistics.fmean(self._fidelities):.3f} (n={len(self._fidelities)})")
        if self.left and self.seconds_left is not None:
            parts.append(f"about {_duration(self.seconds_left)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class PlainProgress:
    """A line every 30 seconds, one for each failure, one at the end: fit for a log file."""

    def __init__(self, stream: TextIO | None = None, interval: float = PLAIN_INTERVAL) -> None:
        self._stream = stream or sys.stderr
        self._interval = interval
        self._last = time.monotonic()
        self._tally = Tally(0, 0, 0)

    def start(self, total: int, finished: int, failed: int) -> None:
        self._tally = Tally(total, finished, failed)
        self._print(self._tally.line())

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self._print(f"failed: {shown(row['model_id'])}: {row['error']}")
        if time.monotonic() - self._last >= self._interval:
            self._print(self._tally.line())

    def stop(self) -> None:
        self._print(self._tally.line())

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, file=self._stream, flush=True)


class RichProgress:
    """A live line on a terminal; failures scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._bar = Bar(*columns, console=self._console)
        self._tally = Tally(0, 0, 0)

    def start(self, total: int, finished: int, failed: int) -> None:
        self._tally = Tally(total, finished, failed)
        self._task = self._bar.add_task(self._tally.line(), total=total, completed=finished)
        self._bar.start()

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self._console.print(f"failed: {shown(row['model_id'])}: {row['error']}", markup=False, highlight=False)
        self._bar.update(self._task, advance=1, description=self._tally.line())

    def stop(self) -> None:
        self._bar.stop()


class NoProgress:
    """Says nothing."""

    def start(self, total: int, finished: int, failed: int) -> None:
        pass

    def update(self, row: Mapping[str, Any]) -> None:
        pass

    def stop(self) -> None:
        pass


def choose_progress(quiet: bool) -> Progress:
    """The fitting one for standard error."""
    if quiet:
        return NoProgress()
    return RichProgress() if sys.stderr.isatty() else PlainProgress()
