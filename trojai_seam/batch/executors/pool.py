"""Local processes: a number of workers per device, each with limits, replaced when it crashes or grows."""

from __future__ import annotations

import selectors
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from ...errors import RunDirectoryProblem, UsageProblem, WorkerProblem, shown
from ...loading.budget import amount
from ...settings import seconds
from ..files import leftovers
from ..first_rows import record_failure
from ..records import read_row
from ..units import WorkUnit, stamp
from ..work import Work
from . import Spread
from .kept import end_waiting, inherit, leave
from .kinds import ExecutorKind, ExecutorSettings
from .process import WorkerProcess

TICK = 0.1
"""Seconds between two looks at the limits."""
GROWTH = 1 << 30
"""Bytes by which a resting worker may exceed what it held after its first model; then a fresh one takes over."""
CRASHES = {"killed by SIGKILL": 3}
"""Processes that a model may cost before it counts as failed. SIGKILL is mostly somebody else's doing (the kernel's,
for want of memory, or an operator's); any other end is the model's own, or a library's, and may happen twice."""
OTHER_CRASHES = 2
BAD_STARTS = {"killed by SIGKILL": 20}
"""Processes in a row that may end before they are ready to work."""
OTHER_BAD_STARTS = 3
LONGEST_START = 600.0


@dataclass
class Slot:
    """A place for one computing model; with ``prefetch`` a second process opens the next one meanwhile."""

    name: str
    device: str
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def computing(self) -> bool:
        """Whether the turn is taken."""
        return any(worker.stage == "computing" for worker in self.workers)


Workers = Annotated[int, Field(ge=1, le=1024)]


def _in_units(read: Callable[[str], float]) -> BeforeValidator:
    """Texts are read as the option of the command line reads them."""

    def value_of(value: object) -> object:
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError as problem:
            raise ValueError(f"{shown(value)!r}: {problem}") from None

    return BeforeValidator(value_of)


class Limits(ExecutorSettings):
    """What one model may take; what takes more is stopped, and a failed row."""

    time_limit: Annotated[float, Field(gt=0, allow_inf_nan=False), _in_units(seconds)] | None = None
    """Wall-clock seconds."""
    memory_limit: Annotated[int, Field(ge=2**20), _in_units(amount)] | None = None
    """Bytes of host memory of its process."""


class PoolSettings(Limits):
    """How many processes, and what they may take."""

    workers: Workers | None = None
    """Models at the same time, over all devices; unset: one per device."""
    workers_per_gpu: Workers | None = None
    """Models at the same time on each device; instead of ``workers``."""
    prefetch: Annotated[int, Field(ge=0, le=1)] | None = None
    """Models that each worker opens ahead while it computes; unset: 1 on GPUs."""

    @field_validator("workers_per_gpu", mode="after")
    @classmethod
    def _one_number(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("workers") is not None:
            raise ValueError("workers is given too; expected only one of them")
        return value

    def per_device(self, devices: int) -> int:
        """See :class:`ExecutorSettings`."""
        if self.workers is None:
            return self.workers_per_gpu or 1
        workers, rest = divmod(self.workers, devices)
        if rest:
            raise UsageProblem(f"--workers {self.workers}: cannot be shared evenly among {devices} devices")
        return workers


def run(work: Work, spread: Spread, settings: PoolSettings) -> None:
    """See :class:`trojai_seam.batch.executors.kinds.ExecutorKind`."""
    prefetch = int(spread.devices[0] != "cpu") if settings.prefetch is None else settings.prefetch
    pool = Pool(work, spread, settings, prefetch)
    try:
        while pool.step():
            work.tick()
    finally:
        pool.close()


class Pool:
    """The processes of this machine; :meth:`step` until it says that nothing is left."""

    def __init__(self, work: Work, spread: Spread, limits: Limits, prefetch: int = 0) -> None:
        self.work, self.spread, self.limits, self.prefetch = work, spread, limits, prefetch
        self.slots = [
            Slot(device if spread.workers == 1 else f"{device} #{number}", device)
            for number in range(1, spread.workers + 1)
            for device in spread.devices
        ]
        self.again: deque[WorkUnit] = deque()
        self.alone: dict[str, deque[WorkUnit]] = {device: deque() for device in spread.devices}
        self.crashes: Counter[tuple[str, str]] = Counter()
        self.bad_starts = 0
        self.looked = 0.0
        self.selector = selectors.DefaultSelector()

    @property
    def crowds(self) -> bool:
        """Whether several processes share the memory of a device."""
        return self.spread.workers * (1 + self.prefetch) > 1

    def step(self) -> bool:
        """Hand out, wait for news, look at the limits. False when there is nothing left to do."""
        for slot in self.slots:
            self._fill(slot)
        busy = any(worker.busy for slot in self.slots for worker in slot.workers)
        put_off = not self.work.stopped and (self.again or any(self.alone.values()))
        if self.work.closed and not busy and not put_off:
            return False
        for key, _ in self.selector.select(TICK):
            slot, worker = key.data
            for kind, text in worker.read_reports():
                self._hear(slot, worker, kind, text)
        if time.monotonic() - self.looked >= TICK:
            self.looked = time.monotonic()
            for slot in self.slots:
                for worker in list(slot.workers):
                    self._look_at_limits(slot, worker)
        return True

    def close(self) -> None:
        """End every process, or leave it to the next run; models that were not finished are given back."""
        for slot in self.slots:
            for worker in list(slot.workers):
                idle = worker.stage == "idle"
                for unit in worker.units:
                    self.work.give_back(unit)
                self._drop(slot, worker)
                if not idle:
                    worker.kill()
                elif worker.crowded != self.crowds or not leave(worker):
                    worker.end()
        for unit in (*self.again, *(unit for units in self.alone.values() for unit in units)):
            self.work.give_back(unit)
        self.selector.close()

    # handing out ------------------------------------------------------------------------------------------------------

    def _fill(self, slot: Slot) -> None:
        """Give the slot what it can take now: a turn, a unit to compute, a unit to open ahead, a process."""
        opened = next((worker for worker in slot.workers if worker.stage == "opened"), None)
        if opened is not None and not slot.computing:
            for unit in opened.units:
                self.work.show(slot.name, unit)
            opened.go()
        if self.work.stopped and slot.computing:
            for worker in list(slot.workers):
                if worker.busy and worker.stage != "computing":
                    for unit in worker.units:
                        self.work.give_back(unit)
                    self._drop(slot, worker)
                    worker.kill()
        if self._isolate(slot):
            return
        held = sum(worker.busy for worker in slot.workers)
        # Opening ahead would otherwise keep one of the last models from a slot that has nothing to do.
        wanted = 2 if self.prefetch and slot.computing and self.work.left >= len(self.slots) else 1
        for worker in slot.workers:
            if held < wanted and worker.stage == "idle":
                units = self._next(slot.name if held == 0 else f"{slot.name} next")
                if not units:
                    return
                worker.open(units)
                held += 1
        waiting = sum(not worker.busy for one in self.slots for worker in one.workers)
        starting = sum(worker.stage == "starting" for worker in slot.workers)
        if held + starting < wanted and waiting < self.work.left + len(self.again):
            self._start(slot, self.crowds)

    def _next(self, name: str) -> list[WorkUnit]:
        if self.again and not self.work.stopped:
            unit = self.again.popleft()
            self.work.show(name, unit)
            return [unit]
        return self.work.take_together(name, self.spread)

    def _isolate(self, slot: Slot) -> bool:
        """Empty the slot's device for a unit that has to be alone there, if there is one; True while there is."""
        there = [(other, worker) for other in self.slots if other.device == slot.device for worker in other.workers]
        if not self.crowds:
            return False
        if any(worker.busy and not worker.crowded for _, worker in there):
            return True
        if not self.alone[slot.device] or self.work.stopped:
            for other, worker in there:
                if not worker.crowded:
                    self._retire(other, worker)
            return False
        busy = any(worker.busy for _, worker in there)
        fresh = [worker for _, worker in there if not worker.crowded]
        for other, worker in there:
            if worker.crowded and (worker.stage == "opened" or not busy):
                self._withdraw(other, worker)  # an idle process holds device memory too
        if not busy and not fresh:
            end_waiting(slot.device)
            self._start(slot, crowded=False)
        elif not busy and fresh[0].stage == "idle":
            unit = self.alone[slot.device].popleft()
            self.work.show(f"{slot.device} alone", unit)
            fresh[0].open([unit])
        return True

    def _withdraw(self, slot: Slot, worker: WorkerProcess) -> None:
        self.again.extend(worker.units)
        self._drop(slot, worker)
        worker.kill()

    def _start(self, slot: Slot, crowded: bool) -> None:
        assignment = self.work.assignment
        worker = inherit(assignment, slot.device, crowded) or WorkerProcess(assignment, slot.device, crowded)
        slot.workers.append(worker)
        self.selector.register(worker.reports, selectors.EVENT_READ, (slot, worker))

    def _drop(self, slot: Slot, worker: WorkerProcess) -> None:
        slot.workers.remove(worker)
        self.selector.unregister(worker.reports)

    # news -------------------------------------------------------------------------------------------------------------

    def _hear(self, slot: Slot, worker: WorkerProcess, kind: str, text: str) -> None:
        if kind == "ready":
            self.bad_starts = 0
        elif kind == "unwritable":
            raise RunDirectoryProblem(text)
        elif kind == "unusable":
            raise WorkerProblem(text)
        elif kind == "crowded":
            self.alone[slot.device].extend(worker.units)
            self._retire(slot, worker)
        elif kind == "done" and (unit := worker.finished(text)) is not None:
            self.work.finish(unit, read_row(unit.record))
        elif kind == "doing":
            self.work.doing(slot.name, text)
        elif kind == "rest":
            self.again.extend(worker.units)  # what a process that can no longer be trusted has left
            worker.rests()
            if text == "last" or self._has_grown(worker):
                self._retire(slot, worker)
        elif kind == "gone" and worker in slot.workers:
            self._lose(slot, worker)

    def _has_grown(self, worker: WorkerProcess) -> bool:
        memory = worker.memory()
        if worker.resting_memory is None:
            worker.resting_memory = memory
        limit = self.limits.memory_limit
        return memory > worker.resting_memory + GROWTH or (limit is not None and memory > limit / 2)

    def _retire(self, slot: Slot, worker: WorkerProcess) -> None:
        self._drop(slot, worker)
        worker.end()

    def _lose(self, slot: Slot, worker: WorkerProcess, instead: tuple[str, str] | None = None) -> None:
        """End the process; what it worked on is taken up again, or failed: for the reason ``instead`` if given."""
        units, stage, tail, seconds = list(worker.units), worker.stage, worker.log_tail(), worker.seconds
        self._drop(slot, worker)
        how = worker.kill()
        assignment = self.work.assignment
        for leftover in leftovers((assignment.staging or assignment.paths).records):
            leftover.unlink(missing_ok=True)
        if stage == "starting":
            self._bad_start(how, tail)
        for unit in units:
            if stamp(unit.record) not in (None, unit.seen):
                self.work.finish(unit, read_row(unit.record))  # its last act
            elif worker.size > 1:
                self.again.append(unit)  # alone: only the guilty one will have it
            elif instead is not None:
                self.work.finish(unit, record_failure(unit, *instead, seconds, tail))
            else:
                self._count_crash(unit, how, stage, seconds, tail)

    def _count_crash(self, unit: WorkUnit, how: str, stage: str, seconds: float, tail: str) -> None:
        self.crashes[unit.directory.model_id, how] += 1
        times = self.crashes[unit.directory.model_id, how]
        if times < CRASHES.get(how, OTHER_CRASHES):
            self.again.append(unit)
            return
        message = f"its process was {times} times {how} while {stage} it (the end of its log is in {unit.final_record})"
        self.work.finish(unit, record_failure(unit, "crash", message, seconds, tail))

    def _bad_start(self, how: str, tail: str) -> None:
        self.bad_starts += 1
        if self.bad_starts >= BAD_STARTS.get(how, OTHER_BAD_STARTS):
            last = tail.strip().splitlines()[-1:] or [how]
            raise WorkerProblem(f"worker processes end before they are ready ({how}): {last[0]}")

    # limits -----------------------------------------------------------------------------------------------------------

    def _look_at_limits(self, slot: Slot, worker: WorkerProcess) -> None:
        memory, stage = worker.memory(), worker.stage
        time_limit, memory_limit = self.limits.time_limit, self.limits.memory_limit
        if stage == "starting" and worker.seconds_in_stage > LONGEST_START:
            self._lose(slot, worker)
        elif not worker.busy:
            return
        elif time_limit is not None and worker.seconds > time_limit:
            message = f"took longer than {time_limit:g} s (--time-limit) and was stopped while {stage} it"
            self._lose(slot, worker, ("time-limit", message))
        elif memory_limit is not None and memory > memory_limit:
            message = f"took more than {memory_limit / 2**20:g} MiB of host memory (--memory-limit) while {stage} it"
            self._lose(slot, worker, ("memory-limit", message))


KIND = ExecutorKind(PoolSettings, run)
