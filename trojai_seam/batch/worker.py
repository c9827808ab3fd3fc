"""Everything from opening to record for one model, in whatever process the executor chose.

A worker gets a model directory and a plan; it leaves one record file. Nothing else passes between it and its parent.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..errors import RunDirectoryProblem, TrojaiSeamError, shown
from ..rounds.model_facts import readable_facts
from ..rounds.opening import open_directory
from ..scoring import FoldPredictions, SplitPlan, plan_splits, predict, score
from ..scoring.oracle import OracleWatcher
from ..seam.methods import get_method
from ..seam.outcome import Outcome
from ..seeds import derive_seed
from ..tasks import Subject
from ..tasks.calling import BATCH
from .records import write_record
from .units import WorkUnit


class Crowded(Exception):
    """Memory of the device ran out while other models use it too: nothing was recorded, it should be tried alone."""


@dataclass(frozen=True)
class Surroundings:
    """What the process around an evaluation adds to it.

    Attributes:
        turn: called when model and examples are in place; comes back when computing may begin.
        log_tail: what was printed since the model began, for the record of a failure.
        crowded: other models use the memory of the same device at the same time.
    """

    turn: Callable[[], None] = lambda: None
    log_tail: Callable[[], str] = str
    crowded: bool = False


ALONE = Surroundings()


def evaluate_unit(unit: WorkUnit, device: str, around: Surroundings = ALONE) -> dict[str, Any]:
    """Evaluate one model on ``device`` and write its record. Returns the row.

    Whatever is wrong with the model becomes a failed row; only a run directory that cannot be written is raised.

    Raises:
        RunDirectoryProblem: the record cannot be written.
        Crowded: out of memory in crowded surroundings.
    """
    clock = _Clock()
    row, arrays = _first_columns(unit), dict[str, Any]()
    path = unit.directory.path
    try:
        row["poisoned"] = unit.directory.poisoned
        given = unit.assignment
        subject = open_directory(unit.directory, given.plan.round_config, device, given.budget, given.cache)
        row.update(subject.facts)
        row["poisoned_origin"] = None if subject.poisoned is None else subject.poisoned.origin
        row["seconds_load"] = clock.lap()
        around.turn()
        clock.skip()
        _evaluate_in_memory(unit, subject, row, arrays, around)
        row["status"] = "done"
    except RunDirectoryProblem:
        raise
    except TrojaiSeamError as problem:
        named = str(path) in str(problem)
        _fail(row, arrays, problem.kind, str(problem) if named else f"{path}: {problem}")
    except Exception as problem:
        if _out_of_memory(problem):
            if around.crowded:
                raise Crowded from problem
            _fail(row, arrays, "out-of-memory", f"{path}: out of memory: {problem}")
        else:
            # A bug of ours, or a library's: one row, with everything needed to find it.
            row["traceback"] = traceback.format_exc()
            kind = "cuda" if _of_cuda(problem) else "internal"
            message = f"{path}: unexpected {type(problem).__name__}: {problem}"
            _fail(row, arrays, kind, f"{message} (traceback in {unit.final_record})")
    if row["status"] == "failed":
        row["log_tail"] = around.log_tail() or None
    row["seconds_total"] = clock.total()
    write_record(unit.record, row, arrays)
    return row


def record_failure(unit: WorkUnit, kind: str, message: str, seconds: float, log_tail: str = "") -> dict[str, Any]:
    """Write the record of a model whose process could not do so itself. Returns the row.

    Raises:
        RunDirectoryProblem: the record cannot be written.
    """
    row = _first_columns(unit)
    try:
        row["poisoned"] = unit.directory.poisoned
    except TrojaiSeamError:
        row["poisoned"] = None
    _fail(row, {}, kind, f"{unit.directory.path}: {message}")
    row.update(log_tail=log_tail or None, seconds_total=seconds)
    write_record(unit.record, row, {})
    return row


def free_cached_memory() -> None:
    """Give device memory that is only kept for later back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_columns(unit: WorkUnit) -> dict[str, Any]:
    plan = unit.plan
    return {
        "model_id": unit.directory.model_id,
        "round": plan.round_config.name,
        "preset": plan.unlearning.preset,
        "changed_options": " ".join(f"{k}={v}" for k, v in sorted(plan.changed_options.items())) or None,
        "protocol": plan.protocol,
        "seed": plan.seed,
        "device": plan.device,
        "fingerprint": plan.fingerprint,
        **readable_facts(unit.directory, plan.round_config),
    }


def _out_of_memory(problem: Exception) -> bool:
    if isinstance(problem, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)  # torch's words on a CPU


def _of_cuda(problem: Exception) -> bool:
    """Whether the CUDA context of this process can no longer be trusted."""
    words = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuFFT error", "CUSOLVER_STATUS")
    return isinstance(problem, RuntimeError) and any(word in str(problem) for word in words)


def _fail(row: dict[str, Any], arrays: dict[str, Any], kind: str, message: str) -> None:
    arrays.clear()  # a failed repair is a failed row, never half a score
    row.update(status="failed", error_kind=kind, error=shown(message, 2000))


def _evaluate_in_memory(
    unit: WorkUnit, subject: Subject, row: dict[str, Any], arrays: dict[str, Any], around: Surroundings
) -> None:
    """Halve the batch when memory runs out, and only then, until it fits; the row tells the batch that did."""
    whole = size = unit.plan.unlearning.batch_size
    while True:
        columns: dict[str, Any] = {}
        try:
            _evaluate(unit, subject, size, columns, arrays)
        except Exception as problem:
            if not _out_of_memory(problem) or around.crowded or size == 1:
                raise
        else:
            row.update(columns)
            if size < whole:
                halved = f"batch halved from {whole} to {size}: out of memory"
                row["notes"] = "; ".join(note for note in (row.get("notes"), halved) if note)
            return
        arrays.clear()
        size //= 2
        free_cached_memory()


def _evaluate(unit: WorkUnit, subject: Subject, batch_size: int, row: dict[str, Any], arrays: dict[str, Any]) -> None:
    plan, clock = unit.plan, _Clock()
    unlearning = replace(plan.unlearning, batch_size=batch_size)
    asked = min(BATCH, 32 * batch_size)
    row["batch_size"] = batch_size
    seconds = {"seconds_forget": 0.0, "seconds_recover": 0.0, "seconds_score": 0.0}
    strata = subject.task.strata(subject.clean.key())
    splits = plan_splits(strata, plan.protocol, plan.seed, subject.model_id, keep=subject.decided_on)
    clean_before = predict(subject.model, subject.task, subject.clean, asked)
    poisoned_before = (
        None if subject.poisoned is None else predict(subject.model, subject.task, subject.poisoned, asked)
    )
    seconds["seconds_score"] += clock.lap()
    folds, outcomes = [], []
    for number, split in enumerate(splits.splits):
        fit = subject.clean.subset(split.fit)
        oracle = OracleWatcher(subject.task, fit, subject.poisoned) if plan.protocol == "paper" else None
        seed = derive_seed(plan.seed, subject.model_id, "unlearn", number)
        outcome = get_method(unlearning.method)(subject.model, subject.task, fit, unlearning, seed, oracle)
        outcomes.append(outcome)
        clock.lap()
        seconds["seconds_forget"] += outcome.phase("forget").seconds
        seconds["seconds_recover"] += outcome.phase("recover").seconds
        clean = predict(outcome.model, subject.task, subject.clean, asked)
        poisoned = None if subject.poisoned is None else predict(outcome.model, subject.task, subject.poisoned, asked)
        folds.append(FoldPredictions(split, clean, poisoned))
        if oracle is not None:
            row.update(oracle.columns(clean_before.right.share))
        seconds["seconds_score"] += clock.lap()
    seed = derive_seed(plan.seed, subject.model_id, "bootstrap")
    scored = score(splits, clean_before, poisoned_before, folds, seed, is_clean=subject.facts["poisoned"] is False)
    arrays.update(_arrays(subject, splits, folds, outcomes, clean_before, poisoned_before))
    seconds["seconds_score"] += clock.lap()
    row.update({**scored, **_phase_columns(outcomes), **seconds})


def _phase_columns(outcomes: list[Outcome]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in ("forget", "recover"):
        phases = [outcome.phase(name) for outcome in outcomes]
        columns[f"{name}_status"] = _status_of_folds([phase.status for phase in phases])
        thresholds = [phase.threshold for phase in phases if phase.threshold is not None]
        columns[f"{name}_threshold"] = sum(thresholds) / len(thresholds) if thresholds else None
        columns[f"{name}_epochs"] = sum(p.epochs for p in phases) / len(phases)
        columns[f"{name}_end_accuracy"] = sum(p.end_accuracy for p in phases) / len(phases)
    return columns


def _status_of_folds(statuses: list[str]) -> str:
    """The status that all folds have in common, else how many have which: ``missed 2, reached 3``."""
    counts = Counter(statuses)
    return statuses[0] if len(counts) == 1 else ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def _arrays(
    subject: Subject,
    splits: SplitPlan,
    folds: list[FoldPredictions],
    outcomes: list[Outcome],
    clean_before: Any,
    poisoned_before: Any,
) -> Mapping[str, Any]:
    arrays: dict[str, Any] = {}
    for name, examples, before in (
        ("clean", subject.clean, clean_before),
        ("poisoned", subject.poisoned, poisoned_before),
    ):
        if examples is not None:
            arrays[f"{name}/names"] = list(examples.names)
            arrays[f"{name}/labels"] = examples.labels.cpu().numpy()
            arrays[f"{name}/outputs_before"] = before.outputs
            if examples.targets is not None:
                arrays[f"{name}/targets"] = examples.targets.cpu().numpy()
    for number, (fold, outcome) in enumerate(zip(folds, outcomes, strict=True)):
        at = f"folds/{number}"
        arrays[f"{at}/fit"], arrays[f"{at}/held_out"] = fold.split.fit, fold.split.held_out
        arrays[f"{at}/clean_outputs_after"] = fold.clean.outputs
        if fold.poisoned is not None:
            arrays[f"{at}/poisoned_outputs_after"] = fold.poisoned.outputs
        for column in ("phase", "epoch", "steps", "loss", "fit_accuracy", "seconds"):
            arrays[f"{at}/trace/{column}"] = [getattr(epoch, column) for epoch in outcome.trace]
        for phase in outcome.phases:
            for key, value in asdict(phase).items():
                if key != "phase" and value is not None:
                    arrays[f"{at}/phases/{phase.phase}/{key}"] = [value] if isinstance(value, str) else value
    return arrays


class _Clock:
    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last

    def skip(self) -> None:
        """Leave the time since the last lap out of every count."""
        self._began += self.lap()

    def total(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began
