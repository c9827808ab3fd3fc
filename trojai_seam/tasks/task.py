"""The interface of a task, and the registry of tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from ..registry import Registry


class Task(Protocol):
    """Stateless; one instance serves every model that does the same thing with the same number of classes."""

    name: str
    num_classes: int

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """Call the network. Returns raw scores with the batch as first dimension (``float [N, C]`` for classifiers)."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean training loss, a scalar."""
        ...

    def random_labels(self, labels: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        """Random targets to forget with, same shape and device as ``labels``.

        ``sampling`` is ``"uniform"`` (over all classes) or ``"wrong-only"`` (uniform over all but the true one).
        ``generator`` lives on the CPU, so that a GPU run draws the same labels as a CPU run.
        """
        ...

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """``bool [N]``: does the prediction equal the label? Non-finite outputs are never correct."""
        ...

    def finite(self, outputs: Tensor) -> Tensor:
        """``bool [N]``: are all scores of the example finite?"""
        ...

    def chance(self, labels: Tensor) -> float:
        """Accuracy of the best constant answer on ``labels``, or 1/C if that is larger: what "knows nothing" means."""
        ...


TASKS: Registry[type] = Registry("task")
TASKS.add("classification", "trojai_seam.tasks.classification:Classification")


def get_task(name: str, num_classes: int) -> Task:
    """The task called ``name`` for a network with ``num_classes`` outputs.

    Raises:
        UsageProblem: there is no such task.
    """
    task: Task = TASKS.get(name)(num_classes)
    return task
