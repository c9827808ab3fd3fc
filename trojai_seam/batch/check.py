"""``evaluate --check``: can every model be read and is its network known? Asked before an hour of GPU is spent.

Only the inert reader works here, on all cores, without torch: weights are not loaded and examples not decoded. Readers
are processes of their own, so that even one that dies over a file (of memory, of a fault in a library) is one finding.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ..errors import TrojaiSeamError
from ..loading import Budget, read_model
from ..networks import identify, load_user_networks
from ..rounds import ModelDirectory
from .executors.child import start_line


def check_models(
    directories: Sequence[ModelDirectory], budget: Budget, networks: str | None = None, readers: int | None = None
) -> Iterator[dict[str, Any]]:
    """One row per directory, as they are done: ``model_id``, ``status`` (done or failed), ``error_kind``, ``error``,
    ``seconds_total``.

    ``readers`` is the number of processes: all cores when unset.
    """
    wanted: queue.SimpleQueue[ModelDirectory] = queue.SimpleQueue()
    found: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for directory in directories:
        wanted.put(directory)
    count = min(len(directories), readers or _cores())
    settings = {"budget": asdict(budget), "networks": networks}
    several = [_Reader(wanted, found, settings) for _ in range(count)]
    try:
        for reader in several:
            reader.start()
        for _ in directories:
            yield found.get()
    finally:
        for reader in several:
            reader.stop()


class _Reader(threading.Thread):
    """Feeds one reading process, one model at a time, and starts another when it ends."""

    def __init__(
        self,
        wanted: queue.SimpleQueue[ModelDirectory],
        found: queue.SimpleQueue[dict[str, Any]],
        settings: dict[str, Any],
    ) -> None:
        super().__init__(daemon=True)
        self._wanted, self._found, self._settings = wanted, found, settings
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Until nothing is wanted any more."""
        with suppress(queue.Empty):
            while True:
                directory = self._wanted.get(block=False)
                began = time.perf_counter()
                finding = self._ask(directory)
                status = "failed" if finding else "done"
                row = {"model_id": directory.model_id, "status": status, "seconds_total": time.perf_counter() - began}
                self._found.put({**row, **finding})

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _ask(self, directory: ModelDirectory) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = self._start()
        order = directory.document()
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None and answers is not None  # noqa: S101, PT018 - asked for in _start
        answer = ""
        with suppress(BrokenPipeError):
            pipe.write(json.dumps(order) + "\n")
            pipe.flush()
            answer = answers.readline()
        if answer:
            result: dict[str, Any] = json.loads(answer)
            return result
        code = self._process.wait()
        return {"error_kind": "crash", "error": f"{directory.path}: the process that read it ended with code {code}"}

    def _start(self) -> subprocess.Popen[str]:
        path = [os.path.abspath(entry) for entry in sys.path if entry]
        line = start_line(path, __name__, **self._settings)
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=nothing, text=True, start_new_session=True)


def main(budget: dict[str, int], networks: str | None) -> None:
    """The reading process: a directory per line in, a finding per line out; it ends with its standard input."""
    if networks is not None:
        load_user_networks(networks)
    for line in sys.stdin:
        directory = ModelDirectory.from_document(json.loads(line))
        print(json.dumps(_finding(directory, Budget(**budget))), flush=True)


def _finding(directory: ModelDirectory, budget: Budget) -> dict[str, str]:
    """What is wrong with it; empty if nothing is."""
    try:
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
