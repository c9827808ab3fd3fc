"""FST-like: re-initialise the head, then train it away from where it was.

Idea: Min et al., "Towards Stable Backdoor Purification through Feature Shift Tuning", NeurIPS 2023, arXiv 2310.01875.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trojai_seam.unlearning.context import Context
from trojai_seam.unlearning.outcome import PhaseOutcome
from trojai_seam.unlearning.phase_kinds import PhaseKind
from trojai_seam.unlearning.training import Batch, Training
from trojai_seam.unlearning.training_mode import head
from trojai_seam.unlearning.training_settings import TrainingSettings


class HeadShiftSettings(TrainingSettings):
    """How far the head is to go."""

    kind: Literal["shift-head"] = "shift-head"
    alpha: float = Field(default=0.1, ge=0, le=100)
    """Weight of the product of the head with the one that was shipped."""


class HeadShift(Training[HeadShiftSettings]):
    """Cross-entropy plus alpha · ⟨W, W₀⟩; after every step W is as long as W₀ was."""

    def begin(self) -> None:
        layer = head(self.context.model)
        self.shipped = layer.weight.detach().clone()
        bound = 1 / math.sqrt(self.shipped[0].numel())
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                drawn = torch.rand(parameter.shape, generator=self.context.generator)
                parameter.copy_(bound * (2 * drawn - 1))

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        product = (head(self.context.model).weight * self.shipped).sum()
        return super().loss(inputs, batch) + self.settings.alpha * product

    def after_step(self) -> None:
        weight = head(self.context.model).weight
        weight.mul_(self.shipped.norm() / weight.norm().clamp_min(1e-12))


def shift_head(context: Context, settings: HeadShiftSettings) -> PhaseOutcome:
    """Re-initialise, then train."""
    return HeadShift(context, settings).run()


KIND = PhaseKind(HeadShiftSettings, shift_head, serves=("images", "vectors"))
