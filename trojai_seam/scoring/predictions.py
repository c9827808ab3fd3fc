"""What a network answers, and what its answers are worth, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..tasks import ExampleSet, Marks, Measure, Task
from ..tasks.calling import BATCH, all_outputs


@dataclass(frozen=True, eq=False)
class Answered:
    """Scores of one network for N examples, on the CPU.

    Attributes:
        outputs: raw scores, ``float32 [N, …]``.
        finite: ``bool [N]``, all scores of the example are finite.
    """

    outputs: NDArray[np.float32]
    finite: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions(Answered):
    """Of N clean examples.

    Attributes:
        accuracy: how much of every example is right; non-finite scores are never right.
        further: other figures of the task on these examples, by the name of their columns.
        counts: ``int64 [N]`` each: what the task counts per example, likewise.
    """

    accuracy: Measure
    further: Mapping[str, Measure] = field(default_factory=dict)
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AttackPredictions(Answered):
    """Of N poisoned examples.

    Attributes:
        attack_success: how much of what was attacked gets the attacker's answer.
        robust: how much of what was attacked gets its true answer, where that is known.
    """

    attack_success: Marks
    robust: Marks


def predict(model: nn.Module, task: Task, clean: ExampleSet, batch_size: int = BATCH) -> Predictions:
    """Ask ``model`` (put into eval mode) about all ``clean`` examples, on the device where they are."""
    outputs, predictions = _asked(model, task, clean, batch_size)
    marks = task.marks(predictions, clean.ground_truth())
    return Predictions(*_kept(task, outputs), accuracy=marks.accuracy, further=marks.further, counts=marks.counts)


def predict_attacks(model: nn.Module, task: Task, poisoned: ExampleSet, batch_size: int = BATCH) -> AttackPredictions:
    """As :func:`predict`, about ``poisoned`` examples. How much of them is right as a whole says nothing, and is not
    looked at."""
    outputs, predictions = _asked(model, task, poisoned, batch_size)
    marks = task.attack_marks(predictions, poisoned.ground_truth())
    return AttackPredictions(*_kept(task, outputs), attack_success=marks.attack_success, robust=marks.robust)


def _asked(model: nn.Module, task: Task, examples: ExampleSet, batch_size: int) -> tuple[Tensor, Tensor]:
    """Scores where the examples are, and predictions on the CPU."""
    model.eval()
    outputs = all_outputs(model, task, examples, batch_size)
    return outputs, task.predictions(outputs, examples).cpu()


def _kept(task: Task, outputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return outputs.float().cpu().numpy(), task.finite(outputs).cpu().numpy()
