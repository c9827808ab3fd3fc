"""Look for a whole-image trigger in the network as it is: to which class does one faint change lead all images?

Nothing is trained. What is found (a family of changes and a class) is left in the context: ``distil`` can unlearn it,
and ``refit`` can stand back for it. Only clean fit examples are used. A class is suspect when changes of one family
lead to it far more images than to every other class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ...heartbeat import beat
from ..context import Context, Suspicion
from ..outcome import PhaseOutcome
from ..perturbations import Family, families, searched
from ..phase_kinds import PhaseKind, PhaseSettings
from ..settings import Share
from ..training_mode import still


class InvertSettings(PhaseSettings):
    """How long is looked, and how far a class must stand out."""

    kind: Literal["invert"] = "invert"
    examples: int = Field(default=40, ge=1, le=10_000)
    """Fit examples that perturbations are looked for on, at most."""
    classes: int = Field(default=64, ge=2, le=100_000)
    """That are looked at, at most: those with the highest mean score on clean images of other classes."""
    steps: int = Field(default=8, ge=2, le=1000)
    """Of signed gradient for the likeliest classes; after three of them all but ``finalists`` are left out."""
    finalists: int = Field(default=4, ge=2, le=1000)
    """Classes of a family that are looked at to the end."""
    step_size: float = Field(default=0.15, gt=0, le=1)
    """Of the first step, in units of the allowed range; it falls to a tenth."""
    least_reached: Share = 0.6
    """Of the images of other classes must give the suspect class."""
    least_gap: float = Field(default=1.0, ge=0, le=100)
    """Between the log-odds of the suspect class and of the next one."""


FIRST = 3
"""Steps after which classes that are hard to reach are left out."""


@dataclass
class _Candidate:
    family: Family
    target: int
    change: Tensor
    reached: float = 0.0
    log_odds: float = 0.0


def invert(context: Context, settings: InvertSettings) -> PhaseOutcome:
    """Look through all families and classes; the one that stands out most, if any does, becomes the suspicion."""
    start = context.accuracy()
    search = _Search(context, settings)
    best: tuple[float, _Candidate] | None = None
    with still(context.model):
        for family in families(search.images):
            finalists = search.finalists(family)
            if finalists is None:
                return PhaseOutcome(settings.name, "time-limit", start_accuracy=start, end_accuracy=start)
            first, second = finalists[:2]
            gap = first.log_odds - second.log_odds
            stands_out = first.reached >= settings.least_reached and gap >= settings.least_gap
            if stands_out and (best is None or gap > best[0]):
                best = gap, first
    if best is None:
        figures, status = {"suspected": 0.0}, "nothing-found"
    else:
        gap, found = best
        context.suspicion, status = Suspicion(found.family, found.target), f"suspects-{found.family.name}"
        figures = {"suspected": 1.0, "target": float(found.target), "reached": found.reached, "gap": gap}
    return PhaseOutcome(settings.name, status, start_accuracy=start, end_accuracy=start, figures=figures)


class _Search:
    """For changes that lead fit images to a class, in two rounds: all classes for a few steps, then the likeliest."""

    def __init__(self, context: Context, settings: InvertSettings) -> None:
        self.context, self.settings = context, settings
        order = torch.randperm(len(context.fit), generator=context.generator)
        self.images = context.fit.rows(order, order.to(context.device))["x"]
        with torch.no_grad():
            answers = torch.cat([self.scores(part) for part in torch.split(self.images, settings.examples)])
        self.given, self.classes = answers.argmax(dim=1), _likely(answers, settings.classes)

    def scores(self, images: Tensor) -> Tensor:
        """Of the network as it is."""
        return self.context.task.outputs(self.context.model, {"x": images})

    def finalists(self, family: Family) -> list[_Candidate] | None:
        """The likeliest classes, most easily reached first; None if time was up before."""
        settings = self.settings
        rates = [settings.step_size * (1 - 0.9 * step / settings.steps) for step in range(settings.steps)]
        few, starting = len(self.images[: settings.examples]), family.start()
        candidates = [_Candidate(family, target, starting) for target in self.classes]
        for most, searched_on, judged_on, paced in (
            (len(candidates), few // 2 + 1, few, rates[:FIRST]),
            (settings.finalists, few, len(self.images), rates[FIRST:]),
        ):
            candidates = candidates[:most]
            for place, one in enumerate(candidates, start=1):
                if self.context.time_is_up():
                    return None
                beat(f"{settings.name}, {family.name}, class {place} of {len(candidates)}")
                self._improve(one, min(searched_on, few), paced)
                self._judge(one, judged_on)
            candidates.sort(key=lambda one: -one.log_odds)
        return candidates

    def _improve(self, one: _Candidate, count: int, rates: list[float]) -> None:
        """Search on those of the first ``count`` images that are of other classes."""
        others = self.images[:count][self.given[:count] != one.target]
        if len(others):
            one.change = searched(self.scores, others, one.family, one.target, one.change, rates)

    def _judge(self, one: _Candidate, count: int) -> None:
        """How many of them the change takes to its class; half a count keeps the odds finite."""
        others = self.images[:count][self.given[:count] != one.target]
        hits = 0
        with torch.no_grad():
            for part in torch.split(others, self.settings.examples):
                hits += int((self.scores(one.family.put(part, one.change)).argmax(dim=1) == one.target).sum())
        one.reached = hits / max(1, len(others))
        one.log_odds = math.log((hits + 0.5) / (len(others) - hits + 0.5))


def _likely(answers: Tensor, most: int) -> list[int]:
    """All classes, or the ``most`` of them that images of other classes are nearest to."""
    own = functional.one_hot(answers.argmax(dim=1), answers.shape[1]).bool()
    near = answers.float().log_softmax(dim=1).masked_fill(own, 0).sum(dim=0) / (~own).sum(dim=0).clamp(min=1)
    return sorted(near.argsort(descending=True)[:most].tolist())


KIND = PhaseKind(InvertSettings, invert, serves=("images",))
