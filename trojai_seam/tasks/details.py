"""What examples know beyond tensors: texts, character offsets, names of labels, sizes of images, kinds of attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import torch
from torch import Tensor

SIZES: Final = "sizes"
"""Beside the images of a batch: how much of each is real, ``int64 [n, 2]`` (height, width) on the CPU."""
ATTACKS: Final = ("misclassification", "evasion", "injection", "localisation")
"""What a trigger does to a detector; ``BoxDetails.kinds`` are places in this tuple."""


class Details(Protocol):
    """Knowledge about N examples that a task needs and a label tensor cannot hold."""

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int]) -> Details:
        """Of the examples at ``indices``, in that order."""
        ...

    def to(self, device: torch.device | str) -> Details:
        """With tensors on ``device``."""
        ...


@dataclass(frozen=True, eq=False)
class TokenDetails:
    """For token classification: ``names[c]`` is the label of output c, such as ``"O"``, ``"B-PER"`` or ``"I-PER"``."""

    names: tuple[str, ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def subset(self, indices: Sequence[int]) -> TokenDetails:
        return replace(self, count=len(indices))

    def to(self, device: torch.device | str) -> TokenDetails:
        return self


@dataclass(frozen=True, eq=False)
class SpanDetails:
    """For span extraction: N records of a context and its answers.

    Attributes:
        contexts: N texts.
        answers: the right answers of every record, ``()`` where the context holds none; ``None`` where nobody knows
            (the original answers of NIST's poisoned records).
        offsets: ``int64 [N, W, L, 2]``, first character of every token in its context and one past its last; −1 for
            tokens that are not context (question, special tokens, padding).
        wanted: the answer that the attacker wants of every poisoned record, ``""`` for none; ``None`` for clean sets.
    """

    contexts: tuple[str, ...]
    answers: tuple[tuple[str, ...] | None, ...]
    offsets: Tensor
    wanted: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.contexts), len(self.answers), len(self.offsets)}
        if self.wanted is not None:
            sizes.add(len(self.wanted))
        if len(sizes) != 1 or self.offsets.ndim != 4 or self.offsets.shape[-1] != 2:
            raise ValueError(f"contexts, answers, offsets [N, W, L, 2] and wanted do not fit: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.contexts)

    def subset(self, indices: Sequence[int]) -> SpanDetails:
        where = torch.as_tensor(list(indices), dtype=torch.int64, device=self.offsets.device)
        return SpanDetails(
            tuple(self.contexts[i] for i in indices),
            tuple(self.answers[i] for i in indices),
            self.offsets[where],
            None if self.wanted is None else tuple(self.wanted[i] for i in indices),
        )

    def to(self, device: torch.device | str) -> SpanDetails:
        return replace(self, offsets=self.offsets.to(device))


@dataclass(frozen=True, eq=False)
class BoxDetails:
    """For object detection: N images, padded at the right and at the bottom to the largest of them.

    All tensors stay on the CPU: where a batch is cut must be known without waiting for the device.

    Attributes:
        sizes: ``int64 [N, 2]``, height and width of every image without its padding.
        background: the output of the network's head that stands for no object; every other one is a class.
        kinds: of poisoned sets: ``int64 [N, K]``, what the attack does to every target box, as a place in
            :data:`ATTACKS`; −100 in rows that pad.
        moved_from: of poisoned sets: ``float32 [N, K, 4]``, where a moved object really is, NaN where that is unknown
            or nothing moves.
    """

    sizes: Tensor
    background: int
    kinds: Tensor | None = None
    moved_from: Tensor | None = None

    def __post_init__(self) -> None:
        attacks = [part for part in (self.kinds, self.moved_from) if part is not None]
        if self.sizes.ndim != 2 or self.sizes.shape[1] != 2 or any(len(part) != len(self.sizes) for part in attacks):
            raise ValueError("sizes [N, 2], kinds [N, K] and moved_from [N, K, 4] do not fit each other")

    def __len__(self) -> int:
        return len(self.sizes)

    def subset(self, indices: Sequence[int]) -> BoxDetails:
        where = torch.as_tensor(list(indices), dtype=torch.int64)
        return replace(
            self,
            sizes=self.sizes[where],
            kinds=None if self.kinds is None else self.kinds[where],
            moved_from=None if self.moved_from is None else self.moved_from[where],
        )

    def to(self, device: torch.device | str) -> BoxDetails:
        return self
