"""What makes the figures of a row doubtful before anything is unlearned. Notes for people; they decide nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scoring import AttackPredictions, Predictions
from ..tasks import Subject

FEWEST = 5
"""Images of a class, and attacked images, below which nothing is said of them."""


def doubts(subject: Subject, clean: Predictions, poisoned: AttackPredictions | None) -> str | None:
    """One line if the model as shipped is far from what such models are; None if nothing is odd.

    Args:
        subject: the model.
        clean: its answers to all clean examples.
        poisoned: to the poisoned ones.
    """
    found = []
    if subject.task.name == "classification":
        found += _accuracy(clean.outputs.argmax(axis=1), subject.clean.labels.cpu().numpy(), subject.task.num_classes)
        found += _attack(poisoned)
    return "; ".join(found) or None


def _accuracy(answers: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> list[str]:
    known = labels >= 0
    answers, labels = answers[known], labels[known]
    if len(labels) < FEWEST:
        return []
    accuracy = float((answers == labels).mean())
    if accuracy >= (1 + 1 / classes) / 2:
        return []
    told = f"accuracy before is only {accuracy:.2f} on {len(labels)} clean images"
    order = _other_order(answers, labels, accuracy)
    return [
        f"{told}: {order}"
        if order
        else f"{told}: were size, scaling, mean and std, and channel order those of training?"
    ]


def _other_order(answers: NDArray[np.int64], labels: NDArray[np.int64], accuracy: float) -> str | None:
    """Whether the network knows the classes, but by other numbers."""
    usual: dict[int, int] = {}
    for label in np.unique(labels):
        given = answers[labels == label]
        if len(given) < FEWEST:
            return None
        usual[int(label)] = int(np.bincount(given).argmax())
    if len(set(usual.values())) < len(usual):
        return None
    renamed = float((answers == np.array([usual[int(label)] for label in labels])).mean())
    if renamed < 0.5 or renamed < accuracy + 0.2:
        return None
    moved = [f"{label} as {answer}" for label, answer in usual.items() if label != answer]
    return f"the classes seem to be in another order (answered: class {', '.join(moved[:4])}; renamed so {renamed:.2f})"


def _attack(poisoned: AttackPredictions | None) -> list[str]:
    if poisoned is None or poisoned.hits.units < FEWEST:
        return []
    rate = poisoned.hits.share or 0.0
    if rate >= 0.2:
        return []
    return [f"attack success before is only {rate:.2f}: are trigger, place and target this model's?"]
