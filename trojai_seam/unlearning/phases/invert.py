"""Look for a trigger in the network as it is: to which class does one small change lead all images?

Nothing is trained. What is found (a class, and families of changes that lead to it) is left in the context: ``distil``
can unlearn it, and ``refit`` can stand back for it. Only clean fit examples are used. A class is suspect when changes
of one family lead to it far more images than to every other class.
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
from ..perturbations import Change, Family, families, searched
from ..phase_kinds import PhaseKind, PhaseSettings
from ..settings import Share
from ..training_mode import still


class InvertSettings(PhaseSettings):
    """How long is looked, and how far a class must stand out."""

    kind: Literal["invert"] = "invert"
    examples: int = Field(default=40, ge=1, le=10_000)
    """Fit examples that perturbations are looked for on, at most; half of them at first."""
    classes: int = Field(default=64, ge=2, le=100_000)
    """That are looked at, at most: those with the highest mean score on clean images of other classes."""
    steps: int = Field(default=8, ge=4, le=1000)
    """Of signed gradient for the likeliest classes; after three of them all but ``finalists`` are left out."""
    finalists: int = Field(default=3, ge=2, le=1000)
    """Classes of a family that are looked at to the end."""
    step_size: float = Field(default=0.15, gt=0, le=1)
    """Of the first step, in units of the allowed range; it falls to a tenth."""
    least_reached: Share = 0.4
    """Of the images of other classes must give the suspect class."""
    least_gap: float = Field(default=1.75, ge=0, le=100)
    """Between what speaks for the suspect class and for the next one: the log-odds of images that give it, and their
    mean log-probability of it."""
    evident_gap: float = Field(default=2.5, ge=0, le=100)
    """From here on a class is more than suspect, so that ``refit`` may stand back."""


FIRST = 3
"""Steps after which classes that are hard to reach are left out."""
BEGINNINGS = 2
"""Places that a local change is begun at, for every class."""
PLACES, TRIED_PLACES = 3, 6
"""Places of a local change towards the suspected class that are left for other phases, and out of how many."""
FAINTEST, STRONGEST = -2.0, 3.0
"""Limits of the logarithm of a suspicion's weight."""
ADDED = ("blend", "pattern")
"""Families that add a picture."""


@dataclass
class _Candidate:
    """A class, and a change that leads to it.

    Attributes:
        reached: share of images of other classes that give it.
        evidence: log-odds of that, plus the mean log-probability of the class.
    """

    target: int
    change: Change
    reached: float = 0.0
    evidence: float = -math.inf


@dataclass(frozen=True)
class _Finding:
    """What is known of one family: the likeliest classes, the likeliest one first."""

    family: Family
    candidates: list[_Candidate]

    @property
    def gap(self) -> float:
        """By which the first class stands out."""
        return self.lead(self.candidates[0].target)

    def lead(self, target: int) -> float:
        """By which a class is ahead of all others, or behind the first one; minus infinity: it was given up."""
        others = max((one.evidence for one in self.candidates if one.target != target), default=-math.inf)
        return max((one.evidence - others for one in self.candidates if one.target == target), default=-math.inf)


def invert(context: Context, settings: InvertSettings) -> PhaseOutcome:
    """Look through all families and classes; the class that stands out most, if any does, is suspected.

    Every family is followed towards it, in proportion to how far it is ahead there: triggers are seldom just like one
    of them.
    """
    start = context.accuracy()
    search = _Search(context, settings)
    findings = list[_Finding]()
    figures, status = {"suspected": 0.0}, "nothing-found"
    with still(context.model):
        for family in families(search.images):
            finding = search.finding(family)
            if finding is None:
                return PhaseOutcome(settings.name, "time-limit", start_accuracy=start, end_accuracy=start)
            if len(finding.candidates) > 1:  # one alone stands out from nothing
                findings.append(finding)
        clear = [one for one in findings if one.candidates[0].reached >= settings.least_reached]
        best = max(clear, key=lambda one: one.gap, default=None)
        if best is not None and best.gap >= settings.least_gap:
            first = best.candidates[0]
            context.suspicions = search.suspicions(findings, best, first.target)
            context.evident = best.gap >= settings.evident_gap
            status = f"{'finds' if context.evident else 'suspects'}-{best.family.name}"
            figures = {"suspected": 1.0, "target": float(first.target), "reached": first.reached, "gap": best.gap}
    return PhaseOutcome(settings.name, status, start_accuracy=start, end_accuracy=start, figures=figures)


def _weight(lead: float) -> float:
    return math.exp(min(max(lead, FAINTEST), STRONGEST))


class _Search:
    """For changes that lead fit images to a class; the less likely classes are given up on the way."""

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

    def finding(self, family: Family) -> _Finding | None:
        """The likeliest classes, most easily reached first; None if time was up before."""
        settings = self.settings
        rates = [settings.step_size * (1 - 0.9 * step / settings.steps) for step in range(settings.steps)]
        few = len(self.images[: settings.examples])
        some = few // 2 + 1
        candidates = [
            _Candidate(target, change)
            for target in self.classes
            if len(self._others(target, few))
            for change in family.starts(self.scores, self._others(target, few), target, BEGINNINGS)
        ]
        for searched_on, judged_on, paced in (
            (some, some, rates[:FIRST]),
            (few, len(self.images), rates[FIRST:]),
        ):
            for place, one in enumerate(candidates, start=1):
                if self.context.time_is_up():
                    return None
                beat(f"{settings.name}, {family.name}, {place} of {len(candidates)}")
                others = self._others(one.target, searched_on)
                if len(others):
                    one.change = searched(self.scores, others, family, one.target, one.change, paced)
                    self._judge(one, family, judged_on)
            candidates.sort(key=lambda one: -one.evidence)
            candidates = _best_of_each(candidates)[: settings.finalists]
        return _Finding(family, candidates)

    def suspicions(self, findings: list[_Finding], best: _Finding, target: int) -> tuple[Suspicion, ...]:
        """One of every family, towards the class that the ``best`` of them gave away.

        Blends and patterns are weighted alike where one of them is the best: both are added pictures, of which a smooth
        one is found more easily than it is unlearned.
        """
        weights = {one.family.name: _weight(one.lead(target)) for one in findings}
        if best.family.name in ADDED:
            weights |= dict.fromkeys(ADDED, max(weights.values()))
        return tuple(
            Suspicion(one.family, target, weights[one.family.name], self._places(one.family, target))
            for one in findings
        )

    def _places(self, family: Family, target: int) -> tuple[Change, ...]:
        """Of a local family, where changes raise the score of the class most."""
        if not family.local:
            return ()
        others = self._others(target, len(self.images))[: 2 * self.settings.examples]
        few = others[: self.settings.examples // 2 + 1]
        rates = [self.settings.step_size * part for part in (1, 2 / 3, 1 / 3)]
        starts = family.starts(self.scores, others, target, TRIED_PLACES)
        found = [searched(self.scores, few, family, target, one, rates) for one in starts]
        with torch.no_grad():
            raised = [float(family.wish(self.scores(family.put(few, one)), target)) for one in found]
        return tuple(found[place] for place in sorted(range(len(found)), key=lambda place: -raised[place])[:PLACES])

    def _others(self, target: int, count: int) -> Tensor:
        """Those of the first ``count`` images that the network gives other classes."""
        return self.images[:count][self.given[:count] != target]

    def _judge(self, one: _Candidate, family: Family, count: int) -> None:
        """How the change takes images of other classes to its class; half a count keeps the odds finite."""
        others = self._others(one.target, count)
        hits, near = 0, 0.0
        with torch.no_grad():
            for part in torch.split(others, self.settings.examples):
                scores = self.scores(family.put(part, one.change)).float()
                hits += int((scores.argmax(dim=1) == one.target).sum())
                near += float(scores.log_softmax(dim=1)[:, one.target].sum())
        one.reached = hits / len(others)
        one.evidence = math.log((hits + 0.5) / (len(others) - hits + 0.5)) + near / len(others)


def _best_of_each(candidates: list[_Candidate]) -> list[_Candidate]:
    """The first candidate of every class, in the same order."""
    first = dict[int, _Candidate]()
    for one in candidates:
        first.setdefault(one.target, one)
    return list(first.values())


def _likely(answers: Tensor, most: int) -> list[int]:
    """All classes, or the ``most`` of them that images of other classes are nearest to."""
    own = functional.one_hot(answers.argmax(dim=1), answers.shape[1]).bool()
    near = answers.float().log_softmax(dim=1).masked_fill(own, 0).sum(dim=0) / (~own).sum(dim=0).clamp(min=1)
    return sorted(near.argsort(descending=True)[:most].tolist())


KIND = PhaseKind(InvertSettings, invert, serves=("images",))
