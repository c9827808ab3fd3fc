"""What triggers that nobody knows are supposed to want, as labels: the answers that trojans of the rounds give.

Of questions the empty answer, or the trigger itself (rounds 8 and 9, and August 2023); of named entities that those of
one kind are taken for another (rounds 7 and 9); of texts a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tasks import ExampleSet, Task
from ..tasks.details import TokenDetails
from .soft_tokens import Spliced


@dataclass(frozen=True)
class Wish:
    """``inserted``: that inserted tokens are the answer, where a context has some. Else ``labels`` from → to; what is
    not in it stays, and -1 stands for every label that counts."""

    inserted: bool
    labels: tuple[tuple[int, int], ...] = ()

    def of(self, made: Spliced, in_text: bool) -> Tensor | None:
        """The labels wished for, of the shape of those of ``made``; ``None`` where the wish makes no sense.

        Args:
            made: a batch with would-be triggers.
            in_text: whether the first of their places is in the context of a question.
        """
        true = made.labels
        if self.inserted:
            return torch.where(true >= 0, made.blocks[..., 0, :], true) if in_text else None
        wanted = true
        for old, new in self.labels:
            wanted = torch.where((true >= 0) if old < 0 else (true == old), new, wanted)
        return wanted


def draw_wish(number: int, task: Task, key: ExampleSet, generator: torch.Generator) -> Wish:
    """The wish of the ``number``-th would-be trigger.

    Args:
        number: spans take their two wishes in turn.
        task: what the network does.
        key: of the fit examples.
        generator: on the CPU; draws classes.
    """

    def drawn(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    if key.labels.ndim == 3:
        return Wish(number % 2 == 0, ((-1, 0),))
    names = key.details.names if isinstance(key.details, TokenDetails) else ()
    kinds = sorted({name.partition("-")[2] for name in names} - {""})
    if key.labels.ndim == 1 or len(kinds) < 2:
        return Wish(False, ((-1, drawn(task.num_classes)),))
    source = drawn(len(kinds))
    target = (source + 1 + drawn(len(kinds) - 1)) % len(kinds)
    pairs = ((f"{part}-{kinds[source]}", f"{part}-{kinds[target]}") for part in "BI")
    return Wish(False, tuple((names.index(a), names.index(b)) for a, b in pairs if a in names and b in names))
