"""What the answers of a model as shipped say of what it was given: classes in another order, another's trigger."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..tasks import Subject
from .predictions import AttackPredictions, Predictions

FEWEST = 5
"""Images of a class, and attacked images, below which nothing is said of them."""


def model_doubts(subject: Subject, clean: Predictions, poisoned: AttackPredictions | None) -> str | None:
    """One line, for classifiers; None if nothing is odd.

    Args:
        subject: the model.
        clean: its answers to all clean examples.
        poisoned: to the poisoned ones.
    """
    if subject.task.name != "classification":
        return None
    labels = subject.clean.labels.cpu().numpy()
    known = labels >= 0
    found = [_other_order(clean.outputs.argmax(axis=1)[known], labels[known]), _attack(poisoned)]
    return "; ".join(one for one in found if one) or None


def _other_order(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> str | None:
    """Whether the network knows the classes, but by other numbers."""
    accuracy = float((answers == labels).mean()) if len(labels) else 1.0
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


def _attack(poisoned: AttackPredictions | None) -> str | None:
    if poisoned is None or poisoned.attack_success.units < FEWEST:
        return None
    rate = poisoned.attack_success.share or 0.0
    return None if rate >= 0.2 else f"attack success before is only {rate:.2f}: are trigger and target this model's?"
