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
    from .train_work import train_on_labels

    return train_on_labels(context, settings)


def check(context: Context, settings: TrainSettings) -> None:
    """Refuse a uniform answer to what is not answered with classes."""
    if settings.labels == "uniform":
        from .train_work import check_classes

        check_classes(context.task)


KIND = PhaseKind(TrainSettings, train, check=check)
