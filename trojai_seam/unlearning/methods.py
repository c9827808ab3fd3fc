"""Unlearning methods by name: functions from a network and its fit examples to an outcome."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from ..registry import Registry
from ..tasks import ExampleSet, Task
from .config import UnlearnConfig
from .engine import Observer
from .outcome import Outcome


class Method(Protocol):
    """See :func:`trojai_seam.unlearning.engine.unlearn` for the arguments."""

    def __call__(
        self,
        model: nn.Module,
        task: Task,
        fit: ExampleSet,
        config: UnlearnConfig,
        seed: int,
        observer: Observer | None = None,
    ) -> Outcome:
        """Unlearn a copy of ``model``."""
        ...


METHODS: Registry[Method] = Registry("unlearning method")
METHODS.add("seam", "trojai_seam.unlearning.engine:unlearn")
METHODS.add("seam-self-labelled", "trojai_seam.unlearning.self_labelled:unlearn_self_labelled")


def get_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        UsageProblem: there is none.
    """
    return METHODS.get(name)
