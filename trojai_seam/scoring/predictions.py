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
        right: how much of every example is right; non-finite scores are never right.
        further: other figures of the task on these examples, by the name of their columns.
        counts: ``int64 [N]`` each: what the task counts per example, likewise.
    """

    right: Measure
    further: Mapping[str, Measure] = field(default_factory=dict)
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AttackPredictions(Answered):
    """Of N poisoned examples.

    Attributes:
        hits: how much of what was attacked gets the attacker's answer.
        resisted: how much of what was attacked gets its true answer, where that is known.
    """

    hits: Marks
    resisted: Marks


def predict(model: nn.Module, task: Task, clean: ExampleSet, batch_size: int = BATCH) -> Predictions:
    """Ask ``model`` (put into eval mode) about all ``clean`` examples, on the device where they are."""
    outputs, answers = _asked(model, task, clean, batch_size)
    marks = task.marks(answers, clean.key())
    return Predictions(*_kept(task, outputs), right=marks.right, further=marks.further, counts=marks.counts)


def predict_attacks(model: nn.Module, task: Task, poisoned: ExampleSet, batch_size: int = BATCH) -> AttackPredictions:
    """As :func:`predict`, about ``poisoned`` examples. How much of them is right as a whole says nothing, and is not
    looked at."""
    outputs, answers = _asked(model, task, poisoned, batch_size)
    marks = task.attack_marks(answers, poisoned.key())
    return AttackPredictions(*_kept(task, outputs), hits=marks.hits, resisted=marks.resisted)


def _asked(model: nn.Module, task: Task, examples: ExampleSet, batch_size: int) -> tuple[Tensor, Tensor]:
    """Scores where the examples are, and answers on the CPU."""
    model.eval()
    outputs = all_outputs(model, task, examples, batch_size)
    return outputs, task.answers(outputs, examples).cpu()


def _kept(task: Task, outputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return outputs.float().cpu().numpy(), task.finite(outputs).cpu().numpy()
