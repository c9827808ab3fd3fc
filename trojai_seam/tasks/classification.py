"""Single-label classification of images, feature vectors or embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem


class Classification:
    """One label per example; the prediction is the largest of C logits.

    Chance is ``max(1/C, share of the most frequent label)``: with ten examples of two classes, a network that always
    answers "benign" is right half the time without knowing anything.
    """

    name = "classification"

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        scores: Tensor = model(inputs["x"])
        return scores

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels)

    def random_labels(self, labels: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        shape = labels.shape
        if sampling == "uniform":
            drawn = torch.randint(0, self.num_classes, shape, generator=generator)
            return drawn.to(labels.device)
        if sampling == "wrong-only":
            if self.num_classes < 2:
                raise UsageProblem("label sampling 'wrong-only' needs at least two classes")
            # A shift by 1 … C-1 reaches every class but the true one, each equally often.
            shift = torch.randint(1, self.num_classes, shape, generator=generator).to(labels.device)
            return (labels + shift) % self.num_classes
        raise UsageProblem(f"label sampling {sampling!r} is not one of 'uniform', 'wrong-only'")

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == labels) & self.finite(outputs)

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).all(dim=1)

    def chance(self, labels: Tensor) -> float:
        if len(labels) == 0:
            return 1.0 / self.num_classes
        most = torch.bincount(labels, minlength=self.num_classes).max().item() / len(labels)
        return max(1.0 / self.num_classes, float(most))
