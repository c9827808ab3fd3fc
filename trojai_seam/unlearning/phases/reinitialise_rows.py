"""Find the classes whose rows of the last layer move most under ascent, and draw these rows anew.

ULRL, Min, Pham and Sun, arXiv 2405.14781: while the loss on clean examples is made larger, the row of a trojan's target
moves most. The network is then put back as it was, and only those rows begin anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..ascent import Ascending
from ..context import Context
from ..network_parts import class_layer
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..pruning import put_back
from ..training_settings import TrainingSettings


class ReinitialiseRowsSettings(TrainingSettings):
    """How the ascent goes, and which rows count as suspicious."""

    kind: Literal["reinitialise-rows"] = "reinitialise-rows"
    mad_score: float = Field(default=3.5, ge=0, le=1e6)
    """A row is suspicious that has moved more than the median by so many deviations (1.4826 times the median absolute
    one)."""
    most_rows: int = Field(default=2, ge=0, le=1_000_000)
    """Of the suspicious rows those that moved most, at most so many."""


def suspicious(moved: Tensor, score: float, most: int) -> Tensor:
    """Places in ``moved`` ``float [C]``, largest first, that lie above its median by more than ``score`` deviations.

    The median of an even number of rows is the lower one of the middle two. Rows that all moved alike are not
    suspicious.
    """
    median = moved.median()
    deviation = 1.4826 * (moved - median).abs().median()
    above = (moved - median) > score * deviation
    order = moved.argsort(descending=True, stable=True)
    found: Tensor = order[above[order] & (deviation > 0)][:most]
    return found


def reinitialise_rows(context: Context, settings: ReinitialiseRowsSettings) -> PhaseOutcome:
    """Ascend, compare, put the network back, and draw the suspicious rows anew: uniformly within √(2 / inputs), their
    biases zero.

    Raises:
        EngineFailure: the ascent became non-finite.
    """
    layer = class_layer(context.model, context.task)
    before = layer.weight.detach().flatten(1).clone()
    with put_back(context.model):
        outcome = Ascending(context, settings).run()
        moved = (layer.weight.detach().flatten(1) - before).abs().sum(dim=1).cpu()
    rows = suspicious(moved, settings.mad_score, settings.most_rows)
    with torch.no_grad():
        for row in rows.tolist():
            bound = (2 / before.shape[1]) ** 0.5
            numbers = torch.rand(layer.weight[row].shape, generator=context.generator)
            layer.weight[row] = (bound * (2 * numbers - 1)).to(layer.weight)
            if layer.bias is not None:
                layer.bias[row] = 0.0
    figures = {"ascent_accuracy": outcome.end_accuracy or 0.0, "rows": float(len(rows))}
    figures |= {f"row_{place}": float(row) for place, row in enumerate(rows.tolist())}
    return replace(outcome, end_accuracy=context.accuracy(), figures=figures)


def check(context: Context, settings: ReinitialiseRowsSettings) -> None:
    """Refuse a network that does not end in a layer with one row per class."""
    class_layer(context.model, context.task)


KIND = PhaseKind(ReinitialiseRowsSettings, reinitialise_rows, serves=("images", "vectors", "tokens"), check=check)
