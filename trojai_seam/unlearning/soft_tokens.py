"""Tokens without a word, inserted into texts: vectors of any value where the network looks up the vectors of words.

Soft tokens have numbers behind those of the vocabulary, and the table of word embeddings is asked through
:func:`extra_rows`, which knows them. So whatever a network does with token numbers and vectors (positions that skip
padding in RoBERTa, trigrams in MobileBERT, projections in ELECTRA, wrappers that take no ``inputs_embeds``) is done as
for any word, and masks, token types and labels move with the tokens that they belong to.

Soft tokens as inputs: Lester, Al-Rfou and Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP
2021, arXiv 2104.08691.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..tasks.details import SpanDetails
from ..tasks.examples import MASK, NOT_COUNTED, REAL_WINDOWS, ExampleSet

IDS = "input_ids"


@contextmanager
def extra_rows(table: nn.Embedding, rows: Tensor) -> Iterator[None]:
    """While it lasts ``table``, of V rows, gives ``rows[k]`` for the number V + k; gradients reach ``rows``.

    Args:
        table: word embeddings.
        rows: ``float [K, D]``.
    """
    size = table.num_embeddings

    def forward(numbers: Tensor) -> Tensor:
        known = functional.embedding(numbers.clamp(max=size - 1), table.weight, table.padding_idx)
        extra = functional.embedding((numbers - size).clamp(min=0), rows.to(known.dtype))
        return torch.where((numbers >= size)[..., None], extra, known)

    table.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del table.forward


class Spliced(NamedTuple):
    """A batch with tokens inserted: what the network is called with, labels, and the first and the last token of every
    block of inserted ones, ``int64 [..., P, 2]`` in the order of their places."""

    inputs: dict[str, Tensor]
    labels: Tensor
    blocks: Tensor


class Gaps(NamedTuple):
    """Where tokens may be inserted: ``bool [N, L + 1]`` or ``[N, W, L + 1]`` on the CPU, true at p for "before token
    p". ``question`` is ``None`` where there is none."""

    text: Tensor
    question: Tensor | None


def gaps_of(examples: ExampleSet) -> Gaps:
    """Gaps of ``examples``: between the special tokens at both ends, before a word where labels tell words."""
    ids, mask = examples.inputs[IDS].cpu(), examples.inputs[MASK].cpu() != 0
    labels, details = examples.labels.cpu(), examples.details
    positions = torch.arange(ids.shape[-1] + 1)
    if isinstance(details, SpanDetails):
        context = functional.pad(details.offsets.cpu()[..., 0] >= 0, (1, 1))
        text = context[..., 1:] | context[..., :-1]
        begin = context[..., 1:].int().argmax(dim=-1, keepdim=True)
        end = begin - _separators(ids, begin)
        return Gaps(text, (positions >= 1) & (positions <= end) & text.any(dim=-1, keepdim=True))
    length = (mask * positions[1:]).amax(dim=-1, keepdim=True)
    # Special tokens are those that all texts begin or end with.
    low = int(bool((ids[:, 0] == ids[0, 0]).all()))
    ends = ids.gather(-1, length - 1)
    high = length - int(bool((ends == ends[0]).all()))
    text = (positions >= low) & (positions <= high)
    if labels.ndim == 2:
        words = functional.pad(labels[:, : ids.shape[-1]] != NOT_COUNTED, (0, 1)) | (positions == high)
        text = torch.where((text & words).any(dim=-1, keepdim=True), text & words, text)
    return Gaps(text, None)


def _separators(ids: Tensor, begin: Tensor) -> Tensor:
    """How many tokens in front of ``begin`` are the one right in front of it: RoBERTa separates texts by two."""
    before = ids.gather(-1, (begin - 1).clamp(min=0))
    run = torch.zeros_like(begin)
    for back in (1, 2):
        run += ((ids.gather(-1, (begin - back).clamp(min=0)) == before) & (run == back - 1) & (begin >= back)).long()
    return run


def draw_places(gaps: Tensor, generator: torch.Generator, room: int | None) -> Tensor:
    """One of the ``gaps [..., L + 1]`` of every text, uniformly, ``int64 [..., 1]``; L where there is none.

    Args:
        gaps: on the CPU.
        generator: on the CPU.
        room: places are below it, so that what is inserted is not cut off; unset: anywhere.
    """
    flat = gaps.flatten(0, -2).clone()
    if room is not None:
        flat[:, max(room, 0) :] = False
    none = ~flat.any(dim=1)
    flat[none, -1] = True
    return torch.multinomial(flat.float(), 1, generator=generator).view(*gaps.shape[:-1], 1)


def splice(
    inputs: Mapping[str, Tensor], labels: Tensor, places: Tensor, tokens: Tensor, longest: int | None = None
) -> Spliced:
    """The batch with ``tokens`` inserted before the token at each of its ``places``.

    Inserted tokens are attended to and have the type of the token behind them. What no longer fits into ``longest``
    tokens is cut off in front of the last one, which separates texts; an answer that is cut off is none, (0, 0).
    Windows that only pad stay so.

    Args:
        inputs: ``int64 [n, L]`` or ``[n, W, L]``, padded on the right, as :meth:`ExampleSet.rows` gives them.
        labels: ``int64 [n]``, ``[n, >= L]`` of tokens, or ``[n, >= W, 2]`` of spans.
        places: ``int64 [n, P]`` or ``[n, W, P]``, at most L; the same tokens go to all of them.
        tokens: ``int64 [K]``, numbers.
        longest: input that the network takes; unset: any.
    """
    shape, block = inputs[IDS].shape, len(tokens)
    rows = {name: tensor.flatten(0, -2) for name, tensor in inputs.items() if name != REAL_WINDOWS}
    where = places.flatten(0, -2)
    (count, length), device, more = rows[IDS].shape, where.device, where.shape[1] * block
    columns = torch.arange(length, device=device).expand(count, length)
    moved = columns + block * (columns[..., None] >= where[:, None]).sum(dim=-1)
    source = torch.full((count, length + more), -1, device=device).scatter(1, moved, columns)
    behind = source.masked_fill(source < 0, length - 1).flip(1).cummin(dim=1).values.flip(1)
    size = (rows[MASK] * (columns + 1)).amax(dim=1, keepdim=True)
    end = length + more if longest is None else min(length + more, longest)
    cut = (size + more > end) & (torch.arange(length + more, device=device) == end - 1)
    source, behind = (torch.where(cut, size - 1, part)[:, :end] for part in (source, behind))
    new = source < 0
    rank = (new.cumsum(dim=1) - 1).clamp(min=0) % block
    made = {name: tensor.gather(1, behind) for name, tensor in rows.items()}
    made[IDS] = torch.where(new, tokens[rank], made[IDS])
    attended = ((~new).cumsum(dim=1) <= size) & (size > 0)  # not those that stand behind padding, for want of a place
    made[MASK] = torch.where(new, attended.to(made[MASK].dtype), made[MASK])
    made = {name: tensor.view(*shape[:-1], end) for name, tensor in made.items()}
    if REAL_WINDOWS in inputs:
        made[REAL_WINDOWS] = inputs[REAL_WINDOWS]
    starts = where + block * _earlier(where)
    blocks = torch.stack([starts, starts + block - 1], dim=-1).view(*places.shape, 2)
    if labels.ndim == 3:
        kept = labels[:, : shape[1]].flatten(0, 1)
        spans = _spans(kept, moved, size + more > end, end)
        return Spliced(made, spans.view(*shape[:2], 2), blocks)
    if labels.ndim == 2:
        kept = functional.pad(labels, (0, max(0, length - labels.shape[1])), value=NOT_COUNTED)
        return Spliced(made, kept.gather(1, behind).masked_fill(new, NOT_COUNTED), blocks)
    return Spliced(made, labels, blocks)


def _earlier(where: Tensor) -> Tensor:
    """How many of a row's other places come before each of its places, ``int64 [R, P]``; of equal ones the first."""
    order = torch.arange(where.shape[1], device=where.device)
    before = where[:, None] < where[..., None]
    return (before | ((where[:, None] == where[..., None]) & (order < order[:, None]))).sum(dim=-1)


def _spans(labels: Tensor, moved: Tensor, cut: Tensor, end: int) -> Tensor:
    """Spans ``int64 [R, 2]`` where their tokens have ``moved [R, L]`` to."""
    found = moved.gather(1, labels.clamp(min=0))
    lost = cut & (found >= end - 1).any(dim=1, keepdim=True)
    return torch.where(labels == NOT_COUNTED, labels, found.masked_fill(lost, 0))


def longest_input(model: nn.Module) -> int | None:
    """Most tokens that ``model`` has positions for; ``None`` where no table of positions says so."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("position_embeddings", "wpe") and isinstance(module, nn.Embedding):
            # RoBERTa's positions begin behind that of the padding token.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
