"""What is to be unlearned: a rebuilt network, its task, its examples, its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

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
        facts: plain values for the record: round, architecture, whether the model is poisoned, hashes, config columns.
        decided_on: places of clean examples whose labels had a say in how the inputs are prepared; never held out.
        only_measured: places of clean examples that are never trained on.
    """

    model: nn.Module
    task: Task
    clean: ExampleSet
    poisoned: ExampleSet | None
    model_id: str
    facts: Mapping[str, Any]
    decided_on: tuple[int, ...] = ()
    only_measured: tuple[int, ...] = ()
