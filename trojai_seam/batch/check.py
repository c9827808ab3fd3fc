"""``evaluate --check``: would every model open? Asked before an hour of GPU is spent.

Looked at are the model file and its checksums, classes, attributes and tensors against the network that would be
rebuilt (on torch's meta device, without memory), and the example files, labels and shared files that the round's
adapter needs, as far as that goes without decoding them. Readers are processes of their own, on all cores, so that even
one that dies over a file (of memory, of a fault in a library) is one finding.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn

from ..errors import TrojaiSeamError
from ..loading import Budget, read_model
from ..networks import identify, load_user_networks
from ..rounds import ModelDirectory, RoundConfig
from .executors.child import start_line

_look: Callable[[ModelDirectory], list[str]] | None = None
"""In a reader: looks at what needs torch. Without a round only the file is read and its network named."""


def check_models(
    directories: Sequence[ModelDirectory],
    budget: Budget,
    networks: str | None = None,
    readers: int | None = None,
    round_config: RoundConfig | None = None,
) -> Iterator[dict[str, Any]]:
    """One row per directory, as they are done: ``model_id``, ``status`` (done or failed), ``error_kind``, ``error``,
    ``seconds_total``, and for those that are done ``looked_at``: ``tensors``, and ``examples`` where the round's
    adapter can be asked.

    ``readers`` is the number of processes: all cores when unset. Without ``round_config`` only the files are read and
    their networks named, which needs no torch.
    """
    wanted: queue.SimpleQueue[ModelDirectory] = queue.SimpleQueue()
    found: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for directory in directories:
        wanted.put(directory)
    count = min(len(directories), readers or _cores())
    settings = {
        "budget": asdict(budget),
        "networks": networks,
        "round_config": None if round_config is None else dict(round_config.document),
    }
    nursery = _Nursery(settings, count)
    several = [_Reader(wanted, found, nursery) for _ in range(count)]
    try:
        for reader in several:
            reader.start()
        for _ in directories:
            yield found.get()
        for reader in several:
            reader.join()  # which closes its line, so that its process ends
        nursery.wait()
    finally:
        nursery.stop()
        for reader in several:
            reader.join()


class _Nursery:
    """One process that imports what readers need, and the readers that it forks: starting one costs nothing then."""

    def __init__(self, settings: dict[str, Any], count: int) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: list[subprocess.Popen[str]] = []
        self._ready: list[_Line] = self._start(count)

    def line(self) -> _Line:
        """The line to a reader that nobody else has."""
        with self._lock:
            if not self._ready:
                self._ready = self._start(1)
            return self._ready.pop()

    def wait(self) -> None:
        """Until all processes have ended, which nobody asks for anything any more; not for long."""
        for line in self._ready:
            line.close()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)

    def stop(self) -> None:
        """End all processes."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with the readers that it forked
                process.wait()
            for line in self._ready:
                line.close()

    def _start(self, count: int) -> list[_Line]:
        if self._stopped:
            return [_Line(None, -1, -1)]
        orders, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        theirs = [(order[0], answer[1]) for order, answer in zip(orders, answers, strict=True)]
        path = [os.path.abspath(entry) for entry in sys.path if entry]
        command = start_line(path, __name__, lines=theirs, **self._settings)
        nothing = subprocess.DEVNULL
        passed = tuple(end for pair in theirs for end in pair)
        process = subprocess.Popen(
            command, stdin=nothing, stdout=nothing, stderr=nothing, text=True, start_new_session=True, pass_fds=passed
        )
        for end in passed:
            os.close(end)
        self._processes.append(process)
        return [_Line(process, o[1], a[0]) for o, a in zip(orders, answers, strict=True)]


class _Line:
    """To one reader: a directory goes out, a finding comes back."""

    def __init__(self, process: subprocess.Popen[str] | None, orders: int, answers: int) -> None:
        self.process = process
        self._orders = None if process is None else os.fdopen(orders, "w")
        self._answers = None if process is None else os.fdopen(answers)

    def close(self) -> None:
        """The reader ends when it has answered."""
        for pipe in (self._orders, self._answers):
            with suppress(OSError):  # what was written to a reader that is gone
                if pipe is not None:
                    pipe.close()

    def ask(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None of a reader that is gone."""
        if self._orders is None or self._answers is None:
            return None
        with suppress(BrokenPipeError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
            answer = self._answers.readline()
            if answer:
                result: dict[str, Any] = json.loads(answer)
                return result
        return None


class _Reader(threading.Thread):
    """Feeds one reading process, one model at a time, and gets another when it ends."""

    def __init__(
        self, wanted: queue.SimpleQueue[ModelDirectory], found: queue.SimpleQueue[dict[str, Any]], nursery: _Nursery
    ) -> None:
        super().__init__(daemon=True)
        self._wanted, self._found, self._nursery = wanted, found, nursery
        self._line: _Line | None = None

    def run(self) -> None:
        """Until nothing is wanted any more."""
        with suppress(queue.Empty):
            while True:
                directory = self._wanted.get(block=False)
                began = time.perf_counter()
                finding = self._ask(directory)
                status = "failed" if "error" in finding else "done"
                row = {"model_id": directory.model_id, "status": status, "seconds_total": time.perf_counter() - began}
                self._found.put({**row, **finding})
        self._forget()

    def _forget(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    def _ask(self, directory: ModelDirectory) -> dict[str, Any]:
        if self._line is None:
            self._line = self._nursery.line()
        answer = self._line.ask(directory.document())
        code: object = None
        if answer is None:
            process = self._line.process
            self._forget()
            code = "unknown" if process is None or process.poll() is None else process.returncode
        elif "died" in answer:
            code = answer["died"]
        if answer is not None and code is None:
            return answer
        return {"error_kind": "crash", "error": f"{directory.path}: the process that read it ended with code {code}"}


def main(
    lines: Sequence[Sequence[int]],
    budget: Mapping[str, int],
    networks: str | None,
    round_config: Mapping[str, Any] | None,
) -> None:
    """The nursery: until the orders end.

    Args:
        lines: descriptors of orders and answers, a pair for every reader.
        budget: bounds on reading.
        networks: the user's own constructors.
        round_config: the round's document; None to look at model files only, without torch.
    """
    global _look
    for end in (end for line in lines for end in line):
        os.set_inheritable(end, False)
    if networks is not None:
        load_user_networks(networks)
    bounds = Budget(**budget)
    if round_config is not None:
        from .check_reader import Reader

        _look = Reader(bounds, RoundConfig.from_document(dict(round_config), "the round")).look
    for line in lines:
        if os.fork() == 0:
            for end in (end for other in lines if other != line for end in other):
                os.close(end)
            _supervise(line, bounds)
    for end in (end for line in lines for end in line):
        os.close(end)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _supervise(line: Sequence[int], budget: Budget) -> NoReturn:
    """Fork the reader, and another one after each that died over a model."""
    while True:
        child = os.fork()
        if child == 0:
            _read(line, budget)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            os._exit(0)
        _answer(line, {"died": code})


def _read(line: Sequence[int], budget: Budget) -> None:
    # Unbuffered: an order that was read ahead would be lost with the process that did so.
    with os.fdopen(line[0], "rb", buffering=0, closefd=False) as orders:
        for text in iter(orders.readline, b""):
            _answer(line, _finding(ModelDirectory.from_document(json.loads(text)), budget))


def _answer(line: Sequence[int], finding: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):
        os.write(line[1], (json.dumps(finding) + "\n").encode())


def _finding(directory: ModelDirectory, budget: Budget) -> dict[str, Any]:
    """What is wrong with it, or what was looked at."""
    try:
        if _look is not None:
            return {"looked_at": _look(directory)}
        _ = directory.poisoned
        identify(read_model(directory.model_path, budget), directory.config)
    except TrojaiSeamError as problem:
        named = str(directory.path) in str(problem)
        return {"error_kind": problem.kind, "error": str(problem) if named else f"{directory.path}: {problem}"}
    except Exception as problem:
        message = f"{directory.path}: unexpected {type(problem).__name__}: {problem}"
        return {"error_kind": "internal", "error": str(TrojaiSeamError(message))}
    return {}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
