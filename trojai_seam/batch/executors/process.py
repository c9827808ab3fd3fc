"""The parent's side of one worker process: start it, give orders, read reports, look after its limits, end it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..paths import states_prefix
from ..units import Assignment, WorkUnit
from .child import LOG_TAIL, start_line

MOST_LOG = 1 << 20
GRACE = 2.0
"""Seconds between asking a process to end and killing it."""
_THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class WorkerProcess:
    """A spawned process in a process group of its own, which evaluates one unit after the other.

    Attributes:
        units: what it works on and has not finished.
        size: how many it got at once.
        device: as the parent names it.
        crowded: other processes use the memory of its device.
        stage: ``starting``, ``idle``, ``opening``, ``opened`` (waits for its turn), ``computing`` or ``gone``.
        reports: descriptor to select on.
    """

    def __init__(self, assignment: Assignment, device: str, crowded: bool) -> None:
        self.units: list[WorkUnit] = []
        self.size = 0
        self.device, self.crowded = device, crowded
        self._made_for = _needs(assignment, device)
        self.stage = "starting"
        self.resting_memory: int | None = None
        self._log = _memory_file()
        self._rest = b""
        self._spent, self._since = 0.0, time.monotonic()
        self.reports, theirs = os.pipe()
        try:
            name, environment = _environment(device, assignment.plan.threads)
            path = [os.path.abspath(entry) for entry in sys.path if entry]
            self._process = subprocess.Popen(
                start_line(path, parent=os.getpid(), reports=theirs, device=name, crowded=crowded),
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs,),
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(self.reports)
            os.close(self._log)
            raise
        finally:
            os.close(theirs)
        self.assign(assignment)

    def assign(self, assignment: Assignment) -> None:
        """What the units to come have in common."""
        self._order(assignment.to_json())

    def fits(self, assignment: Assignment, device: str, crowded: bool) -> bool:
        """Whether it can be told to work on this: it lives, and would have been started in the same way."""
        return not self._ended() and (self._made_for, self.crowded) == (_needs(assignment, device), crowded)

    def open(self, units: list[WorkUnit]) -> None:
        """Begin with ``units`` (the process is idle); it stops before computing until :meth:`go`."""
        self._enter("opening")
        self.units, self.size, self._spent = list(units), len(units), 0.0
        self._order(json.dumps([unit.to_json() for unit in units]))

    def go(self) -> None:
        """Compute."""
        self._enter("computing")
        self._order("go")

    @property
    def seconds_in_stage(self) -> float:
        """Wall-clock time since the stage began."""
        return time.monotonic() - self._since

    @property
    def seconds(self) -> float:
        """Wall-clock time since the units began, or the last of them was finished; waiting for a turn not counted."""
        waits = self.stage not in ("opening", "computing")
        return self._spent + (0.0 if waits else time.monotonic() - self._since)

    def read_reports(self) -> Iterator[tuple[str, str]]:
        """(kind, text) of what the process said; ends with ``gone`` when it is no more."""
        try:
            content = os.read(self.reports, 1 << 16)
        except OSError:
            content = b""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            report = json.loads(line)
            stage = {"ready": "idle", "opened": "opened"}.get(report["report"])
            if stage:
                self._enter(stage)
            yield report["report"], report["text"]
        if not content:
            yield "gone", ""

    @property
    def busy(self) -> bool:
        """It has units, or is about to say that it has none any more."""
        return self.stage in ("opening", "opened", "computing")

    def finished(self, model_id: str) -> WorkUnit | None:
        """One of the units has its record. Returns it."""
        unit = next((unit for unit in self.units if unit.directory.model_id == model_id), None)
        if unit is not None:
            self.units.remove(unit)
            self._spent, self._since = 0.0, time.monotonic()
        return unit

    def rests(self) -> None:
        """The units are done with; the process waits."""
        self.units = []
        self._enter("idle")

    def log_tail(self) -> str:
        """The last of what it printed about these units."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, LOG_TAIL, max(0, size - LOG_TAIL)).decode("utf-8", "replace")

    def memory(self) -> int:
        """Bytes that the process and what it started hold for themselves, mapped files not counted; 0 if unknown."""
        if os.fstat(self._log).st_size > MOST_LOG:
            os.truncate(self._log, 0)
        return sum(_private_bytes(number) for number in _family(self._process.pid))

    def end(self) -> None:
        """Let it end by itself: it has nothing to do."""
        self._order("end")
        self._await(GRACE)
        self.kill()

    def kill(self) -> str:
        """End it and everything that it started: terminate, wait, kill the process group. Says how it ended."""
        self._signal(signal.SIGTERM)
        self._await(GRACE)
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        self.stage = "gone"
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        for descriptor in (self.reports, self._log):
            os.close(descriptor)
        for folder in Path(tempfile.gettempdir()).glob(f"{states_prefix(self._process.pid)}*"):
            shutil.rmtree(folder, ignore_errors=True)  # stored states, had it no time to remove them
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group. Until the first process in it is waited for, its number cannot belong to another one."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _await(self, seconds: float) -> None:
        """Until it has ended, but without taking its place in the process table away."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._ended():
                return
            time.sleep(0.005)

    def _ended(self) -> bool:
        """Without taking its place in the process table away."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _enter(self, stage: str) -> None:
        self._spent, self.stage = self.seconds, stage
        self._since = time.monotonic()

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with suppress(BrokenPipeError):  # it is gone; the reports will say so
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()


def _needs(assignment: Assignment, device: str) -> tuple[object, ...]:
    """All that a process is started with and cannot change: its device, threads, and the user's code."""
    return device, assignment.plan.threads, assignment.networks, assignment.plan.networks


def _memory_file() -> int:
    """A file without a name that both sides can read; appending, so that cutting it to nothing is safe."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("trojai-seam-log")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
    return descriptor


def _environment(device: str, threads: int) -> tuple[str, dict[str, str]]:
    """What the process calls its device, and variables that show it this one only and keep every pool of threads to
    its share."""
    environment = dict(os.environ)
    for name in _THREAD_POOLS:
        environment[name] = str(threads)
    kind, _, index = device.partition(":")
    if kind == "cuda":
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        number = int(index or 0)
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)
    return kind, environment


def _family(process: int) -> Iterator[int]:
    """The process and those below it."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _family(int(child))


def _private_bytes(process: int) -> int:
    """Anonymous and shared memory of one process; 0 where the system does not tell."""
    with suppress(OSError):
        text = Path(f"/proc/{process}/status").read_text("utf-8", "replace")
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return sum(int(values.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    return 0
