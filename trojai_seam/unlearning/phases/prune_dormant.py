"""Fine-pruning's first half: what clean examples hardly use is pruned from the last feature map of a network.

Channels go in the order of their mean activation on the fit examples, the lowest first, for as long as fit accuracy
stays. A channel is pruned where it is read: the weights on it in the layer behind the map become zero, and stay so in
training. Liu, Dolan-Gavitt and Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
RAID 2018, arXiv 1805.12185.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import EngineFailure
from ...tasks.calling import all_outputs
from ..context import Context
from ..feature_maps import calls_of
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind, PhaseSettings
from ..pruning import prune_while_accurate
from ..settings import Share
from ..training_mode import head


class PruneDormantSettings(PhaseSettings):
    """How much is pruned, and in which steps."""

    kind: Literal["prune-dormant"] = "prune-dormant"
    tolerance: Share = 0.1
    """Fit accuracy may fall by this share of what it was."""
    step: float = Field(default=0.01, gt=0, le=1)
    """Share of the channels that are tried at a time; at least one."""


class LastMap(NamedTuple):
    """The layer that reads the last feature map, and how many channels the map has."""

    reader: nn.Linear | nn.Conv2d
    channels: int


def last_map(context: Context) -> LastMap:
    """The first linear layer on vectors behind the last convolution, or the head if it is a convolution itself.

    Raises:
        EngineFailure: the network has no convolution, or nothing that reads one so.
    """
    calls, last = calls_of(context), head(context.model)
    places = [n for n, call in enumerate(calls) if isinstance(call.module, nn.Conv2d) and call.module is not last]
    if not places:
        raise EngineFailure("the network has no convolution whose channels could be pruned; use another --preset")
    channels = 0
    for call in calls[places[-1] :]:
        if isinstance(call.module, nn.Linear) and len(call.given) == 2 and channels and call.given[1] % channels == 0:
            return LastMap(call.module, channels)
        if call.module is last and isinstance(call.module, nn.Conv2d) and call.module.groups == 1:
            return LastMap(call.module, call.given[1])
        if len(call.gave) == 4:
            channels = call.gave[1]
    raise EngineFailure("no layer reads the channels of the network's last feature map; use another --preset")


@torch.no_grad()
def mean_activations(context: Context, found: LastMap) -> Tensor:
    """Of every channel over all fit examples and places, ``float64 [channels]`` on the CPU."""
    total, count = torch.zeros(found.channels, dtype=torch.float64), 0

    def see(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal count
        values = args[0].detach().double()
        values = values.reshape(len(values), found.channels, -1)
        total.add_(values.mean(dim=2).sum(dim=0).cpu())
        count += len(values)

    handle = found.reader.register_forward_pre_hook(see)
    try:
        all_outputs(context.model.eval(), context.task, context.fit, context.config.batch_size)
    finally:
        handle.remove()
    return total / count


def columns(reader: nn.Linear | nn.Conv2d, channels: int, chosen: Tensor) -> Tensor:
    """Where the weight of ``reader`` multiplies the ``chosen`` channels (``int64``), ``bool`` of its shape."""
    weight = reader.weight
    where = torch.zeros(weight.shape[0], channels, weight[0].numel() // channels, dtype=torch.bool)
    where[:, chosen] = True
    return where.reshape(weight.shape).to(weight.device)


def prune_dormant(context: Context, settings: PruneDormantSettings) -> PhaseOutcome:
    """Prune until fit accuracy has fallen too far."""
    start = context.accuracy()
    found = last_map(context)
    order = mean_activations(context, found).argsort(stable=True)
    groups = torch.split(order, math.ceil(settings.step * found.channels))
    cuts = ([(found.reader.weight, columns(found.reader, found.channels, group))] for group in groups)
    done = prune_while_accurate(context, cuts, start, settings.tolerance)
    pruned = sum(len(group) for group in groups[: done.steps])
    figures = {"pruned": float(pruned), "channels": float(found.channels)}
    limit = (1 - settings.tolerance) * start
    return PhaseOutcome(settings.name, done.status, limit, start, done.accuracy, figures=figures)


def check(context: Context, settings: PruneDormantSettings) -> None:
    """Raises :class:`EngineFailure` for a network that has nothing to prune."""
    last_map(context)


KIND = PhaseKind(PruneDormantSettings, prune_dormant, serves=("images",), check=check)
