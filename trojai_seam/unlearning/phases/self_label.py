"""Images cut out of the fit images and labelled by the network; the work is in ``self_label_work.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind, PhaseSettings

if TYPE_CHECKING:
    from ..context import Context


class SelfLabelSettings(PhaseSettings):
    """Cutting images out of the fit images and labelling them by the network."""

    kind: Literal["self-label"] = "self-label"
    count: int = Field(default=512, ge=1, le=100_000)
    """Images that are made of the fit images and labelled by the network."""


def self_label(context: Context, settings: SelfLabelSettings) -> PhaseOutcome:
    """Add images to the working set."""
    from .self_label_work import add_labelled

    return add_labelled(context, settings)


KIND = PhaseKind(SelfLabelSettings, self_label, serves=("images",))
