"""What unlearning leaves behind: the network, and a trace of how it got there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class EpochTrace:
    """One epoch. ``fit_accuracy`` is measured after it, eval mode, on all fit examples with their true labels; what
    accuracy means for stop rules is the task's business (``Task.fit_accuracy``). ``None``: nobody asked after this
    epoch, since the phase has no stop rule; see :data:`.monitor.TRACE_EVERY`."""

    phase: str
    epoch: int
    steps: int
    loss: float
    fit_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class PhaseOutcome:
    """How a phase ended.

    ``status`` of a phase that trains is one of ``reached`` (the stop rule was met), ``declined`` (it ended by the
    decline rule), ``missed`` (a cap on epochs or steps came first), ``time-limit`` (the cap on seconds came first),
    ``trivial-threshold`` (the stop rule was met, but its threshold was no change from the start: at or above the
    starting accuracy for forgetting, below it for recovery), ``no-rule`` (the phase has no stop rule and ran to its
    caps), ``no-steps`` (caps left no step to take) or ``off`` (not asked for). Others say ``done``, or what they like.

    ``figures`` are numbers of the phase's own (layers changed, a chosen strength): kept in the record. Of a search
    ``suspected`` says how many classes are; ``target`` and ``gap`` of the clearest are columns, too.
    """

    phase: str
    status: str = "done"
    threshold: float | None = None
    start_accuracy: float | None = None
    end_accuracy: float | None = None
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """``forget: reached after 12 epochs``."""
        return f"{self.phase}: {self.status}" + (f" after {self.epochs} epochs" if self.epochs else "")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The unlearned network (eval mode, same device as it was given) with its trace.

    ``seed`` is the seed that every random choice was derived from; ``num_fit`` the number of fit examples.
    """

    model: nn.Module
    phases: tuple[PhaseOutcome, ...]
    trace: tuple[EpochTrace, ...]
    seed: int
    num_fit: int

    def phase(self, name: str) -> PhaseOutcome | None:
        """The phase called ``name`` (``"forget"``, ``"recover"``, …), if there was one."""
        return next((phase for phase in self.phases if phase.phase == name), None)
