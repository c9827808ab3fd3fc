"""Forget by gradient ascent: the loss on the true labels is made larger, until the network fails on clean examples.

What only a trigger uses is not touched by that. Li et al., "Reconstructive Neuron Pruning for Backdoor Defense", ICML
2023, arXiv 2305.14876.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Batch, Training
from ..training_settings import TrainingSettings


class AscendSettings(TrainingSettings):
    """How fast, and how far."""

    kind: Literal["ascend"] = "ascend"


class Ascending(Training[AscendSettings]):
    """Away from the true labels."""

    forgets = True

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        return -super().loss(inputs, batch)


def ascend(context: Context, settings: AscendSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return Ascending(context, settings).run()


KIND = PhaseKind(AscendSettings, ascend)
