"""Training on random labels: SEAM's forgetting."""

from __future__ import annotations

import torch
from torch import Tensor

from .phases.train import TrainSettings
from .training import Training


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
        return context.task.random_labels(context.ground_truth, order, self.settings.label_sampling, context.generator)
