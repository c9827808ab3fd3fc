"""Training towards equal probabilities: what random labels mean on average, without their noise.

Liu et al., "Maximum Entropy Loss, the Silver Bullet Targeting Backdoor Attacks in Pre-trained Language Models",
Findings of ACL 2023 (237).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EngineFailure
from ..tasks import NOT_COUNTED, Task
from .phases.train import TrainSettings
from .training import Batch, Training

SERVED = ("classification", "token-classification")
"""Tasks whose scores are of classes; those of spans and boxes have no uniform answer."""


def negative_entropy(scores: Tensor) -> Tensor:
    """Σ p log p over the last dimension of ``scores`` ``float [..., C]``: ``[...]``, from -log C (uniform) to 0."""
    scores = scores.float()  # both functions go row by row, so that a stack gives what a network alone gives
    return (scores.softmax(dim=-1) * scores.log_softmax(dim=-1)).sum(dim=-1)


def check_classes(task: Task) -> None:
    """Raises :class:`EngineFailure` for a task whose scores are not of classes."""
    if task.name not in SERVED:
        raise EngineFailure(f"labels=uniform is for classes, this network does {task.name}; use labels=random")


class TowardsUniform(Training[TrainSettings]):
    """Forgetting by maximum entropy: the loss is the mean negative entropy of the answers, labels say only which tokens
    count; the stop rule is met below its threshold."""

    forgets = True

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        losses = negative_entropy(self.context.task.outputs(self.context.model, inputs))
        if losses.ndim == 1:
            return losses.mean()
        counted = batch.labels[:, : losses.shape[1]] != NOT_COUNTED
        return torch.where(counted, losses, 0.0).sum() / counted.sum().clamp(min=1)
