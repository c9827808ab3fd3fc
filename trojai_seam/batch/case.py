"""One unit on its way to its record: what is known of it so far, and what becomes of a failure."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import RunDirectoryProblem, TrojaiSeamError
from ..heartbeat import beat
from ..rounds.opening import open_directory
from ..scoring.splits import SplitPlan
from ..tasks import Subject
from .device_faults import of_cuda, out_of_memory
from .evaluation import Evaluation, splits_of, unlearning_of
from .first_rows import fail_row, first_columns
from .memory import PeakMemory
from .records import check_declared, write_record
from .units import WorkUnit


class Crowded(Exception):
    """Memory of the device ran out while other models use it too: nothing was recorded, it should be tried alone."""


@dataclass(frozen=True)
class Surroundings:
    """What the process around an evaluation adds to it.

    Attributes:
        turn: called when models and examples are in place; comes back when computing may begin.
        log_tail: what was printed since the first of them began, for the record of a failure.
        crowded: other models use the memory of the same device at the same time.
        start: seconds that the process took to be ready for its first model; None once that is known to a row.
    """

    turn: Callable[[], None] = lambda: None
    log_tail: Callable[[], str] = str
    crowded: bool = False
    start: float | None = None


ALONE = Surroundings()


class Case:
    """A unit, its row and arrays.

    Attributes:
        subject: the opened model, while it is needed.
        splits: which of its examples are fitted on.
        unlearning: what is done to it: of the plan, for such a model.
        evaluation: what is made of it.
        seconds: that were spent on it so far.
        stacked: whether its networks were unlearned in a stack.
    """

    def __init__(self, unit: WorkUnit, around: Surroundings = ALONE) -> None:
        self.unit, self.around = unit, around
        self.row: dict[str, Any] = {**first_columns(unit), "seconds_start": around.start}
        self.subject: Subject | None = None
        self.splits: SplitPlan | None = None
        self.unlearning = unit.plan.unlearning
        self.evaluation: Evaluation | None = None
        self.seconds = 0.0
        self.stacked = False
        self._memory: PeakMemory | None = None

    @property
    def failed(self) -> bool:
        """It has become a failed row."""
        return self.row.get("status") == "failed"

    @property
    def finished(self) -> bool:
        """Nothing is left to do but to write its record."""
        return self.failed or (self.evaluation is not None and self.evaluation.complete)

    @property
    def size(self) -> int:
        """Bytes of the opened model's weights and inputs."""
        if self.subject is None:
            return 0
        sets = [examples for examples in (self.subject.clean, self.subject.poisoned) if examples is not None]
        tensors = [tensor for examples in sets for tensor in examples.inputs.values()]
        return sum(t.numel() * t.element_size() for t in (*self.subject.model.parameters(), *tensors))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Work on this case: its time counts, and what is wrong makes it a failed row.

        Raises:
            RunDirectoryProblem: no record can be written.
            Crowded: out of memory in crowded surroundings.
        """
        began = time.perf_counter()
        try:
            yield
        except (RunDirectoryProblem, Crowded):
            raise
        except Exception as problem:
            self.fail(problem)
        finally:
            self.seconds += time.perf_counter() - began

    def open(self, device: str) -> None:
        """Read the model and its examples."""
        beat("opening")
        with self.attempt():
            self.row["poisoned"] = self.unit.directory.poisoned
            given = self.unit.assignment
            self._memory = PeakMemory(device)
            subject = open_directory(self.unit.directory, given.plan.round_config, device, given.budget, given.cache)
            check_declared(subject.facts)  # before anything is computed
            self.row.update(subject.facts)
            self.row["poisoned_origin"] = None if subject.poisoned is None else subject.poisoned.origin
            self.splits = splits_of(given.plan, subject)
            self.unlearning = unlearning_of(given.plan, subject, self.splits)
            self.row["preset"] = self.unlearning.preset
            self.subject = subject
        self.row["seconds_load"] = self.seconds if not self.failed else None

    def fail(self, problem: Exception) -> None:
        """Become a failed row for ``problem``.

        Raises:
            Crowded: it is a lack of memory, and the surroundings are crowded.
        """
        path = self.unit.directory.path
        if isinstance(problem, TrojaiSeamError):
            named = str(path) in str(problem)
            fail_row(self.row, problem.kind, str(problem) if named else f"{path}: {problem}")
        elif out_of_memory(problem):
            if self.around.crowded:
                raise Crowded from problem
            fail_row(self.row, "out-of-memory", f"{path}: out of memory: {problem}")
        else:
            # A bug of ours, or a library's: one row, with everything needed to find it.
            self.row["traceback"] = "".join(traceback.format_exception(problem))
            kind = "cuda" if of_cuda(problem) else "internal"
            message = f"{path}: unexpected {type(problem).__name__}: {problem}"
            fail_row(self.row, kind, f"{message} (traceback in {self.unit.final_record})")

    def begin(self, batch_size: int | None = None) -> Evaluation:
        """Ask the model as it was shipped; with smaller batches than the plan's where they are given."""
        assert self.subject is not None and self.splits is not None  # noqa: S101, PT018 - it was opened
        unlearning = self.unlearning if batch_size is None else self.unlearning.changed(batch_size=batch_size)
        self.evaluation = Evaluation(self.unit.plan, self.subject, self.splits, unlearning)
        return self.evaluation

    def write(self) -> dict[str, Any]:
        """Write the record, and let go of the model. Returns the row.

        Raises:
            RunDirectoryProblem: it cannot be written.
        """
        arrays: dict[str, Any] = {}
        if not self.failed and self.evaluation is not None:
            with self.attempt():
                columns, arrays = self.evaluation.result()
                notes = [note for note in (self.row.get("notes"), columns.pop("notes")) if note]
                check_declared(columns)
                self.row.update(columns, status="done", stacked=self.stacked, notes="; ".join(notes) or None)
                self.row["peak_memory"] = None if self._memory is None else self._memory.bytes
        if self.failed:
            arrays = {}  # a failed repair is a failed row, never half a score
            self.row["log_tail"] = self.around.log_tail() or None
        self.row["seconds_total"] = self.seconds
        self.subject = self.evaluation = None
        write_record(self.unit.record, self.row, arrays)
        return self.row
