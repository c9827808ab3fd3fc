"""Soft masks on all weights of all convolutions, learnt against one perturbation that is laid over every image.

In every round the perturbation starts from nothing and learns to change as many answers as it can within a budget; then
the masks learn to answer perturbed and clean images alike with their labels. Chai and Chen, "One-shot Neural Backdoor
Erasing via Adversarial Weight Masking" (AWM), NeurIPS 2022, arXiv 2207.04497.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..adversarial import span, universal
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..settings import Share
from ..training import Batch
from ..training_settings import TrainingSettings
from ..weight_masks import MaskTraining, convolutions, learn_and_keep


class MaskWeightsSettings(TrainingSettings):
    """An epoch is a round: as many steps of the perturbation, then of the masks."""

    kind: Literal["mask-weights"] = "mask-weights"
    budget: float = Field(default=0.3255, ge=0, le=100)
    """Mean absolute value that the perturbation may have over an image, in units of the range that images are in:
    published as a sum of 1,000 (of 100 for one image per class) over the 3 · 32 · 32 values of CIFAR-10 in 0 … 1."""
    attack_rate: float = Field(default=10.0, ge=0, le=1e6)
    """Learning rate of the perturbation, in units of that range squared."""
    alpha: Share = 0.9
    """Share of the loss on clean images; that on perturbed ones has the rest."""
    gamma: float = Field(default=1e-8, ge=0, le=1e6)
    """Weight of the sum of all masks."""


class WeightMasking(MaskTraining[MaskWeightsSettings]):
    """The network is in eval mode all the time, as published."""

    perturbation: Tensor

    def __init__(self, context: Context, settings: MaskWeightsSettings) -> None:
        super().__init__(context, settings, convolutions(context.model))

    def mode(self) -> None:
        self.context.model.eval()

    def _epoch(self) -> list[Batch]:
        batches = super()._epoch()
        self.perturbation = self.attack(batches)
        return batches

    def attack(self, batches: list[Batch]) -> Tensor:
        """A perturbation ``[1, C, H, W]`` that makes the network give other answers than it does now."""
        context, settings = self.context, self.settings
        task, model = context.task, context.model

        def images_of(batch: Batch) -> Tensor:
            return context.fit.rows(batch.where, batch.at)["x"]

        def agreement(images: Tensor) -> Callable[[Tensor], Tensor]:
            with torch.no_grad():
                said = task.outputs(model, {"x": images}).argmax(dim=1)
            return lambda change: functional.cross_entropy(task.outputs(model, {"x": images + change}), said)

        blank, wide = torch.zeros_like(images_of(batches[0])[:1]), span(images_of(batches[-1]))
        shown = (images_of(batch) for batch in batches)
        with self.masks.applied():
            steps = ((agreement(images), -settings.attack_rate * span(images) ** 2) for images in shown)
            found = universal(blank, steps)
        return found * (settings.budget * wide / found.abs().mean().clamp_min(1e-12)).clamp(max=1)

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        task, masked, alpha, images = self.context.task, self.masked(), self.settings.alpha, inputs["x"]
        perturbed = (images + self.perturbation).clamp(images.amin(), images.amax())
        clean = task.loss(masked, inputs, batch.labels)
        robust = task.loss(masked, {**inputs, "x": perturbed}, batch.labels)
        total = torch.stack([mask.abs().sum() for mask in self.masks.values.values()]).sum()
        return alpha * clean + (1 - alpha) * robust + self.settings.gamma * total


def mask_weights(context: Context, settings: MaskWeightsSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap; the masks become part of the network."""
    return learn_and_keep(WeightMasking(context, settings))


def check(context: Context, settings: MaskWeightsSettings) -> None:
    """Raises :class:`EngineFailure` for a network without convolutions."""
    convolutions(context.model)


KIND = PhaseKind(MaskWeightsSettings, mask_weights, serves=("images",), check=check)
