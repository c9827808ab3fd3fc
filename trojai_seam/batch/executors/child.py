"""The worker process of the pool: reads orders, evaluates, reports. It ends with its parent, whatever ends that.

Orders come as lines on standard input: the assignment, then one model or several, and ``go`` when computing may begin;
for another run of the same command another assignment.
Reports go as lines to a pipe of their own. Rows do not cross: the parent reads the record.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..units import Assignment

LOG_TAIL = 8192
_SIGKILL_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


def main(parent: int, reports: int, device: str, crowded: bool) -> None:
    """Work until the orders end.

    Args:
        parent: process number of whoever started this.
        reports: descriptor of the pipe to it.
        device: as torch names it.
        crowded: other processes use the memory of the same device.
    """
    _work(parent, reports, device, crowded)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # every record is on the disk, and torch takes its time to take itself apart


def _work(parent: int, reports: int, device: str, crowded: bool) -> None:
    _die_with(parent)
    _be_killed_first()
    faulthandler.enable()  # a segfault leaves its Python stack in the log
    began, orders = time.perf_counter(), _Orders()

    def report(kind: str, text: str = "") -> None:
        os.write(reports, json.dumps({"report": kind, "text": text}).encode() + b"\n")

    os.set_inheritable(reports, False)
    assignment_text = orders.next()
    if assignment_text is None:
        return
    from ...errors import RunDirectoryProblem
    from ...heartbeat import listening, seldom
    from ..case import Crowded, Surroundings
    from ..device_faults import free_cached_memory
    from ..reproducible import reproducible
    from ..starting import warm_up
    from ..units import WorkUnit
    from ..worker import evaluate_units

    assignment = _read_assignment(assignment_text, report)
    if assignment is None:
        return

    def turn() -> None:
        report("opened")
        if orders.next() != "go":
            sys.exit(0)

    with reproducible(assignment.plan.threads):
        warm_up(device)
    around = Surroundings(turn, _log_tail, crowded, time.perf_counter() - began)
    # What the libraries hold stays for good: without this every collection between two models walks through it again.
    gc.collect()
    gc.freeze()
    give_back = keep_freed_memory()
    report("ready")
    while (text := orders.next()) is not None:
        order = json.loads(text)
        if isinstance(order, dict):
            assignment = _read_assignment(text, report)
            if assignment is None:
                return
            continue
        units = [WorkUnit.from_json(one, assignment) for one in order]
        doubtful: list[str] = []
        os.truncate(1, 0)

        def done(unit: WorkUnit, row: dict[str, Any], doubtful: list[str] = doubtful) -> bool:
            report("done", unit.directory.model_id)
            if row.get("error_kind") in ("cuda", "out-of-memory", "internal"):
                doubtful.append(unit.directory.model_id)
            return not doubtful

        try:
            with reproducible(assignment.plan.threads), listening(seldom(lambda text: report("doing", text))):
                evaluate_units(units, device, done, around)
        except RunDirectoryProblem as problem:
            report("unwritable", str(problem))
            return
        except Crowded:
            report("crowded")
            return
        around = replace(around, start=None)
        report("rest", "last" if doubtful else "")
        if doubtful:
            return
        if crowded:
            free_cached_memory()
        give_back()


def _read_assignment(text: str, report: Callable[[str, str], None]) -> Assignment | None:
    """None, and a report, if the user's code is not what the run was planned with."""
    from ...networks import code_hash
    from ..units import Assignment

    assignment = Assignment.from_json(text)
    if assignment.networks is not None and code_hash(assignment.networks) != assignment.plan.networks:
        report("unusable", f"--networks {assignment.networks}: was changed while the run was going on")
        return None
    return assignment


class _Orders:
    """Lines from standard input, read by a thread: it also notices that the parent is gone."""

    def __init__(self) -> None:
        self._pipe = os.dup(0)  # not inheritable
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)  # whatever reads standard input finds it empty
        os.close(nothing)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ended = False
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self) -> str | None:
        """The next line; None when the parent wants no more."""
        return self._lines.get()

    def _read(self) -> None:
        with os.fdopen(self._pipe, encoding="utf-8") as pipe:
            for line in pipe:
                text = line.rstrip("\n")
                if text == "end":
                    self._lines.put(None)
                    return
                self._lines.put(text)
        # Closed without "end": the parent was killed. Nothing that was started here may live on.
        os.killpg(0, signal.SIGKILL)


def _log_tail() -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    size = os.fstat(1).st_size
    return os.pread(1, LOG_TAIL, max(0, size - LOG_TAIL)).decode("utf-8", "replace")


def keep_freed_memory() -> Callable[[], object]:
    """Keep what one training step frees for the next one, and return what gives it back, for between two models.

    glibc otherwise returns large pieces to the kernel at once, and has to get every page of them anew: 6 to 9 % of a
    training step of a ResNet-18. Other allocators are left alone.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return lambda: None
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return lambda: trim(0)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SIGKILL_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)  # it was gone before we asked


def _be_killed_first() -> None:
    """When the machine runs out of memory the kernel should choose a worker, not the parent, let alone another."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def start_line(sys_path: list[str], module: str = __name__, **arguments: Any) -> list[str]:
    """The command that runs ``main`` of ``module`` in a new interpreter with the same import path.

    ``-P`` and the given path keep the current folder out: it may be a dataset, and nothing in one is ever imported.
    """
    code = (
        "import json, sys; path, arguments = json.loads(sys.argv[1]); sys.path[:] = path; "
        f"from {module} import main; main(**arguments)"
    )
    return [sys.executable, "-P", "-c", code, json.dumps([sys_path, arguments])]
