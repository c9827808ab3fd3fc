"""A Ray cluster: Ray places the models, and starts those of lost nodes again.

A task is one model, or several small networks that are unlearned side by side. It drives one worker process of the
pool, so limits and crashes are dealt with where they happen, and leaves the records in the run directory if the machine
can see that, else sends them home as bytes.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import TrojaiSeamError, UsageProblem, WorkerProblem, shown
from ..files import make_folder, write_atomic
from ..first_rows import record_failure
from ..paths import RunPaths
from ..progress import NoProgress
from ..records import read_row
from ..units import Assignment, WorkUnit, stamp
from ..work import Work
from . import Spread
from .kinds import ExecutorKind
from .pool import Limits, Pool, Workers

LOST_NODES = 5
"""How often Ray starts a model again whose node or worker was lost."""
TICK = 0.5

# What a Ray worker process keeps from one task to the next: a pool of one, with its process and libraries loaded.
_kept: dict[str, Pool] = {}


class RaySettings(Limits):
    """Which cluster, and how much of it."""

    ray_address: str | None = None
    """Of the cluster (``auto``: the one of this machine); unset: one is started on this machine."""
    workers: Workers | None = None
    """Models at the same time over the whole cluster; unset: as many as it has room for."""
    workers_per_gpu: Workers | None = None
    """Models that share a GPU; unset: one."""

    def per_device(self, devices: int) -> int:
        """See :class:`ExecutorSettings`."""
        return self.workers_per_gpu or 1


def run(work: Work, spread: Spread, settings: RaySettings) -> None:
    """See :class:`trojai_seam.batch.executors.kinds.ExecutorKind`.

    Raises:
        UsageProblem: Ray is not installed, or there is no cluster at the address.
        WorkerProblem: the cluster cannot run anything.
    """
    try:
        import ray
    except ImportError:
        raise UsageProblem("--executor ray needs Ray: pip install 'trojai-seam[ray]'") from None
    with _cluster(ray, settings):
        running: dict[Any, list[WorkUnit]] = {}
        alone = deque[WorkUnit]()  # of stacks that were lost: only the guilty one will be lost again
        try:
            while not work.closed or running or (alone and not work.stopped):
                room = _room(ray, work, spread, settings, more=not work.closed or (bool(alone) and not work.stopped))
                there = replace(spread, devices=spread.devices[:1], workers=max(1, room))
                for slot in range(len(running), room):
                    name, again = f"ray #{slot + 1}", alone and not work.stopped
                    units = [alone.popleft()] if again else work.take_together(name, there)
                    if not units:
                        break
                    running[_submit(ray, work, spread, settings, units)] = units
                if not running:  # others are at work on what is left
                    time.sleep(TICK)
                    continue
                ready, _ = ray.wait(list(running), timeout=TICK)
                for task in ready:
                    alone += _bring_home(ray, work, task, running.pop(task))
                work.tick()
        except BaseException:
            for task, units in running.items():
                ray.cancel(task, force=True)
                alone += units
            raise
        finally:
            for unit in alone:
                work.give_back(unit)


@contextmanager
def _cluster(ray: Any, settings: RaySettings) -> Iterator[None]:
    """Connected; a cluster that the caller had already connected to stays so."""
    if ray.is_initialized():
        yield
        return
    _knock(settings.ray_address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=settings.ray_address or "local",
            num_cpus=None if settings.ray_address else settings.workers,
            include_dashboard=None if settings.ray_address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
        raise UsageProblem(f"--ray-address {shown(settings.ray_address)}: no Ray cluster: {problem}") from None
    with suppress(ValueError):  # not the main thread: there are no handlers to bring back
        for number, function in handler.items():
            signal.signal(number, function)  # Ray's own would end the process without its tables
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Ray waits for minutes at an address where nobody is."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as problem:
        raise UsageProblem(f"--ray-address {shown(address)}: no Ray cluster: {problem}") from None


def _resources(work: Work, spread: Spread) -> dict[str, float]:
    on_gpu = spread.devices[0] != "cpu"
    return {"CPU": work.assignment.plan.threads, **({"GPU": 1 / spread.workers} if on_gpu else {})}


def _room(ray: Any, work: Work, spread: Spread, settings: RaySettings, more: bool) -> int:
    """Models that the cluster, as it is at this moment, can run at the same time; ``more`` are to come."""
    there = ray.cluster_resources()
    room = min(int(there.get(name, 0) / amount + 1e-6) for name, amount in _resources(work, spread).items())
    if not room and more:
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in _resources(work, spread).items())
        raise WorkerProblem(f"the Ray cluster has no room for one model, which needs {wanted}")
    return room if settings.workers is None else min(room, settings.workers)


def _submit(ray: Any, work: Work, spread: Spread, settings: RaySettings, units: Sequence[WorkUnit]) -> Any:
    wanted, name = _resources(work, spread), units[0].directory.model_id
    task = ray.remote(evaluate_remotely).options(
        num_cpus=wanted["CPU"],
        num_gpus=wanted.get("GPU", 0),
        max_retries=LOST_NODES,
        name=name if len(units) == 1 else f"{name} and {len(units) - 1} more",
    )
    texts = [unit.to_json() for unit in units]
    here = {
        "device": spread.devices[0],
        "together": spread.together,
        "limits": {name: getattr(settings, name) for name in Limits.model_fields},
    }
    return task.remote(work.assignment.to_json(), texts, json.dumps(here))


def _bring_home(ray: Any, work: Work, task: Any, units: Sequence[WorkUnit]) -> list[WorkUnit]:
    """Finish the units of an ended task; those that are to be tried again, each alone."""
    try:
        kind, contents = ray.get(task)
    except ray.exceptions.RayError as problem:
        lost = [unit for unit in units if stamp(unit.record) in (None, unit.seen)]
        for unit in units:
            if unit not in lost:
                work.finish(unit, read_row(unit.record))
        if len(units) > 1:
            return lost
        for unit in lost:
            message = f"its Ray worker was lost {LOST_NODES + 1} times ({type(problem).__name__})"
            work.finish(unit, record_failure(unit, "crash", message, 0.0))
        return []
    if kind == "problem":
        raise WorkerProblem(contents[0].decode())
    for place, unit in enumerate(units):
        if kind == "records":
            write_atomic(unit.record, contents[place])
        work.finish(unit, read_row(unit.record))
    return []


def evaluate_remotely(assignment_text: str, unit_texts: list[str], here_text: str) -> tuple[str, list[bytes]]:
    """The task: evaluate one model, or several side by side, on whatever machine this is.

    Returns:
        ``("here", [])`` when the records are in the run directory, ``("records", contents)`` when that cannot be seen
        from here, ``("problem", [message])`` when nothing can be evaluated at all.
    """
    assignment = Assignment.from_json(assignment_text)
    if not _sees(assignment):
        assignment = replace(assignment, staging=_staging())
    try:
        units = [WorkUnit.from_json(text, assignment) for text in unit_texts]
        units = [replace(unit, seen=stamp(unit.record)) for unit in units]
        work = Work(assignment, units, NoClaims(), NoProgress(), stackable=len(units) > 1)
        pool = _pool(work, here_text)
        while pool.step():
            pass
        if assignment.staging is None:
            return "here", []
        contents = [unit.record.read_bytes() for unit in units]
        for unit in units:
            unit.record.unlink()
        return "records", contents
    except TrojaiSeamError as problem:
        _close_kept()
        return "problem", [str(problem).encode()]


class NoClaims:
    """The driver holds the claims."""

    def take(self, name: str) -> bool:
        """Always."""
        return True

    def release(self, name: str) -> None:
        """Nothing to do."""


def _pool(work: Work, here_text: str) -> Pool:
    key = work.assignment.to_json() + here_text
    if list(_kept) != [key]:
        _close_kept()
        here = json.loads(here_text)
        _kept[key] = Pool(
            work, Spread((here["device"],), together=here["together"]), Limits.model_validate(here["limits"])
        )
    pool = _kept[key]
    pool.work = work
    return pool


@cache
def _staging() -> RunPaths:
    """A folder of this process for records on their way home."""
    paths = RunPaths(Path(tempfile.mkdtemp(prefix="trojai-seam-ray-")))
    atexit.register(shutil.rmtree, paths.run_dir, ignore_errors=True)
    make_folder(paths.records)
    return paths


def _close_kept() -> None:
    for pool in _kept.values():
        pool.close()
    _kept.clear()


def _sees(assignment: Assignment) -> bool:
    """Whether the run directory is this very one here too, not just a folder of the same name."""
    try:
        there = json.loads(assignment.paths.plan.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(there == json.loads(json.dumps(assignment.plan.document()))) and assignment.paths.records.is_dir()


KIND = ExecutorKind(RaySettings, run)
