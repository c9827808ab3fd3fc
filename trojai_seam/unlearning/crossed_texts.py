"""Texts made of the fit texts: a piece of one is put into another, between words.

A dozen texts are soon learnt by heart; crossed with each other they are thousands, and the network as shipped can say
what it sees in them. Nothing comes in that is not in clean texts, so no trigger does. Pieces of labelled texts in one
another: Yun et al., "CutMix", ICCV 2019, arXiv 1905.04899 (images, with mixed labels); here labels are the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..tasks.examples import NOT_COUNTED

T = TypeVar("T")


class Pieces(NamedTuple):
    """Where every token of R new texts comes from, ``int64 [R, L]`` each; column -1 pads."""

    row: Tensor
    column: Tensor

    @property
    def sizes(self) -> Tensor:
        """Tokens of every new text, ``int64 [R]``."""
        return (self.column >= 0).sum(dim=1)

    def of(self, tensor: Tensor, padding: int | bool) -> Tensor:
        """``tensor [R, >= L']`` of the old texts, in the new ones."""
        return tensor[self.row, self.column.clamp(min=0)].masked_fill(self.column < 0, padding)


def crossed(sizes: Tensor, gaps: Tensor, chosen: Tensor, longest: int | None, generator: torch.Generator) -> Pieces:
    """Put a piece of another text into each of the ``chosen`` ones, in place of a piece of theirs or of none.

    Args:
        sizes: ``int64 [R]``, tokens of every text; 0 for windows that only pad.
        gaps: ``bool [R, L + 1]``, where texts may be cut.
        chosen: ``bool [R]``.
        longest: tokens that a new text may have; unset: any number.
        generator: on the CPU, like everything here.
    """
    places = [row.nonzero().flatten().tolist() for row in gaps]
    givers = [row for row, cuts in enumerate(places) if len(cuts) > 1]
    texts: list[list[tuple[int, int]]] = []
    for row, size in enumerate(sizes.tolist()):
        others = [giver for giver in givers if giver != row]
        if not chosen[row] or not places[row] or not others:
            texts.append([(row, column) for column in range(size)])
            continue
        begin, end = sorted(_drawn(places[row], generator) for _ in range(2))
        if _drawn([False, True], generator):
            end = begin
        giver = _drawn(others, generator)
        first, last = sorted(_drawn(places[giver], generator) for _ in range(2))
        if longest is not None:
            last = min(last, first + max(0, longest - (size - (end - begin))))
        piece = [(giver, column) for column in range(first, last)]
        texts.append([*((row, c) for c in range(begin)), *piece, *((row, c) for c in range(end, size))])
    length = max(1, *(len(text) for text in texts))
    padded = torch.tensor([[*text, *[(row, -1)] * (length - len(text))] for row, text in enumerate(texts)])
    return Pieces(padded[..., 0], padded[..., 1])


def _drawn(values: Sequence[T], generator: torch.Generator) -> T:
    return values[int(torch.randint(len(values), (1,), generator=generator))]


def teacher_labels(scores: Tensor, counted: Tensor, attended: Tensor) -> Tensor:
    """What the teacher says, as labels.

    Args:
        scores: the teacher's, ``float [n, C]``, ``[n, L, C]`` of tokens or ``[n, W, L, 2]`` of spans.
        counted: ``bool [n, L]``, tokens that have a label; of other tasks it is not looked at.
        attended: ``bool [n, L]`` or ``[n, W, L]``.

    Returns:
        ``int64 [n]``, ``[n, L]`` or ``[n, W, 2]``; of spans that are none (0, 0).
    """
    if scores.ndim == 4:
        spans = scores.masked_fill(~attended[..., None], -torch.inf).argmax(dim=2)
        none = (spans[..., :1] == 0) | (spans[..., :1] > spans[..., 1:])
        spans = spans.masked_fill(none, 0)
        return spans.masked_fill(~attended.any(dim=2, keepdim=True), NOT_COUNTED)
    said = scores.argmax(dim=-1)
    return said if scores.ndim == 2 else said.masked_fill(~counted, NOT_COUNTED)
