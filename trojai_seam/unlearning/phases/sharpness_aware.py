"""Train for flat minima: the gradient of every step is taken where the loss is worst near the weights.

Adaptive sharpness-aware minimisation: Kwon et al., "ASAM", ICML 2021, arXiv 2102.11600. As a repair of trojaned
networks: Zhu et al., "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization" (FT-SAM), ICCV
2023, arXiv 2304.11823: it shrinks the neurons that a trojan uses more than plain fine-tuning does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ...errors import EngineFailure
from ...tasks.classification import Classification
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..settings import Share
from ..sharpness import sharpest, still_statistics
from ..training import Batch, Training
from ..training_settings import TrainingSettings


class SharpnessAwareSettings(TrainingSettings):
    """How far around the weights is looked."""

    kind: Literal["sharpness-aware"] = "sharpness-aware"
    rho: float = Field(default=2.0, ge=0, le=1e3)
    """How far the weights are moved before the gradient of a step is taken."""
    adaptive: bool = True
    """Every weight is moved in proportion to its square (ASAM); otherwise all alike (SAM)."""
    label_smoothing: Share = 0.0
    """This share of the target goes to the other classes; for one label per example."""


class SharpnessAware(Training[SharpnessAwareSettings]):
    """Two gradients per step: the first says where to go, the second one, there, is the step's. BatchNorm statistics
    move with the first pass only."""

    home: Sequence[tuple[Tensor, Tensor]] = ()

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        first = self._smoothed(inputs, batch)
        weights = [p for p in self.context.model.parameters() if p.requires_grad]
        if not first.requires_grad:
            return first
        # Of weights that took no part it is zero.
        gradients = torch.autograd.grad(first, weights, allow_unused=True, materialize_grads=True)
        moved = [weight.detach() for weight in weights]
        with torch.no_grad():
            away = sharpest(moved, gradients, self.settings.rho, self.settings.adaptive)
            self.home = [(weight, weight.clone()) for weight in moved]
            for weight, by in zip(moved, away, strict=True):
                weight.add_(by)
        with still_statistics(self.context.model):
            return self._smoothed(inputs, batch)

    def before_update(self) -> None:
        for weight, was in self.home:
            weight.copy_(was)
        self.home = ()

    def _smoothed(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        if not self.settings.label_smoothing:
            return super().loss(inputs, batch)
        task = self.context.task
        # torch spreads its share over all classes, the true one included; here the true one keeps the rest whole.
        share = self.settings.label_smoothing * task.num_classes / max(1, task.num_classes - 1)
        scores = task.outputs(self.context.model, inputs)
        return functional.cross_entropy(scores, batch.labels, label_smoothing=min(1.0, share))


def sharpness_aware(context: Context, settings: SharpnessAwareSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return SharpnessAware(context, settings).run()


def check(context: Context, settings: SharpnessAwareSettings) -> None:
    """Refuse to smooth labels where examples have more than one."""
    if settings.label_smoothing and not isinstance(context.task, Classification):
        what = f"{settings.name}.label_smoothing"
        raise EngineFailure(f"{what} is for one label per example, this network does {context.task.name}; set it to 0")


KIND = PhaseKind(SharpnessAwareSettings, sharpness_aware, check=check)
