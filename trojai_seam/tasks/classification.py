"""Single-label classification of images, feature vectors, embeddings or texts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem
from .calling import call, logits
from .examples import ExampleSet
from .marks import AttackMarks, CleanMarks, Marks

NO_ANSWER = -2
"""The answer of a network whose scores are not finite; no label equals it."""


def random_classes(labels: Tensor, num_classes: int, sampling: str, generator: torch.Generator) -> Tensor:
    """A random class for each of ``labels`` (any shape, CPU); see ``Task.random_labels``.

    Raises:
        UsageProblem: unknown sampling, or ``wrong-only`` with a single class.
    """
    if sampling == "uniform":
        return torch.randint(0, num_classes, labels.shape, generator=generator)
    if sampling == "wrong-only":
        if num_classes < 2:
            raise UsageProblem("label sampling 'wrong-only' needs at least two classes")
        # A shift by 1 … C-1 reaches every class but the true one, each equally often.
        shift = torch.randint(1, num_classes, labels.shape, generator=generator)
        return (labels + shift) % num_classes
    raise UsageProblem(f"label sampling {sampling!r} is not one of 'uniform', 'wrong-only'")


class Classification:
    """One label per example, ``int64 [N]``; the answer is the largest of C logits.

    Chance is ``max(1/C, share of the most frequent label)``: with ten examples of two classes, a network that always
    answers "benign" is right half the time without knowing anything.
    """

    name = "classification"
    places = False

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        return logits(call(model, inputs))

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.outputs(model, inputs), labels)

    def random_labels(self, key: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        return random_classes(key.labels[order], self.num_classes, sampling, generator)

    def answers(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        return outputs.argmax(dim=1).masked_fill(~self.finite(outputs), NO_ANSWER)

    def marks(self, answers: Tensor, key: ExampleSet) -> CleanMarks:
        return CleanMarks(Marks.of_examples((answers == key.labels).numpy()))

    def attack_marks(self, answers: Tensor, key: ExampleSet) -> AttackMarks:
        """An example whose true label is the attacker's proves nothing and does not count."""
        if key.targets is None:
            return AttackMarks.nothing(len(key))
        attacked = key.targets != key.labels
        return AttackMarks(
            Marks.of_examples((answers == key.targets).numpy(), attacked.numpy()),
            Marks.of_examples((answers == key.labels).numpy(), (attacked & (key.labels >= 0)).numpy()),
        )

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).all(dim=1)

    def strata(self, key: ExampleSet) -> list[int]:
        return [int(label) for label in key.labels.tolist()]

    def fit_accuracy(self, answers: Tensor, key: ExampleSet) -> float:
        return float((answers == key.labels).float().mean())

    def chance(self, key: ExampleSet) -> float:
        if len(key) == 0:
            return 1.0 / self.num_classes
        most = torch.bincount(key.labels, minlength=self.num_classes).max().item() / len(key)
        return max(1.0 / self.num_classes, float(most))

    def guess(self, key: ExampleSet) -> float:
        return 1.0 / self.num_classes
