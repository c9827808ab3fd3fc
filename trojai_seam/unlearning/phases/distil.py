"""Recover by self-distillation: the network as shipped says what it sees, and the one that is changed learns it.

The teacher is asked for light views of clean images only, where its trojan has nothing to say. What learns may see them
disturbed on top, recoloured, patched, blended with a picture, and must answer as if they were not, so that a filter, a
patch or a blend comes to mean nothing. True labels have their share in the loss: the more examples there are, the more
of what is lost can be learnt from them, and the less must be asked of a teacher that is trojaned.

Distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; of a trojaned
network on clean data: Li et al., "Neural Attention Distillation", ICLR 2021.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..augmentation import blended
from ..context import Context, Suspicion, evidence
from ..outcome import PhaseOutcome
from ..perturbations import Change, Family, Scores, searched
from ..phase_kinds import PhaseKind
from ..settings import Rate, Share
from ..training import Batch, Training
from ..training_mode import still
from ..training_settings import TrainingSettings, Views


class DistilSettings(TrainingSettings):
    """Training towards the answers of the network as shipped. ``views`` are what it is asked for."""

    kind: Literal["distil"] = "distil"
    learning_rate: Rate = 2e-3
    """At most, times n / (n + 200) for n fit examples: few are soon learnt by heart."""
    labels_weight: Share | None = None
    """Share of the loss that true labels have, the teacher having the rest; unset: 1.5 ·
    n / (n + 200) for n fit examples, at most 1."""
    disturbed: Share = 0.0
    """Share of every batch that the learning network sees disturbed."""
    disturbance: Views = Views()
    """How: colours and patches, on top of ``views``."""
    blend: Share = 0.0
    """Disturbed images are blended with a random picture of up to this share."""
    perturbed: Share = 0.0
    """Share of every batch that the learning network sees with a change that leads to the class which a phase before
    (``invert``) suspects, if it suspects one; in place of disturbed images."""
    reach: float = Field(default=4.0, gt=0, le=10)
    """How far such a change of the whole image may go, in units of what it was found with."""
    pursuit: int = Field(default=2, ge=1, le=100)
    """Steps that it is improved by before every training step; a new one starts with six times as many."""
    evident_learning_rate: Rate | None = None
    """In place of ``learning_rate`` where a class is evident, so that little was forgotten before. It grows with the
    number of fit examples up to 50 of them only, and never falls below the usual rate: there is little to learn anew,
    however many there are."""
    least_kept: Share = 0.0
    """Of the fit accuracy at the start that must be there at the end. Else the learning rate was too much for this
    network: the phase begins anew, once, with a ninth of it."""


ENOUGH = 50
"""Fit examples, from which on the rate where a class is evident stays the same."""
KEPT_CHANGES, RENEWED = 6, 0.1
"""Changes of a family that are kept, and the chance that one is begun anew when it is its turn."""


@dataclass
class _Pursued:
    """A suspicion, as far as it may go, and the changes that are kept of it."""

    family: Family
    suspicion: Suspicion
    kept: list[Change] = field(default_factory=list)

    def begin(self, scores: Scores, images: Tensor) -> Change:
        """A new change: of a local family one colour, at one of the places where it was found."""
        if not self.suspicion.changes:
            return self.family.starts(scores, images, self.suspicion.target, 1)[0]
        found = self.suspicion.changes[int(torch.randint(0, len(self.suspicion.changes), (1,)))]
        return self.family.widened(found)


class Distilling(Training[DistilSettings]):
    """Towards a mixture of the teacher's answers and the true labels. Everything is in eval mode: no dropout, and
    BatchNorm statistics stay, for re-estimating them brings trojans back."""

    taught: Tensor

    def __init__(self, context: Context, settings: DistilSettings, pace: float = 1.0, epochs_before: int = 0) -> None:
        given = len(context.given)
        share, rate = evidence(given), evidence(given) * settings.learning_rate
        suspicions = context.suspicions if settings.perturbed else ()
        if suspicions and context.evident and settings.evident_learning_rate is not None:
            rate = max(rate, evidence(min(given, ENOUGH)) * settings.evident_learning_rate)
        super().__init__(context, settings.model_copy(update={"learning_rate": pace * rate}))
        self.epochs_before = epochs_before
        self.pursued = [_Pursued(replace(one.family, strength=settings.reach), one) for one in suspicions]
        self.weights = torch.tensor([one.weight for one in suspicions])
        self.weight = min(1.0, 1.5 * share) if settings.labels_weight is None else settings.labels_weight

    def mode(self) -> None:
        self.context.model.eval()

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        context, settings = self.context, self.settings
        with torch.no_grad():
            self.taught = context.task.outputs(context.shipped, inputs).float().log_softmax(dim=1)
        changed = round(settings.disturbed * len(batch.where))
        led = 0 if not self.pursued else min(changed, round(settings.perturbed * len(batch.where)))
        if changed == 0:
            return inputs
        images = inputs["x"]
        parts = [images[changed:]]
        if led < changed:
            parts.insert(0, blended(context.view(images[led:changed], settings.disturbance), settings.blend))
        if led:
            parts.insert(0, self._led_astray(images[:led]))
        return {**inputs, "x": torch.cat(parts)}

    def _led_astray(self, images: Tensor) -> Tensor:
        """The images with one of a few changes that lead to the suspected class.

        They are kept up to date with the network as it is now or, by chance, as shipped: the one alone would learn to
        resist what is nearest, the other alone would not see what is left.
        """
        one = self.pursued[int(torch.multinomial(self.weights, 1))]
        asked = self.context.shipped if float(torch.rand(())) < 0.5 else self.context.model

        def scores(seen: Tensor) -> Tensor:
            return self.context.task.outputs(asked, {"x": seen})

        which = int(torch.randint(0, KEPT_CHANGES, (1,)))
        fresh = which >= len(one.kept) or float(torch.rand(())) < RENEWED
        if fresh:
            which = min(which, len(one.kept))
            one.kept[which : which + 1] = [one.begin(scores, images)]
        target = one.suspicion.target
        others = images[self.taught[: len(images)].argmax(dim=1) != target]
        if len(others):
            steps = self.settings.pursuit * (6 if fresh else 1)
            rates = [0.1 * (1 - 0.9 * step / steps) for step in range(steps)]
            with still(asked):
                one.kept[which] = searched(scores, others, one.family, target, one.kept[which], rates)
        part = 0.3 + 0.7 * torch.rand(len(images), 1, 1, 1, device=images.device)
        return one.family.put(images, one.kept[which], part)

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        scores = self.context.task.outputs(self.context.model, inputs)
        learnt = scores.float().log_softmax(dim=1)
        loss = functional.kl_div(learnt, self.taught, log_target=True, reduction="batchmean")
        known = batch.labels >= 0
        truth = functional.nll_loss(learnt, batch.labels.clamp(min=0), reduction="none")
        share = self.weight * known.float().mean()
        return (1 - share) * loss + self.weight * (truth * known).mean()


SLOWER = 1 / 9
"""The learning rate of a phase that begins anew, as a share of the one that lost too much."""


def distil(context: Context, settings: DistilSettings) -> PhaseOutcome:
    """Train towards the teacher until the stop rule or a cap; more slowly if that lost what had to be kept."""
    before = copy.deepcopy(context.model.state_dict()) if settings.least_kept else {}
    found = Distilling(context, settings).run()
    if _kept(found) >= settings.least_kept or context.time_is_up():
        return found
    context.model.load_state_dict(before)
    again = Distilling(context, settings, SLOWER, found.epochs).run()
    return replace(again, epochs=found.epochs + again.epochs, steps=found.steps + again.steps)


def _kept(found: PhaseOutcome) -> float:
    start, end = found.start_accuracy or 0.0, found.end_accuracy or 0.0
    return end / start if start else 1.0


KIND = PhaseKind(DistilSettings, distil, serves=("images", "vectors"))
