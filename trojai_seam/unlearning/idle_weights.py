"""Weights that no answer depends on: without a gradient, only the decay moves them.

In the first step of an LSTM or GRU from the state zero the weights on that state do nothing, nor does an LSTM's forget
gate: nearly half of a head of round 5. A stack leaves them out of every step. Where the whole network is wanted, what
the decay makes of them is computed afterwards, a few at a time, which the caches hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .optimization import make_optimizer, make_scheduler
from .training_settings import TrainingSettings

CHUNK = 1 << 16


def idle_weights(rnn: nn.LSTM | nn.GRU) -> Iterator[Tensor]:
    """Views of the parameters, or rows of them, that a sequence of one step does not use."""
    forget = slice(rnn.hidden_size, 2 * rnn.hidden_size)
    for name, parameter in rnn.named_parameters():
        if name.startswith("weight_hh"):
            yield parameter.detach()
        elif isinstance(rnn, nn.LSTM):
            yield parameter.detach()[forget]


def decay(weights: Tensor, phases: Sequence[tuple[TrainingSettings, int, int]]) -> None:
    """Do to ``weights``, in place, what training without a gradient does.

    Args:
        weights: contiguous.
        phases: each with the steps that its schedule is for, and those that were taken.
    """
    for chunk in torch.split(weights.view(-1), CHUNK):
        for phase, planned, taken in phases:
            if not taken or not phase.weight_decay:
                continue
            parameter = nn.Parameter(chunk.clone())
            optimizer = make_optimizer(phase, [parameter], fused=True)
            scheduler = make_scheduler(phase, optimizer, planned)
            parameter.grad = torch.zeros_like(chunk)
            for _ in range(taken):
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
            chunk.copy_(parameter.detach())
