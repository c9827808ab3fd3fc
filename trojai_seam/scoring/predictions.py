"""What a network answers, kept per example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..tasks import ExampleSet, Task

BATCH = 256


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of one network to N examples, on the CPU.

    Attributes:
        outputs: raw scores, ``float32 [N, …]``.
        correct: ``bool [N]``, the true label was given. Non-finite scores are never correct.
        hit: ``bool [N]``, the attacker's label was given; all false for clean examples.
        attackable: ``bool [N]``, the attacker's label differs from the true one, so that a hit means something.
        finite: ``bool [N]``, all scores of the example are finite.
        labelled: ``bool [N]``, the true label is known (not negative); None if it always is.
    """

    outputs: NDArray[np.float32]
    correct: NDArray[np.bool_]
    hit: NDArray[np.bool_]
    attackable: NDArray[np.bool_]
    finite: NDArray[np.bool_]
    labelled: NDArray[np.bool_] | None = None


@torch.no_grad()
def predict(model: nn.Module, task: Task, examples: ExampleSet, batch_size: int = BATCH) -> Predictions:
    """Ask ``model`` (put into eval mode) about all ``examples``, on the device where they are."""
    model.eval()
    parts = []
    for begin in range(0, len(examples), batch_size):
        inputs = {name: tensor[begin : begin + batch_size] for name, tensor in examples.inputs.items()}
        parts.append(task.outputs(model, inputs))
    outputs = torch.cat(parts)
    correct = task.correct(outputs, examples.labels)
    if examples.targets is None:
        hit = attackable = torch.zeros_like(correct)
    else:
        hit = task.correct(outputs, examples.targets)
        attackable = (examples.targets != examples.labels).reshape(len(examples), -1).any(dim=1)
    return Predictions(
        outputs=outputs.float().cpu().numpy(),
        correct=correct.cpu().numpy(),
        hit=hit.cpu().numpy(),
        attackable=attackable.cpu().numpy(),
        finite=task.finite(outputs).cpu().numpy(),
        labelled=(examples.labels.reshape(len(examples), -1) >= 0).any(dim=1).cpu().numpy(),
    )
