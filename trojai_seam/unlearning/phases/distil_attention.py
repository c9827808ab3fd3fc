"""Recover by attention: where in an image the network is active shall be where the teacher is, stage by stage.

Neural attention distillation: Li et al., "Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural
Networks", ICLR 2021, arXiv 2101.05930.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ...errors import EngineFailure
from ..context import Context
from ..feature_maps import MapWatch, attention_map, calls_of, stages
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Batch, Training
from ..training_settings import TrainingSettings


class DistilAttentionSettings(TrainingSettings):
    """What the maps count for, beside the true labels."""

    kind: Literal["distil-attention"] = "distil-attention"
    betas: tuple[Annotated[float, Field(ge=0, le=1e9)], ...] = Field(default=(500.0, 1000.0, 1000.0), min_length=1)
    """Weights of the losses on the last stages of the network, its very last stage last; a network with fewer stages
    takes the last of them."""


class AttentionDistilling(Training[DistilAttentionSettings]):
    """Cross-entropy on the true labels, plus the weighted mean squares between attention maps."""

    def __init__(self, context: Context, settings: DistilAttentionSettings, teacher: nn.Module) -> None:
        super().__init__(context, settings)
        self.teacher = teacher

    def begin(self) -> None:
        found = stages(calls_of(self.context))[-len(self.settings.betas) :]
        self.betas, self.watch = self.settings.betas[-len(found) :], MapWatch(found)

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        context, teacher = self.context, self.teacher
        with torch.no_grad(), self.watch.of(teacher) as taught:
            context.task.outputs(teacher, inputs)
        with self.watch.of(context.model) as learnt:
            loss = super().loss(inputs, batch)
        for beta, mine, theirs in zip(self.betas, learnt, taught, strict=True):
            loss = loss + beta * functional.mse_loss(attention_map(mine.float()), attention_map(theirs.float()))
        return loss


def distil_attention(context: Context, settings: DistilAttentionSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    if context.teacher is None:
        raise EngineFailure(f"phase {settings.name} has no teacher")
    return AttentionDistilling(context, settings, context.teacher).run()


def check(context: Context, settings: DistilAttentionSettings) -> None:
    """Raises :class:`EngineFailure` for a network without feature maps, or where no earlier phase makes a teacher."""
    kinds = [phase.kind for phase in context.config.phases[: context.config.phases.index(settings)]]
    if "train-teacher" not in kinds:
        raise EngineFailure(f"phase {settings.name} (distil-attention) needs a phase of kind train-teacher before it")
    if not stages(calls_of(context)):
        raise EngineFailure("the network makes no feature maps that attention could be read from; use another --preset")


KIND = PhaseKind(DistilAttentionSettings, distil_attention, serves=("images",), check=check)
