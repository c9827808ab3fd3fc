"""Runs of several opened models, unlearned side by side where that is possible."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from ..unlearning.ensemble import Member, stack_key, unlearn_together
from ..unlearning.outcome import Outcome
from .case import Case
from .device_faults import of_cuda, out_of_memory
from .evaluation import Evaluation, Fold

STACK_BYTES = 384 << 20
"""Of one stack in host memory: a larger one is no faster."""
COPIES = 5
"""How often the weights of a network are there while it is trained: as it was, as it is, gradient, two moments."""


@dataclass(frozen=True, eq=False)
class Part:
    """One run of one case."""

    case: Case
    number: int
    evaluation: Evaluation

    @property
    def wanted(self) -> bool:
        """Nothing has become of the case yet that makes this run useless."""
        return not self.case.failed and self.case.evaluation is self.evaluation

    @property
    def fold(self) -> Fold:
        """See :class:`trojai_seam.batch.evaluation.Fold`."""
        return self.evaluation.folds[self.number]

    @property
    def key(self) -> Hashable | None:
        """Parts with equal keys can be unlearned together; ``None``: alone."""
        if not self.evaluation.plan.stacked or self.evaluation.watched:
            return None
        subject = self.evaluation.subject
        unlearning = self.evaluation.unlearning
        key = stack_key(subject.model, subject.task, self.fold.fit, unlearning)
        return None if key is None else (unlearning, key)

    @property
    def member(self) -> Member:
        """As the stack wants it."""
        subject = self.evaluation.subject
        states = self.evaluation.stored_states(self.number)
        return Member(subject.model, subject.task, self.fold.fit, self.fold.seed, states)


def stacks_of(parts: Sequence[Part]) -> Iterator[tuple[list[Part], bool]]:
    """Parts that belong together, and whether they are a stack, in the order in which the first of each came."""
    groups: dict[Hashable, list[Part]] = {}
    for part in parts:
        key = part.key
        groups.setdefault(id(part) if key is None else (key,), []).append(part)
    for key, group in groups.items():
        stacked = isinstance(key, tuple)
        size = most_rows(group[0]) if stacked else 1
        for begin in range(0, len(group), size):
            yield group[begin : begin + size], stacked


def most_rows(part: Part) -> int:
    """How many networks like that of ``part`` are unlearned side by side."""
    plan = part.evaluation.plan
    if plan.device != "cpu":
        return plan.stacked
    return max(1, STACK_BYTES // (COPIES * part.case.size or 1))


def unlearn_stack(parts: Sequence[Part], free: Callable[[], None]) -> list[Outcome | Exception]:
    """Unlearn ``parts`` together. What fails with all of them is tried with fewer: with halves where memory ran out,
    else one by one, so that only the guilty one has it.

    The time that is not the phases' own is shared out evenly.
    """
    began, first = time.perf_counter(), parts[0]
    plan = first.evaluation.plan
    rows = None if plan.device == "cpu" else plan.stacked
    try:
        members = [part.member for part in parts]
        results = list[Outcome | Exception](unlearn_together(members, first.evaluation.unlearning, False, rows))
    except Exception as problem:
        if of_cuda(problem) or len(parts) == 1:
            return [problem] * len(parts)
        free()
        size = len(parts) // 2 if out_of_memory(problem) else 1
        groups = [parts[begin : begin + size] for begin in range(0, len(parts), size)]
        return [result for group in groups for result in unlearn_stack(group, free)]
    spent = [sum(p.seconds for p in one.phases) if isinstance(one, Outcome) else 0.0 for one in results]
    rest = max(0.0, time.perf_counter() - began - sum(spent)) / len(parts)
    for part, own in zip(parts, spent, strict=True):
        part.case.seconds += own + rest
    return results
