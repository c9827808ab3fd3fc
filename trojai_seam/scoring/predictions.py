"""What a network answers, and what its answers are worth, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..tasks import ExampleSet, Marks, Measure, Task
from ..tasks.calling import BATCH, all_outputs


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of one network to N examples, on the CPU.

    Attributes:
        outputs: raw scores, ``float32 [N, …]``.
        right: how much of every example is right; non-finite scores are never right.
        hits: how much of what was attacked gets the attacker's answer; nothing counts in clean examples.
        resisted: how much of what was attacked gets its true answer, where that is known.
        finite: ``bool [N]``, all scores of the example are finite.
        further: other figures of the task on these examples, by the name of their columns.
    """

    outputs: NDArray[np.float32]
    right: Measure
    hits: Marks
    resisted: Marks
    finite: NDArray[np.bool_]
    further: Mapping[str, Measure] = field(default_factory=dict)


def predict(model: nn.Module, task: Task, examples: ExampleSet, batch_size: int = BATCH) -> Predictions:
    """Ask ``model`` (put into eval mode) about all ``examples``, on the device where they are."""
    model.eval()
    outputs = all_outputs(model, task, examples, batch_size)
    answers, key = task.answers(outputs, examples).cpu(), examples.key()
    return Predictions(
        outputs=outputs.float().cpu().numpy(),
        right=task.marks(answers, key),
        hits=task.attack_marks(answers, key),
        resisted=task.robust_marks(answers, key),
        finite=task.finite(outputs).cpu().numpy(),
        further=task.further_marks(answers, key),
    )
