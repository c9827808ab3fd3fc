"""Fine-tune with nothing but a number per channel, on mixed images, near to 1: made for a single image per class.

Masks on BatchNorm scales learn, weights stand still; images and labels are mixed in pairs (Zhang et al., "mixup", ICLR
2018); masks are drawn towards 1, the more so the fewer images there are, and early layers may change least. Karim et
al., "Augmented Neural Fine-Tuning for Efficient Backdoor Purification" (NFT), ECCV 2024, arXiv 2407.10052.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..settings import Share
from ..training import Batch
from ..training_settings import TrainingSettings
from ..weight_masks import MaskTraining, learn_and_keep, scaling_layers


class TuneMasksSettings(TrainingSettings):
    """How far the masks may go."""

    kind: Literal["tune-masks"] = "tune-masks"
    mixup: float = Field(default=1.0, ge=0, le=100)
    """Both parameters of the Beta distribution of the first image's share; 0: images are not mixed."""
    l1: float = Field(default=0.001, ge=0, le=1e6)
    """Weight of the sum of 1 - mask over all channels, divided by the number of fit examples per class."""
    lowest: Share = 0.8
    """A mask stays at ``lowest · exp(-depth · layer)`` or above, the first BatchNorm layer being layer 1."""
    depth: float = Field(default=0.5, ge=0, le=100)
    """How fast the lowest value that a mask may have falls from layer to layer, in the exponent."""


class MaskTuning(MaskTraining[TuneMasksSettings]):
    """On mixed images towards mixed labels."""

    def __init__(self, context: Context, settings: TuneMasksSettings) -> None:
        super().__init__(context, settings, scaling_layers(context.model))

    def lowest(self, layer: int) -> float:
        return self.settings.lowest * math.exp(-self.settings.depth * layer)

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        context, alpha = self.context, self.settings.mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0
        other = torch.randperm(len(batch.where), generator=context.generator).to(context.device)
        mixed = {name: share * x + (1 - share) * x[other] for name, x in inputs.items()}
        scores = context.task.outputs(self.masked(), mixed)
        labels = batch.labels, batch.labels[other]
        first, second = (functional.cross_entropy(scores, each) for each in labels)
        away = torch.stack([(1 - mask).abs().sum() for mask in self.masks.values.values()]).sum()
        per_class = len(context.fit) / context.task.num_classes
        return share * first + (1 - share) * second + self.settings.l1 / per_class * away


def tune(context: Context, settings: TuneMasksSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap; the masks become part of the network."""
    return learn_and_keep(MaskTuning(context, settings))


def check(context: Context, settings: TuneMasksSettings) -> None:
    """Raises :class:`EngineFailure` for a network without BatchNorm."""
    scaling_layers(context.model)


KIND = PhaseKind(TuneMasksSettings, tune, serves=("images", "vectors"), check=check)
