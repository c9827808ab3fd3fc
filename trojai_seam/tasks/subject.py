"""What is to be unlearned: a rebuilt network, its task, its examples, its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .examples import ExampleSet
from .task import Task


@dataclass(frozen=True, eq=False)
class Subject:
    """One opened model directory.

    Attributes:
        model: the rebuilt network, eval mode, float32.
        task: how to call it and when it is right.
        clean: clean examples with true labels.
        poisoned: triggered examples with true labels and the attacker's targets; ``None`` when there are none.
        model_id: the directory's name (``id-00000002``), unique within a dataset.
        round: NIST's name of the round.
        case: which kind of the round's models it is; ``None`` in rounds of one kind.
        trojaned: whether the model is said to hold a trojan; ``None`` if nothing says so.
        facts: columns of the record: the three above, architecture, hashes, what the config says.
        decided_on: places of clean examples whose labels had a say in how the inputs are prepared; never held out.
        only_measured: places of clean examples that are never trained on.
        preset: what the round unlearns such a model with, if nothing else is asked for.
        least_accuracy: the accuracy below which something is probably wrong, where it is not that of NIST's rounds.
        variants: other preparations of ``poisoned`` by name, with triggers that are not quite theirs: ``moved``, ….
    """

    model: nn.Module
    task: Task
    clean: ExampleSet
    poisoned: ExampleSet | None
    model_id: str
    round: str
    case: str | None
    trojaned: bool | None
    facts: Mapping[str, Any]
    decided_on: tuple[int, ...] = ()
    only_measured: tuple[int, ...] = ()
    preset: str = "default"
    least_accuracy: float | None = None
    variants: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
