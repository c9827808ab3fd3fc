"""Train on the true labels, away from what the last layer was: features have to shift, and a trojan's go with them.

``product`` and ``keep_norm``: Min et al., "Towards Stable Backdoor Purification through Feature Shift Tuning" (FST),
NeurIPS 2023, arXiv 2310.01875. ``cosine`` of the rows that were drawn anew: Min, Pham and Sun (ULRL), arXiv 2405.14781.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..context import Context
from ..network_parts import class_layer
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Batch, Training
from ..training_settings import TrainingSettings


class TrainAwaySettings(TrainingSettings):
    """How far the last layer is kept from where it was."""

    kind: Literal["train-away"] = "train-away"
    alpha: float = Field(default=0.1, ge=0, le=1e3)
    """Weight of the likeness in the loss."""
    alpha_many_classes: float | None = Field(default=None, ge=0, le=1e3)
    """Instead of ``alpha`` for a network of at least ``many_classes``; unset: no difference."""
    many_classes: int = Field(default=20, ge=2, le=1_000_000)
    """From how many classes on ``alpha_many_classes`` counts."""
    likeness: Literal["product", "cosine"] = "product"
    """``product``: the inner product of the weights with those as shipped; ``cosine``: the cosine of every row (one per
    class) with its row as shipped, summed."""
    rows: Literal["all", "changed"] = "all"
    """``changed``: only rows that were not as shipped when the phase began."""
    keep_norm: bool = False
    """After every step the weights are made as long as they were in the network as shipped, all rows together."""


class TrainingAway(Training[TrainAwaySettings]):
    """Cross-entropy plus alpha times the likeness."""

    def begin(self) -> None:
        context, settings = self.context, self.settings
        self.layer = class_layer(context.model, context.task)
        self.shipped = class_layer(context.shipped, context.task).weight.detach().flatten(1)
        here = self.layer.weight.detach().flatten(1)
        changed = (here != self.shipped).any(dim=1)
        self.chosen = changed if settings.rows == "changed" else torch.ones_like(changed)
        many = settings.alpha if settings.alpha_many_classes is None else settings.alpha_many_classes
        self.alpha = many if context.task.num_classes >= settings.many_classes else settings.alpha
        self.length = self.shipped.norm()

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        here = self.layer.weight.flatten(1)
        if self.settings.likeness == "product":
            like = (here * self.shipped).sum(dim=1)
        else:
            like = functional.cosine_similarity(here, self.shipped, dim=1)
        return super().loss(inputs, batch) + self.alpha * (like * self.chosen).sum()

    def after_step(self) -> None:
        if self.settings.keep_norm:
            weight = self.layer.weight
            weight.mul_(self.length / weight.norm().clamp_min(torch.finfo(weight.dtype).tiny))


def train_away(context: Context, settings: TrainAwaySettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return TrainingAway(context, settings).run()


def check(context: Context, settings: TrainAwaySettings) -> None:
    """Refuse a network that does not end in a layer with one row per class."""
    class_layer(context.model, context.task)


KIND = PhaseKind(TrainAwaySettings, train_away, serves=("images", "vectors", "tokens"), check=check)
