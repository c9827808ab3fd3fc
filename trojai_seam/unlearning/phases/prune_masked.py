"""Prune the channels whose learnt masks are small, the smallest first, for as long as fit accuracy stays.

The published codes of adversarial and of reconstructive neuron pruning print accuracy and attack success for thresholds
from 0 to 0.9; here the largest of these is taken that clean examples allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ...errors import EngineFailure
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind, PhaseSettings
from ..pruning import Cut, prune_while_accurate
from ..settings import Share
from ..weight_masks import scaling_layers


class PruneMaskedSettings(PhaseSettings):
    """Which thresholds are tried, and what of."""

    kind: Literal["prune-masked"] = "prune-masked"
    tolerance: Share = 0.1
    """Fit accuracy may fall by this share of what it was."""
    largest: Share = 0.9
    """Of the thresholds that are tried."""
    step: float = Field(default=0.05, gt=0, le=1)
    """From one threshold to the next; the first is 0."""
    of_shipped: bool = False
    """Whether the network is first put back as it was shipped: what phases did to it was for the masks only."""


def cuts_of(context: Context, thresholds: list[float]) -> Iterator[tuple[float, Cut]]:
    """For every threshold at which more is pruned: the scales of the channels whose masks have come to lie at it or
    below."""
    layers, below = scaling_layers(context.model), -1.0
    for threshold in thresholds:
        chosen: list[tuple[Tensor, Tensor]] = []
        for path, mask in context.masks.items():
            where = (mask > below) & (mask <= threshold)
            if bool(where.any()):
                chosen.append((layers[path].get_parameter("weight"), where))
        below = threshold
        if chosen:
            yield threshold, chosen


def prune_masked(context: Context, settings: PruneMaskedSettings) -> PhaseOutcome:
    """Zero the scales of these channels; their shifts stay, as published."""
    if settings.of_shipped:
        context.restore()
    start = context.accuracy()
    tried = [settings.step * number for number in range(int(settings.largest / settings.step + 1e-6) + 1)]
    cuts = list(cuts_of(context, tried))
    done = prune_while_accurate(context, (cut for _, cut in cuts), start, settings.tolerance)
    pruned = sum(int(where.sum()) for _, cut in cuts[: done.steps] for _, where in cut)
    every = torch.cat([mask.flatten() for mask in context.masks.values()])
    figures = {"pruned": float(pruned), "channels": float(len(every))}
    figures["candidates"] = float((every <= tried[-1]).sum())
    if done.steps:
        figures["mask_threshold"] = cuts[done.steps - 1][0]
    limit = (1 - settings.tolerance) * start
    return PhaseOutcome(settings.name, done.status, limit, start, done.accuracy, figures=figures)


def check(context: Context, settings: PruneMaskedSettings) -> None:
    """Raises :class:`EngineFailure` where no earlier phase learns masks."""
    kinds = [phase.kind for phase in context.config.phases[: context.config.phases.index(settings)]]
    if "learn-mask" not in kinds:
        raise EngineFailure(f"phase {settings.name} (prune-masked) needs a phase of kind learn-mask before it")


KIND = PhaseKind(PruneMaskedSettings, prune_masked, serves=("images", "vectors"), check=check)
