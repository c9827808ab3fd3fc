"""A Ray cluster: Ray places the models, and starts those of lost nodes again.

A task is one model. It drives one worker process of the pool, so limits and crashes are dealt with where they happen,
and leaves the record in the run directory if the machine can see that, else sends it home as bytes.
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
from collections.abc import Iterator
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
        running: dict[Any, WorkUnit] = {}
        try:
            while not work.closed or running:
                for slot in range(len(running), _room(ray, work, spread, settings)):
                    unit = work.take(f"ray #{slot + 1}")
                    if unit is None:
                        break
                    running[_submit(ray, work, spread, settings, unit)] = unit
                if not running:  # others are at work on what is left
                    time.sleep(TICK)
                    continue
                ready, _ = ray.wait(list(running), timeout=TICK)
                for task in ready:
                    _bring_home(ray, work, task, running.pop(task))
                work.tick()
        except BaseException:
            for task, unit in running.items():
                ray.cancel(task, force=True)
                work.give_back(unit)
            raise


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


def _room(ray: Any, work: Work, spread: Spread, settings: RaySettings) -> int:
    """Models that the cluster, as it is at this moment, can run at the same time."""
    there = ray.cluster_resources()
    room = min(int(there.get(name, 0) / amount + 1e-6) for name, amount in _resources(work, spread).items())
    if not room and not work.closed:
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in _resources(work, spread).items())
        raise WorkerProblem(f"the Ray cluster has no room for one model, which needs {wanted}")
    return room if settings.workers is None else min(room, settings.workers)


def _submit(ray: Any, work: Work, spread: Spread, settings: RaySettings, unit: WorkUnit) -> Any:
    wanted = _resources(work, spread)
    task = ray.remote(evaluate_remotely).options(
        num_cpus=wanted["CPU"], num_gpus=wanted.get("GPU", 0), max_retries=LOST_NODES, name=unit.directory.model_id
    )
    here = {"device": spread.devices[0], "limits": {name: getattr(settings, name) for name in Limits.model_fields}}
    return task.remote(work.assignment.to_json(), unit.to_json(), json.dumps(here))


def _bring_home(ray: Any, work: Work, task: Any, unit: WorkUnit) -> None:
    try:
        kind, content = ray.get(task)
    except ray.exceptions.RayError as problem:
        if stamp(unit.record) in (None, unit.seen):
            message = f"its Ray worker was lost {LOST_NODES + 1} times ({type(problem).__name__})"
            work.finish(unit, record_failure(unit, "crash", message, 0.0))
            return
        kind, content = "here", b""
    if kind == "problem":
        raise WorkerProblem(content.decode())
    if kind == "record":
        write_atomic(unit.record, content)
    work.finish(unit, read_row(unit.record))


def evaluate_remotely(assignment_text: str, unit_text: str, here_text: str) -> tuple[str, bytes]:
    """The task: evaluate one model on whatever machine this is.

    Returns:
        ``("here", b"")`` when the record is in the run directory, ``("record", content)`` when that cannot be seen from
        here, ``("problem", message)`` when nothing can be evaluated at all.
    """
    assignment = Assignment.from_json(assignment_text)
    if not _sees(assignment):
        assignment = replace(assignment, staging=_staging())
    try:
        unit = WorkUnit.from_json(unit_text, assignment)
        unit = replace(unit, seen=stamp(unit.record))
        work = Work(assignment, [unit], NoClaims(), NoProgress())
        pool = _pool(work, here_text)
        while pool.step():
            pass
        if assignment.staging is None:
            return "here", b""
        content = unit.record.read_bytes()
        unit.record.unlink()
        return "record", content
    except TrojaiSeamError as problem:
        _close_kept()
        return "problem", str(problem).encode()


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
        _kept[key] = Pool(work, Spread((here["device"],)), Limits.model_validate(here["limits"]))
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
