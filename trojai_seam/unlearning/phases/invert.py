"""Look for a trigger in the network as shipped: to which class does one small change lead all images?

Nothing is trained. What is found (classes, and families of changes that lead to them) is left in the context, so that
``distil`` can unlearn it. Only clean fit examples are used. A class is suspect when changes of one family lead to it
far more images than to every other class.

Clean classes can stand out, too: where a digit is little more than a ring, a faint ring makes one of every image. That
uses what clean images use. A phase before this one may have forgotten what they do not use (``refit``): where a change
leads further in the network that is left than it did as shipped, what speaks for its class is less by as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ...heartbeat import beat
from ..context import Context, Suspicion
from ..outcome import PhaseOutcome
from ..perturbations import Change, Family, Scores, families, searched
from ..phase_kinds import PhaseKind, PhaseSettings
from ..settings import Share


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
    """From here on a class is more than suspect; for stripes, in which clean classes stand out as well, 1.5 more."""
    least_left: Share = 0.0
    """A class that a family of changes of the whole image gives away is more than suspect only if they lead such a
    share of images to it in the network that earlier phases left: what is forgotten already needs no other
    treatment."""
    restore: bool = False
    """Where a class is evident, the network gets its weights as shipped back, whatever phases before did: what is
    unlearned by name costs less than what was forgotten, and whole-image triggers use directions that clean images use,
    too."""


FIRST = 3
"""Steps after which classes that are hard to reach are left out."""
BEGINNINGS = 3
"""Places that a local change is begun at, for every class."""
PLACES, TRIED_PLACES = 3, 6
"""Places of a local change towards the suspected class that are left for other phases, and out of how many."""
FAINTEST, STRONGEST = -2.0, 3.0
"""Limits of the logarithm of a suspicion's weight."""
ADDED = ("blend", "pattern")
"""Families that add a picture of any kind."""


@dataclass
class _Candidate:
    """A class, and a change that leads to it.

    Attributes:
        reached: share of images of other classes that give it.
        left: the same share in the network that an earlier phase left.
        evidence: log-odds of that, plus the mean log-probability of the class.
        discount: what these rose by in the network that is left.
    """

    target: int
    change: Change
    reached: float = 0.0
    left: float = 0.0
    evidence: float = -math.inf
    discount: float = 0.0


@dataclass(frozen=True)
class _Finding:
    """What is known of one family: the likeliest classes, the likeliest one first."""

    family: Family
    candidates: list[_Candidate]

    @property
    def gap(self) -> float:
        """By which the first class stands out."""
        return self.lead(self.first.target)

    @property
    def first(self) -> _Candidate:
        """What speaks most for its class."""
        return self.candidates[0]

    def lead(self, target: int) -> float:
        """By which a class, less its discount, is ahead of all others, or behind the first one; minus infinity: it was
        given up."""
        others = max((one.evidence for one in self.candidates if one.target != target), default=-math.inf)
        own = (one.evidence - one.discount for one in self.candidates if one.target == target)
        return max((evidence - others for evidence in own), default=-math.inf)


def invert(context: Context, settings: InvertSettings) -> PhaseOutcome:
    """Look through all families and classes; those that stand out in a family are suspected.

    Every family is followed towards each of them, in proportion to how far it is ahead there: triggers are seldom just
    like one of them, and a network may have more than one.
    """
    start = context.accuracy()
    context.suspicions, context.evident = (), None
    with torch.random.fork_rng(context.devices):  # what later phases draw does not hang on how much was looked for
        status, figures = _looked(context, settings)
    end = start
    if context.evident and settings.restore:
        context.restore()
        end = context.accuracy()
    return PhaseOutcome(settings.name, status, start_accuracy=start, end_accuracy=end, figures=figures)


def _looked(context: Context, settings: InvertSettings) -> tuple[str, dict[str, float]]:
    """Leave what is suspected in the context, nothing if time is up; status and figures of the phase."""
    search = _Search(context, settings)
    findings = list[_Finding]()
    for family in families(search.images):
        finding = search.finding(family)
        if finding is None:
            return "time-limit", {}
        if len(finding.candidates) > 1:  # one alone stands out from nothing
            findings.append(finding)
    clear = [one for one in findings if one.first.reached >= settings.least_reached and one.gap >= settings.least_gap]
    if not clear:
        return "nothing-found", {"suspected": 0.0}
    clear.sort(key=lambda one: -one.gap)
    context.suspicions = search.suspicions(findings, clear)
    evident = [one for one in clear if one.gap >= settings.evident_gap + one.family.margin and search.remains(one)]
    best = (evident or clear)[0]
    context.evident = best.family if evident else None
    figures = {
        "suspected": float(len({one.target for one in context.suspicions})),
        "target": float(best.first.target),
        "reached": best.first.reached,
        "left": best.first.left,
        "gap": best.gap,
    }
    return f"{'finds' if evident else 'suspects'}-{best.family.name}", figures


def _weight(lead: float) -> float:
    return math.exp(min(max(lead, FAINTEST), STRONGEST))


class _Search:
    """For changes that lead fit images to a class; the less likely classes are given up on the way."""

    def __init__(self, context: Context, settings: InvertSettings) -> None:
        self.context, self.settings = context, settings
        self.changed = _differs(context.model, context.shipped)
        order = torch.randperm(len(context.fit), generator=context.generator)
        self.images = context.fit.rows(order, order.to(context.device))["x"]
        answers = self._answers(self.scores)
        self.given, self.classes = answers.argmax(dim=1), _likely(answers, settings.classes)
        self.given_left = self._answers(self.scores_left).argmax(dim=1) if self.changed else self.given

    def scores(self, images: Tensor) -> Tensor:
        """Of the network as shipped."""
        return self.context.task.outputs(self.context.shipped, {"x": images})

    def scores_left(self, images: Tensor) -> Tensor:
        """Of the network that earlier phases left."""
        return self.context.task.outputs(self.context.model, {"x": images})

    def _answers(self, scores: Scores) -> Tensor:
        with torch.no_grad():
            return torch.cat([scores(part) for part in torch.split(self.images, self.settings.examples)])

    def finding(self, family: Family) -> _Finding | None:
        """The likeliest classes, most easily reached first; None if time was up before."""
        settings = self.settings
        rates = [settings.step_size * (1 - 0.9 * step / settings.steps) for step in range(settings.steps)]
        few = len(self.images[: settings.examples])
        some = few // 2 + 1
        if self.context.time_is_up():
            return None
        family = family.surveyed(self.scores, self.images)
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
                    judges = self._others(one.target, judged_on)
                    one.reached, one.evidence = self._judged(self.scores, one, family, judges)
            candidates.sort(key=lambda one: -one.evidence)
            candidates = _best_of_each(candidates)[: settings.finalists]
        if self.changed:
            for one in candidates:
                self._discount(one, family)
            candidates.sort(key=lambda one: one.discount - one.evidence)
        return _Finding(family, candidates)

    def _discount(self, one: _Candidate, family: Family) -> None:
        """By what speaks more for the class in the network that is left, on images that neither network gives it."""
        others = self.images[(self.given != one.target) & (self.given_left != one.target)]
        if not len(others):
            one.left, one.discount = 1.0, math.inf
            return
        _, shipped = self._judged(self.scores, one, family, others)
        one.left, left = self._judged(self.scores_left, one, family, others)
        one.discount = max(0.0, left - shipped)

    def remains(self, finding: _Finding) -> bool:
        """Whether earlier phases left what was found, or are not asked: what is local is undone at little cost."""
        return finding.family.local or not self.changed or finding.first.left >= self.settings.least_left

    def suspicions(self, findings: list[_Finding], clear: list[_Finding]) -> tuple[Suspicion, ...]:
        """One of every family, towards every class that a ``clear`` finding, the clearest one first, gave away; of a
        special family only where it did so itself.

        Blends and patterns are weighted alike where one of them is the clearest: both are added pictures, of which a
        smooth one is found more easily than it is unlearned.
        """
        suspicions = list[Suspicion]()
        for target in dict.fromkeys(one.first.target for one in clear):
            weights = {one.family.name: _weight(one.lead(target)) for one in findings}
            if next(one.family.name for one in clear if one.first.target == target) in ADDED:
                weights |= dict.fromkeys(ADDED, max(weights.values()))
            suspicions += (
                Suspicion(one.family, target, weights[one.family.name], self._places(one.family, target))
                for one in findings
                if not one.family.special or (one in clear and one.first.target == target)
            )
        return tuple(suspicions)

    def _places(self, family: Family, target: int) -> tuple[Change, ...]:
        """Of a local family, where changes raise the score of the class most, as long as there is time."""
        if not family.local or self.context.time_is_up():
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

    def _judged(self, scores: Scores, one: _Candidate, family: Family, others: Tensor) -> tuple[float, float]:
        """How far the change takes ``others``, images of other classes, to its class: the share that give it, and what
        that says for the class. Half a count keeps the odds finite."""
        hits, near = 0, 0.0
        with torch.no_grad():
            for part in torch.split(others, self.settings.examples):
                answers = scores(family.put(part, one.change)).float()
                hits += int((answers.argmax(dim=1) == one.target).sum())
                near += float(answers.log_softmax(dim=1)[:, one.target].sum())
        odds = math.log((hits + 0.5) / (len(others) - hits + 0.5))
        return hits / len(others), odds + near / len(others)


def _differs(model: nn.Module, other: nn.Module) -> bool:
    """Whether two networks of the same kind have other weights."""
    theirs = other.state_dict()
    return any(not torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


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


KIND = PhaseKind(InvertSettings, invert, serves=("images",), searches=True)
