"""Everything from opening to record for one model, in whatever process the executor chose.

A worker gets a model directory and a plan; it leaves one record file. Nothing else passes between it and its parent.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..errors import RunDirectoryProblem, TrojaiSeamError, shown
from ..loading import Budget
from ..rounds.model_directory import ModelDirectory
from ..rounds.model_facts import readable_facts
from ..rounds.opening import open_directory
from ..scoring import FoldPredictions, SplitPlan, plan_splits, predict, score
from ..scoring.oracle import OracleWatcher
from ..seam.methods import get_method
from ..seam.outcome import Outcome
from ..seeds import derive_seed
from ..tasks import Subject
from .paths import RunPaths
from .plan import Plan
from .records import write_record


@dataclass(frozen=True)
class WorkUnit:
    """One model to evaluate."""

    directory: ModelDirectory
    plan: Plan
    paths: RunPaths
    device: str
    budget: Budget


def evaluate_unit(unit: WorkUnit) -> dict[str, Any]:
    """Evaluate one model and write its record. Returns the row.

    Whatever is wrong with the model becomes a failed row; only a run directory that cannot be written is raised.

    Raises:
        RunDirectoryProblem: the record cannot be written.
    """
    began = time.perf_counter()
    plan, directory = unit.plan, unit.directory
    row: dict[str, Any] = {
        "model_id": directory.model_id,
        "round": plan.round_config.name,
        "preset": plan.unlearning.preset,
        "changed_options": " ".join(f"{k}={v}" for k, v in sorted(plan.changed_options.items())) or None,
        "protocol": plan.protocol,
        "seed": plan.seed,
        "device": plan.device,
        "fingerprint": plan.fingerprint,
        **readable_facts(directory, plan.round_config),
    }
    arrays: dict[str, Any] = {}
    try:
        row["poisoned"] = directory.poisoned
        _evaluate(unit, row, arrays)
        row["status"] = "done"
    except RunDirectoryProblem:
        raise
    except TrojaiSeamError as problem:
        named = str(directory.path) in str(problem)
        _fail(row, arrays, problem.kind, str(problem) if named else f"{directory.path}: {problem}")
    except Exception as problem:
        if _out_of_memory(problem):
            _fail(row, arrays, "out-of-memory", f"{directory.path}: out of memory: {problem}")
        else:
            # A bug of ours, or a library's: one row, with everything needed to find it.
            row["traceback"] = traceback.format_exc()
            message = f"{directory.path}: unexpected {type(problem).__name__}: {problem}"
            _fail(row, arrays, "internal", f"{message} (traceback in {unit.paths.record(directory.model_id)})")
    row["seconds_total"] = time.perf_counter() - began
    write_record(unit.paths.record(directory.model_id), row, arrays)
    return row


def _out_of_memory(problem: Exception) -> bool:
    if isinstance(problem, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)  # torch's words on a CPU


def _fail(row: dict[str, Any], arrays: dict[str, Any], kind: str, message: str) -> None:
    arrays.clear()  # a failed repair is a failed row, never half a score
    row.update(status="failed", error_kind=kind, error=shown(message, 2000))


def _evaluate(unit: WorkUnit, row: dict[str, Any], arrays: dict[str, Any]) -> None:
    plan, clock = unit.plan, _Clock()
    subject = open_directory(unit.directory, plan.round_config, unit.device, unit.budget)
    row.update(subject.facts)
    row["poisoned_origin"] = None if subject.poisoned is None else subject.poisoned.origin
    seconds = {"seconds_load": clock.lap(), "seconds_forget": 0.0, "seconds_recover": 0.0, "seconds_score": 0.0}
    strata = subject.task.strata(subject.clean.key())
    splits = plan_splits(strata, plan.protocol, plan.seed, subject.model_id)
    clean_before = predict(subject.model, subject.task, subject.clean)
    poisoned_before = None if subject.poisoned is None else predict(subject.model, subject.task, subject.poisoned)
    seconds["seconds_score"] += clock.lap()
    folds, outcomes = [], []
    for number, split in enumerate(splits.splits):
        fit = subject.clean.subset(split.fit)
        oracle = OracleWatcher(subject.task, fit, subject.poisoned) if plan.protocol == "paper" else None
        seed = derive_seed(plan.seed, subject.model_id, "unlearn", number)
        outcome = get_method(plan.unlearning.method)(subject.model, subject.task, fit, plan.unlearning, seed, oracle)
        outcomes.append(outcome)
        clock.lap()
        seconds["seconds_forget"] += outcome.phase("forget").seconds
        seconds["seconds_recover"] += outcome.phase("recover").seconds
        clean = predict(outcome.model, subject.task, subject.clean)
        poisoned = None if subject.poisoned is None else predict(outcome.model, subject.task, subject.poisoned)
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
        columns[f"{name}_status"] = phases[0].status
        columns[f"{name}_threshold"] = phases[0].threshold
        columns[f"{name}_epochs"] = sum(p.epochs for p in phases) / len(phases)
        columns[f"{name}_end_accuracy"] = sum(p.end_accuracy for p in phases) / len(phases)
    return columns


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
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last
