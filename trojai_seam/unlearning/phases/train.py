"""Train on the true labels, which recovers and fine-tunes, or on random or uniform ones, which forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training_settings import TrainingSettings

if TYPE_CHECKING:
    from ..context import Context


class TrainSettings(TrainingSettings):
    """Training on labels."""

    kind: Literal["train"] = "train"
    labels: Literal["true", "random", "uniform"] = "true"
    """What is trained towards: ``true`` labels recover or fine-tune, ``random`` ones forget; ``uniform`` forgets, too,
    towards equal probabilities of all classes, the mean of random labels (maximum entropy)."""
    label_sampling: Literal["uniform", "wrong-only", "uniform-anywhere"] = "uniform"
    """Of random labels: ``uniform`` over all classes, ``wrong-only`` over all but the true one; for detectors
    ``uniform-anywhere`` draws the places of boxes as well as their classes."""
    fresh_labels: bool = True
    """New random labels for every batch; otherwise each example keeps the random label that it got first."""
    examples: int | None = Field(default=None, ge=1, le=10_000_000)
    """The phase sees only so many of the fit examples, classes in turn; its accuracies and stop rule are on those. As
    published for CIFAR-10: 50 to forget with, 5,000 to recover. Unset: all."""

    @property
    def forgets(self) -> bool:
        """Whether the stop rule is met below its threshold."""
        return self.labels != "true"


def train(context: Context, settings: TrainSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    from ..random_labels import OnRandomLabels
    from ..training import Training
    from ..uniform_targets import TowardsUniform

    training = {"random": OnRandomLabels, "uniform": TowardsUniform}.get(settings.labels, Training)
    everything = context.fit
    if settings.examples is None or settings.examples >= len(everything):
        return training(context, settings).run()
    context.use(everything.subset(_few(context, settings.examples)))
    try:
        return training(context, settings).run()
    finally:
        context.use(everything)


def _few(context: Context, count: int) -> list[int]:
    """Places of ``count`` fit examples, the classes in turn, by the seed; more of them have the fewer among them."""
    import torch

    from ..batches import classes_in_turn

    labels = context.ground_truth.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(context.seed))
    some = order[classes_in_turn(labels[order], count)] if labels.ndim == 1 else order[:count]
    return sorted(some.tolist())


def check(context: Context, settings: TrainSettings) -> None:
    """Refuse a uniform answer to what is not answered with classes."""
    if settings.labels == "uniform":
        from ..uniform_targets import check_classes

        check_classes(context.task)


KIND = PhaseKind(TrainSettings, train, check=check)
