"""Forget by gradient ascent: the loss on the true labels is made larger, until the network fails on clean examples.

What only a trigger uses is hardly touched by that, which later phases can build on.
"""

from __future__ import annotations

from typing import Literal

from ..ascent import Ascending
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training_settings import TrainingSettings


class AscendSettings(TrainingSettings):
    """How fast, and how far."""

    kind: Literal["ascend"] = "ascend"


def ascend(context: Context, settings: AscendSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return Ascending(context, settings).run()


KIND = PhaseKind(AscendSettings, ascend)
