"""Recover by self-distillation: the network as shipped says what it sees, and the one that is changed learns it.

The teacher is asked for light views of clean images only, where its trojan has nothing to say. What learns may see them
disturbed on top, recoloured, patched, blended with a picture, and must answer as if they were not, so that a filter, a
patch or a blend comes to mean nothing. True labels have their share in the loss: the more examples there are, the more
of what is lost can be learnt from them, and the less must be asked of a teacher that is trojaned.

Distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; of a trojaned
network on clean data: Li et al., "Neural Attention Distillation", ICLR 2021.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..augmentation import blended
from ..context import Context, evidence
from ..outcome import PhaseOutcome
from ..perturbations import Family, searched
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
    """Share of every batch that the learning network sees with the whole-image change that most leads it to the
    suspected class, where a phase before (``invert``) suspects one; in place of disturbed images."""
    reach: float = Field(default=2.0, gt=0, le=10)
    """How far that change may go, in units of what it was found with."""
    pursuit: int = Field(default=2, ge=1, le=100)
    """Steps that it is improved by before every training step; a new one starts with six times as many."""


KEPT_CHANGES, RENEWED = 6, 0.1
"""Changes towards a suspected class that are kept, and the chance that one is begun anew when it is its turn."""


class Distilling(Training[DistilSettings]):
    """Towards a mixture of the teacher's answers and the true labels. Everything is in eval mode: no dropout, and
    BatchNorm statistics stay, for re-estimating them brings trojans back."""

    taught: Tensor
    family: Family | None = None
    """Of the suspected trigger."""

    def __init__(self, context: Context, settings: DistilSettings) -> None:
        share = evidence(len(context.given))
        super().__init__(context, settings.model_copy(update={"learning_rate": share * settings.learning_rate}))
        self.weight = min(1.0, 1.5 * share) if settings.labels_weight is None else settings.labels_weight

    def mode(self) -> None:
        self.context.model.eval()

    def begin(self) -> None:
        suspicion = self.context.suspicion
        if suspicion is not None and self.settings.perturbed:
            self.family = replace(suspicion.family, strength=self.settings.reach)
            self.target, self.changes = suspicion.target, list[Tensor]()

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        context, settings = self.context, self.settings
        with torch.no_grad():
            self.taught = context.task.outputs(context.shipped, inputs).float().log_softmax(dim=1)
        changed = round(settings.disturbed * len(batch.where))
        led = 0 if self.family is None else min(changed, round(settings.perturbed * len(batch.where)))
        if changed == 0:
            return inputs
        images = inputs["x"]
        parts = [images[changed:]]
        if led < changed:
            parts.insert(0, blended(context.view(images[led:changed], settings.disturbance), settings.blend))
        if self.family is not None:
            parts = [self._led_astray(images[:led], self.family), *parts]
        return {**inputs, "x": torch.cat(parts)}

    def _led_astray(self, images: Tensor, family: Family) -> Tensor:
        """The images with one of a few changes that lead to the suspected class, kept up to date with the network."""
        context = self.context
        which = int(torch.randint(0, KEPT_CHANGES, (1,)))
        if fresh := which >= len(self.changes) or float(torch.rand(())) < RENEWED:
            which = min(which, len(self.changes))
            self.changes[which : which + 1] = [family.start()]
        others = images[self.taught[: len(images)].argmax(dim=1) != self.target]
        if len(others):
            steps = self.settings.pursuit * (6 if fresh else 1)
            rates = [0.1 * (1 - 0.9 * step / steps) for step in range(steps)]
            with still(context.model):
                self.changes[which] = searched(
                    lambda seen: context.task.outputs(context.model, {"x": seen}),
                    others,
                    family,
                    self.target,
                    self.changes[which],
                    rates,
                )
        part = 0.3 + 0.7 * torch.rand(len(images), 1, 1, 1, device=images.device)
        return family.put(images, self.changes[which], part)

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        scores = self.context.task.outputs(self.context.model, inputs)
        learnt = scores.float().log_softmax(dim=1)
        loss = functional.kl_div(learnt, self.taught, log_target=True, reduction="batchmean")
        known = batch.labels >= 0
        truth = functional.nll_loss(learnt, batch.labels.clamp(min=0), reduction="none")
        share = self.weight * known.float().mean()
        return (1 - share) * loss + self.weight * (truth * known).mean()


def distil(context: Context, settings: DistilSettings) -> PhaseOutcome:
    """Train towards the teacher until the stop rule or a cap."""
    return Distilling(context, settings).run()


KIND = PhaseKind(DistilSettings, distil, serves=("images", "vectors"))
