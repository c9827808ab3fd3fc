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

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        return random_classes(truth.labels[order], self.num_classes, sampling, generator)

    def predictions(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        return outputs.argmax(dim=1).masked_fill(~self.finite(outputs), NO_ANSWER)

    def marks(self, predictions: Tensor, truth: ExampleSet) -> CleanMarks:
        return CleanMarks(Marks.of_examples((predictions == truth.labels).numpy()))

    def attack_marks(self, predictions: Tensor, truth: ExampleSet) -> AttackMarks:
        """An example whose true label is the attacker's proves nothing and does not count."""
        if truth.targets is None:
            return AttackMarks.nothing(len(truth))
        attacked = truth.targets != truth.labels
        return AttackMarks(
            Marks.of_examples((predictions == truth.targets).numpy(), attacked.numpy()),
            Marks.of_examples((predictions == truth.labels).numpy(), (attacked & (truth.labels >= 0)).numpy()),
        )

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).all(dim=1)

    def strata(self, truth: ExampleSet) -> list[int]:
        return [int(label) for label in truth.labels.tolist()]

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        return float((predictions == truth.labels).float().mean())

    def chance(self, truth: ExampleSet) -> float:
        if len(truth) == 0:
            return 1.0 / self.num_classes
        most = torch.bincount(truth.labels, minlength=self.num_classes).max().item() / len(truth)
        return max(1.0 / self.num_classes, float(most))

    def guess(self, truth: ExampleSet) -> float:
        return 1.0 / self.num_classes
