"""Progress that tells the truth, on a terminal, in a log file, or not at all."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from .. import __version__
from ..errors import shown
from ..heartbeat import Pulse, duration


class Progress(Protocol):
    """What the runner tells; it knows nothing of terminals."""

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        """``total`` models are asked for, ``finished`` have a record from before, ``failed`` of these failed; up to
        ``slots`` will run at the same time."""

    def before(self, finished: int, failed: int) -> None:
        """So many more of those asked for turn out to have a record from before."""

    def begin(self, slot: str, model_id: str) -> None:
        """``model_id`` is now being worked on in ``slot``."""

    def update(self, row: Mapping[str, Any]) -> None:
        """One more model has its record."""

    def leave(self, model_id: str) -> None:
        """``model_id`` is no longer worked on, and has no record."""

    def doing(self, slot: str, text: str) -> None:
        """How far the model in ``slot`` is: ``recover, epoch 3 of at most 60``."""

    def interrupted(self) -> None:
        """The user asked to stop; what runs is finished first."""

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
        self.doing: dict[str, str] = {}
        """How far its model is, by slot."""
        self._began = time.monotonic()
        self._seconds: list[float] = []
        self._fidelities: list[float] = []

    def before(self, finished: int, failed: int) -> None:
        """So many more have a record from before."""
        self.finished += finished
        self.done, self.failed = self.done + finished - failed, self.failed + failed

    def begin(self, slot: str, model_id: str) -> None:
        """One model more runs, or runs elsewhere now."""
        self.running[model_id] = (slot, self.running.get(model_id, ("", time.monotonic()))[1])
        self.doing.pop(slot, None)

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
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)

    def slot_lines(self) -> list[str]:
        """One line per running model, in the order of the slots."""
        now = time.monotonic()
        running = sorted((slot, model_id, now - began) for model_id, (slot, began) in list(self.running.items()))
        return [
            f"{slot}: {shown(model_id)} for {duration(seconds)}"
            + (f", {self.doing[slot]}" if slot in self.doing else "")
            for slot, model_id, seconds in running
        ]

    def interruption(self) -> str:
        """What is to be said when the user asks to stop."""
        if not self.running:
            return "interrupted: no model is running; stopping"
        told = f"interrupted: finishing what runs ({'; '.join(self.slot_lines())})"
        if self._seconds:
            told += f"; a model took {duration(statistics.median(self._seconds))}"
        return f"{told}; Ctrl-C once more stops now"


def _success(row: Mapping[str, Any]) -> str:
    figures = [
        f"{name} {row[name]:.2f}" for name in ("acc_after", "asr_after", "fidelity") if row.get(name) is not None
    ]
    return ", ".join([f"done: {shown(row['model_id'])}", *figures, duration(float(row["seconds_total"]))])


def _failure(row: Mapping[str, Any]) -> str:
    return f"failed: {shown(row['model_id'])}: {row['error']}"


class PlainProgress:
    """Fit for a log file: a line after 5 seconds, then after growing pauses of at most 30, one for each failure (and
    with ``verbose`` for each model), one at the end. The lines come from a thread, also while one model takes long."""

    def __init__(self, stream: TextIO | None = None, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._tally = Tally(0, 0, 0)
        self._last = ""
        self._pulse = Pulse(self.tell)

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self._tally = Tally(total, finished, failed, slots)
        self.note(self._tally.line())
        self._pulse.start()

    def before(self, finished: int, failed: int) -> None:
        self._tally.before(finished, failed)

    def begin(self, slot: str, model_id: str) -> None:
        self._tally.begin(slot, model_id)

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self.note(_failure(row))
        elif self._verbose:
            self.note(_success(row))

    def leave(self, model_id: str) -> None:
        self._tally.leave(model_id)

    def doing(self, slot: str, text: str) -> None:
        self._tally.doing[slot] = text

    def interrupted(self) -> None:
        self.note(self._tally.interruption())

    def note(self, text: str) -> None:
        self._last = text
        print(text, file=self._stream, flush=True)

    def tick(self) -> None:
        pass  # it has a thread of its own

    def stop(self) -> None:
        self._pulse.stop()
        if self._last != self._tally.line():
            self.note(self._tally.line())

    def tell(self) -> None:
        """All of it in one line, now."""
        running = self._tally.slot_lines() or ["no model is running yet"] * (self._tally.left > 0)
        self.note("; ".join([self._tally.line(), *running]))


class RichProgress:
    """A live line on a terminal, below it one per running model; failures scroll by above."""

    def __init__(self, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._verbose = verbose
        self._bar = Bar(*columns, console=self._console)
        self._tally = Tally(0, 0, 0)
        self._live = Live(get_renderable=self._shown, console=self._console, refresh_per_second=2)

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self._tally = Tally(total, finished, failed, slots)
        self._task = self._bar.add_task(self._tally.line(), total=total, completed=finished)
        self._live.start()

    def before(self, finished: int, failed: int) -> None:
        self._tally.before(finished, failed)
        self._bar.update(self._task, advance=finished, description=self._tally.line())

    def begin(self, slot: str, model_id: str) -> None:
        self._tally.begin(slot, model_id)

    def update(self, row: Mapping[str, Any]) -> None:
        self._tally.add(row)
        if row["status"] != "done":
            self.note(_failure(row))
        elif self._verbose:
            self.note(_success(row))
        self._bar.update(self._task, advance=1, description=self._tally.line())

    def leave(self, model_id: str) -> None:
        self._tally.leave(model_id)

    def doing(self, slot: str, text: str) -> None:
        self._tally.doing[slot] = text

    def interrupted(self) -> None:
        self.note(self._tally.interruption())

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

    def before(self, finished: int, failed: int) -> None:
        pass

    def begin(self, slot: str, model_id: str) -> None:
        pass

    def update(self, row: Mapping[str, Any]) -> None:
        pass

    def leave(self, model_id: str) -> None:
        pass

    def doing(self, slot: str, text: str) -> None:
        pass

    def interrupted(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def tick(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Logged:
    """Tells another progress everything, and writes what happened to each model into a file, with times in UTC.

    Several processes may write to one file: every line is appended at once.
    """

    def __init__(self, other: Progress, path: Path) -> None:
        self._other, self._path = other, path

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        self._write(f"trojai-seam {__version__}: {total} models, {finished} from before, {failed} of them failed")
        self._other.start(total, finished, failed, slots)

    def before(self, finished: int, failed: int) -> None:
        self._other.before(finished, failed)

    def begin(self, slot: str, model_id: str) -> None:
        self._write(f"{slot}: {shown(model_id)} begins")
        self._other.begin(slot, model_id)

    def update(self, row: Mapping[str, Any]) -> None:
        self._write(_success(row) if row["status"] == "done" else _failure(row))
        self._other.update(row)

    def leave(self, model_id: str) -> None:
        self._write(f"given back: {shown(model_id)}")
        self._other.leave(model_id)

    def doing(self, slot: str, text: str) -> None:
        self._other.doing(slot, text)

    def interrupted(self) -> None:
        self._write("interrupted")
        self._other.interrupted()

    def note(self, text: str) -> None:
        self._write(text)
        self._other.note(text)

    def tick(self) -> None:
        self._other.tick()

    def stop(self) -> None:
        self._write("end")
        self._other.stop()

    def _write(self, text: str) -> None:
        line = f"{datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')} [{os.getpid()}] {text}\n"
        # A disk that is full is met when the record is written, and said there.
        with suppress(OSError), self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line)


def choose_progress(quiet: bool, verbose: bool = False) -> Progress:
    """The fitting one for standard error."""
    if quiet:
        return NoProgress()
    return RichProgress(verbose) if sys.stderr.isatty() else PlainProgress(verbose=verbose)
