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

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        """``total`` models are asked for, ``finished`` have a record from before, ``failed`` of these failed; up to
        ``slots`` will run at the same time."""

    def begin(self, slot: str, model_id: str) -> None:
        """``model_id`` is now being worked on in ``slot``."""

    def update(self, row: Mapping[str, Any]) -> None:
        """One more model has its record."""

    def leave(self, model_id: str) -> None:
        """``model_id`` is no longer worked on, and has no record."""

    def note(self, text: str) -> None:
        """Something that the user should know now."""

    def tick(self) -> None:
        """Time has passed."""

    def stop(self) -> None:
        """No more updates."""


class Tally:
    """Counts of a run, and what they say about the time left."""

    def __init__(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self.total, self.finished, self.slots = total, finished, slots
        self.done, self.failed = finished - failed, failed
        self.running: dict[str, tuple[str, float]] = {}
        """Slot, and when it began, by model id."""
        self._began = time.monotonic()
        self._seconds: list[float] = []
        self._fidelities: list[float] = []

    def begin(self, slot: str, model_id: str) -> None:
        """One model more runs, or runs elsewhere now."""
        self.running[model_id] = (slot, self.running.get(model_id, ("", time.monotonic()))[1])

    def leave(self, model_id: str) -> None:
        """One model less runs."""
        self.running.pop(model_id, None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.leave(str(row["model_id"]))
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
        """Median time of a model times the models left, shared among the slots that there is still work for."""
        if not self._seconds:
            return None
        return statistics.median(self._seconds) * self.left / max(1, min(self.slots, self.left))

    @property
    def per_hour(self) -> float | None:
        """Models per hour since the beginning."""
        passed = time.monotonic() - self._began
        return len(self._seconds) / passed * 3600 if self._seconds and passed > 1 else None

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{self.total - self.left}/{self.total} models", f"{self.failed} failed"]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if self.finished:
            parts.append(f"{self.finished} from before")
        if self._fidelities:
            parts.append(f"mean fidelity {statistics.fmean(self._fidelities):.3f} (n={len(self._fidelities)})")
        if self.left and self.per_hour is not None:
            parts.append(f"{self.per_hour:.0f} models per hour")
        if self.left and self.seconds_left is not None:
            parts.append(f"about {_duration(self.seconds_left)} left")
        return ", ".join(parts)

    def slot_lines(self) -> list[str]:
        """One line per running model, in the order of the slots."""
        now = time.monotonic()
        running = sorted((slot, model_id, now - began) for model_id, (slot, began) in self.running.items())
        return [f"{slot}: {shown(model_id)} for {_duration(seconds)}" for slot, model_id, seconds in running]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _failure(row: Mapping[str, Any]) -> str:
    return f"failed: {shown(row['model_id'])}: {row['error']}"


class PlainProgress:
    """A line every 30 seconds, one for each failure, one at the end: fit for a log file."""

    def __init__(self, stream: TextIO | None = None, interval: float = PLAIN_INTERVAL) -> None:
        self._stream = stream or sys.stderr
        self._interval = interval
        self._last = time.monotonic()
        self._tally = Tally(0, 0, 0)

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self._tally = Tally(total, finished, failed, slots)
        self._print(self._tally.line())

    def begin(self, slot: str, model_id: str) -> None:
        self._tally.begin(slot, model_id)

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self.note(_failure(row))
        self.tick()

    def leave(self, model_id: str) -> None:
        self._tally.leave(model_id)

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def tick(self) -> None:
        if time.monotonic() - self._last >= self._interval:
            self._print("; ".join([self._tally.line(), *self._tally.slot_lines()]))

    def stop(self) -> None:
        self._print(self._tally.line())

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        self.note(text)


class RichProgress:
    """A live line on a terminal, below it one per running model; failures scroll by above."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._bar = Bar(*columns, console=self._console)
        self._tally = Tally(0, 0, 0)
        self._live = Live(get_renderable=self._shown, console=self._console, refresh_per_second=2)

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self._tally = Tally(total, finished, failed, slots)
        self._task = self._bar.add_task(self._tally.line(), total=total, completed=finished)
        self._live.start()

    def begin(self, slot: str, model_id: str) -> None:
        self._tally.begin(slot, model_id)

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self.note(_failure(row))
        self._bar.update(self._task, advance=1, description=self._tally.line())

    def leave(self, model_id: str) -> None:
        self._tally.leave(model_id)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def tick(self) -> None:
        pass  # it has a thread of its own

    def stop(self) -> None:
        self._live.stop()

    def _shown(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(self._bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in self._tally.slot_lines()))


class NoProgress:
    """Says nothing."""

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        pass

    def begin(self, slot: str, model_id: str) -> None:
        pass

    def update(self, row: Mapping[str, Any]) -> None:
        pass

    def leave(self, model_id: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def tick(self) -> None:
        pass

    def stop(self) -> None:
        pass


def choose_progress(quiet: bool) -> Progress:
    """The fitting one for standard error."""
    if quiet:
        return NoProgress()
    return RichProgress() if sys.stderr.isatty() else PlainProgress()
