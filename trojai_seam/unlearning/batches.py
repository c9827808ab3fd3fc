"""Which examples go into which training step, decided on the CPU so that every device sees the same ones."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_batches(
    count: int, draws: int | None, batch_size: int, generator: torch.Generator, shuffled: bool = True
) -> list[Tensor]:
    """Index batches (``int64``, CPU) of one epoch over ``count`` examples.

    Whole passes over the examples, in random order or (not ``shuffled``) as they stand, are strung together until
    ``draws`` indices are there. A last batch of a single example joins the one before it: BatchNorm cannot normalise
    one value per channel.
    """
    wanted = count if draws is None else draws
    times = range(-(-wanted // count))
    passes = [torch.randperm(count, generator=generator) if shuffled else torch.arange(count) for _ in times]
    batches = list(torch.split(torch.cat(passes)[:wanted], batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def batches_per_epoch(count: int, draws: int | None, batch_size: int) -> int:
    """How many batches :func:`epoch_batches` makes."""
    wanted = count if draws is None else draws
    full, rest = divmod(wanted, batch_size)
    return full + (1 if rest and not (rest == 1 and full) else 0)


def classes_in_turn(labels: Tensor, count: int) -> Tensor:
    """``count`` places of ``labels`` ``int64 [N]``: the first of every class, then the second of every class, and so
    on."""
    turns = torch.zeros_like(labels)
    for label in torch.unique(labels).tolist():
        mine = labels == label
        turns[mine] = torch.arange(int(mine.sum()), device=labels.device)
    return turns.argsort(stable=True)[:count]
