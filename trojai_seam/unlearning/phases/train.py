"""Train on the true labels, which recovers and fine-tunes, or on random ones, which forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training_settings import TrainingSettings

if TYPE_CHECKING:
    from ..context import Context


class TrainSettings(TrainingSettings):
    """Training on labels."""

    kind: Literal["train"] = "train"
    labels: Literal["true", "random"] = "true"
    label_sampling: Literal["uniform", "wrong-only", "uniform-anywhere"] = "uniform"
    """Of random labels: ``uniform`` over all classes, ``wrong-only`` over all but the true one; for detectors
    ``uniform-anywhere`` draws the places of boxes as well as their classes."""
    fresh_labels: bool = True
    """New random labels for every batch; otherwise each example keeps the random label that it got first."""


def train(context: Context, settings: TrainSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    from ..random_labels import OnRandomLabels
    from ..training import Training

    training = OnRandomLabels if settings.labels == "random" else Training
    return training(context, settings).run()


KIND = PhaseKind(TrainSettings, train)
