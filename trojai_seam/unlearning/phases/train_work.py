"""Training on true, random and uniform labels.

Random ones are SEAM's forgetting. Uniform ones are what these mean on average, without their noise: Liu et al.,
"Maximum Entropy Loss, the Silver Bullet Targeting Backdoor Attacks in Pre-trained Language Models", Findings of ACL
2023 (237).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import EngineFailure
from ...tasks import NOT_COUNTED, Task
from ..batches import classes_in_turn
from ..context import Context
from ..outcome import PhaseOutcome
from ..training import Batch, Training
from .train import TrainSettings

SERVED = ("classification", "token-classification")
"""Tasks whose scores are of classes; those of spans and boxes have no uniform answer."""


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


def negative_entropy(scores: Tensor) -> Tensor:
    """Σ p log p over the last dimension of ``scores`` ``float [..., C]``: ``[...]``, from -log C (uniform) to 0."""
    scores = scores.float()  # both functions go row by row, so that a stack gives what a network alone gives
    return (scores.softmax(dim=-1) * scores.log_softmax(dim=-1)).sum(dim=-1)


def train_on_labels(context: Context, settings: TrainSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap, on as many of the fit examples as the settings say."""
    training = {"random": OnRandomLabels, "uniform": TowardsUniform}.get(settings.labels, Training)
    everything = context.fit
    if settings.examples is None or settings.examples >= len(everything):
        return training(context, settings).run()
    context.use(everything.subset(few(context, settings.examples)))
    try:
        return training(context, settings).run()
    finally:
        context.use(everything)


def few(context: Context, count: int) -> list[int]:
    """Places of ``count`` fit examples, the classes in turn, by the seed; more of them have the fewer among them."""
    labels = context.ground_truth.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(context.seed))
    some = order[classes_in_turn(labels[order], count)] if labels.ndim == 1 else order[:count]
    return sorted(some.tolist())


def check_classes(task: Task) -> None:
    """Raises :class:`EngineFailure` for a task whose scores are not of classes."""
    if task.name not in SERVED:
        raise EngineFailure(f"labels=uniform is for classes, this network does {task.name}; use labels=random")
