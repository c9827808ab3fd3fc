"""Train on the true labels, which recovers and fine-tunes, or on random ones, which forgets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Training
from ..training_settings import TrainingSettings


class TrainSettings(TrainingSettings):
    """Training on labels."""

    kind: Literal["train"] = "train"
    labels: Literal["true", "random"] = "true"
    label_sampling: Literal["uniform", "wrong-only", "uniform-anywhere"] = "uniform"
    """Of random labels: ``uniform`` over all classes, ``wrong-only`` over all but the true one; for detectors
    ``uniform-anywhere`` draws the places of boxes as well as their classes."""
    fresh_labels: bool = True
    """New random labels for every batch; otherwise each example keeps the random label that it got first."""


class OnRandomLabels(Training[TrainSettings]):
    """SEAM's forgetting: the stop rule is met below its threshold."""

    forgets = True
    _kept: Tensor | None = None

    def begin(self) -> None:
        if not self.settings.fresh_labels:
            self._kept = self._drawn(torch.arange(len(self.context.fit)))

    def labels(self, order: Tensor) -> Tensor:
        return self._drawn(order) if self._kept is None else self._kept[order]

    def _drawn(self, order: Tensor) -> Tensor:
        context = self.context
        return context.task.random_labels(context.key, order, self.settings.label_sampling, context.generator)


def train(context: Context, settings: TrainSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    training = OnRandomLabels if settings.labels == "random" else Training
    return training(context, settings).run()


KIND = PhaseKind(TrainSettings, train)
