"""Pruning that stops by clean accuracy: in a given order, for as long as the network still answers the fit examples.

Published code often prints accuracy and attack success for every step and leaves the choice to the reader. Here nothing
but the fit examples decides: as in BackdoorBench, accuracy may fall by a share of what it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import EngineFailure
from .context import Context

Cut = Sequence[tuple[Tensor, Tensor]]
"""What goes in one step: parameters, each with ``bool`` of its shape, true where it becomes zero."""


class Pruned(NamedTuple):
    """How far pruning went: ``status`` is ``done``, or ``time-limit`` if there was no time to try the rest."""

    steps: int
    accuracy: float
    status: str


@torch.no_grad()
def prune_while_accurate(context: Context, cuts: Iterable[Cut], start: float, tolerance: float) -> Pruned:
    """Make ``cuts`` one after the other, and take the first one back that is too much, and with it all later ones.

    Args:
        context: its network is pruned; what was pruned stays zero in all later phases.
        cuts: in order.
        start: fit accuracy before the first one.
        tolerance: fit accuracy may fall to ``(1 - tolerance) · start``.

    Raises:
        EngineFailure: the network knows none of the fit examples, so that accuracy would let everything go.
    """
    if start <= 0:
        raise EngineFailure("the network is right on no fit example, so that accuracy cannot say how much to prune")
    least, accuracy, done = (1 - tolerance) * start, start, 0
    for cut in cuts:
        if context.time_is_up():
            return Pruned(done, accuracy, "time-limit")
        before = [(parameter, parameter.detach().clone()) for parameter, _ in cut]
        for parameter, where in cut:
            parameter.masked_fill_(where, 0)
        left = context.accuracy()
        if left < least:
            for parameter, values in reversed(before):
                parameter.copy_(values)
            break
        for parameter, where in cut:
            context.prune(parameter, where)
        accuracy, done = left, done + 1
    return Pruned(done, accuracy, "done")


@contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """Whatever is done to ``model`` meanwhile, it is as before afterwards."""
    before = copy.deepcopy(model.state_dict())
    trained = [parameter.requires_grad for parameter in model.parameters()]
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        model.load_state_dict(before)
        for parameter, was in zip(model.parameters(), trained, strict=True):
            parameter.requires_grad_(was)
