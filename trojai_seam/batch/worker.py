"""Everything from opening to record for one model or several, in whatever process the executor chose.

A worker gets model directories and a plan; it leaves a record file for each. Nothing else passes between it and its
parent. Several are opened one after the other; those that are small networks of one architecture are unlearned side by
side (:mod:`trojai_seam.unlearning.ensemble`), all others one by one. Who else is there changes no row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..unlearning.outcome import Outcome
from .case import ALONE, Case, Surroundings
from .device_faults import free_cached_memory, out_of_memory
from .stacks import Part, stacks_of, unlearn_stack
from .units import WorkUnit

HELD_BYTES = 1 << 28
"""Of weights and inputs: with so much in memory no further model is opened before these are done."""

Done = Callable[[WorkUnit, dict[str, Any]], bool]
"""Is told that a unit has its record, with the row; says whether to go on."""


def evaluate_units(units: Sequence[WorkUnit], device: str, done: Done, around: Surroundings = ALONE) -> None:
    """Evaluate ``units`` on ``device`` and write their records, each as soon as it can be.

    Whatever is wrong with a model becomes a failed row of that model.

    Raises:
        RunDirectoryProblem: a record cannot be written.
        Crowded: out of memory in crowded surroundings; those that were not ``done`` have no record.
    """
    waiting, asked = deque(units), False
    while waiting:
        held: list[Case] = []
        while waiting and (not held or sum(case.size for case in held) < HELD_BYTES):
            case = Case(waiting.popleft(), around)
            around = replace(around, start=None)
            case.open(device)
            if not case.failed:
                held.append(case)
            elif not done(case.unit, case.write()):
                return
        if held and not asked:
            around.turn()
            asked = True
        if not _evaluate(held, done):
            return


def _evaluate(cases: list[Case], done: Done) -> bool:
    """Unlearn and score opened models. False: it was told to stop."""
    for case in cases:
        with case.attempt():
            _with_memory(case, case.begin)
    begun = [(case, case.evaluation) for case in cases if case.evaluation is not None and not case.evaluation.complete]
    parts = [Part(case, number, evaluation) for case, evaluation in begun for number in range(len(evaluation.folds))]
    left = list(cases)
    for group, stacked in [([], False), *stacks_of(parts)]:
        if stacked:
            _in_a_stack([part for part in group if part.wanted])
        for part in group:
            if not stacked and part.wanted:
                _alone(part)
        for case in [
            case for case in left if case.failed or (case.evaluation is not None and case.evaluation.complete)
        ]:
            left.remove(case)
            if not done(case.unit, case.write()):
                return False
    return True


def _in_a_stack(parts: list[Part]) -> None:
    results = unlearn_stack(parts, free_cached_memory) if parts else []
    for part, result in zip(parts, results, strict=True):
        if isinstance(result, Outcome):
            part.case.stacked = True
            with part.case.attempt():
                part.evaluation.take(part.number, result)
        elif out_of_memory(result) and not part.case.around.crowded:
            _alone(part)
        else:
            part.case.fail(result)


def _alone(part: Part) -> None:
    """By the phases of the plan, on its own."""
    with part.case.attempt():
        _with_memory(part.case, lambda: part.evaluation.unlearn(part.number))


def _with_memory(case: Case, action: Callable[[], object]) -> None:
    """Do ``action``. When memory runs out, and only then, all of the case is done alone instead, with the batch halved
    until it fits; the row tells the batch that did."""
    whole = size = case.unlearning.batch_size
    while True:
        try:
            if size == whole:
                action()
            else:
                evaluation = case.begin(size)
                for number in range(len(evaluation.folds)):
                    evaluation.unlearn(number)
        except Exception as problem:
            if not out_of_memory(problem) or case.around.crowded or size == 1:
                raise
        else:
            break
        case.evaluation = None
        size //= 2
        free_cached_memory()
    if size < whole:
        case.stacked = False
        halved = f"batch halved from {whole} to {size}: out of memory"
        case.row["notes"] = "; ".join(note for note in (case.row.get("notes"), halved) if note)
