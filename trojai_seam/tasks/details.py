"""What examples of text tasks know beyond tensors: texts, character offsets, the names of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


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
