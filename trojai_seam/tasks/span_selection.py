"""From start and end scores of windows to one answer per record, as the QA rounds' ``utils_qa.py`` does it.

Per window the 20 best starts meet the 20 best ends; pairs outside the context, backwards, or longer than 30 tokens are
dropped, and the best sum of scores over all windows is the answer. The empty answer has the *smallest* sum at position
0 over the windows and wins when it is larger than the best pair. Sources: trojai-example, ``utils_qa.py`` of rounds 8
and 9 and ``utils/qa_utils.py`` of the round of August 2023, after HuggingFace's ``run_qa`` example.
"""

from __future__ import annotations

import torch
from torch import Tensor

BEST = 20
LONGEST = 30
NULL = -1
"""The empty answer."""
WORD_EMPTY = -2
"""A quirk of the original: where no pair is left at all, a made-up one, the word ``empty`` with score 0, competes."""
NO_ANSWER = -3
"""Scores that are not finite say nothing at all."""


def best_spans(scores: Tensor, attended: Tensor, context: Tensor) -> Tensor:
    """The answer to every record: (window, first token, last token), or three times :data:`NULL`,
    :data:`WORD_EMPTY` or :data:`NO_ANSWER`. Nothing here waits for the device.

    Padding does not compete (in the original it might: there every window is padded to the full length), so that an
    answer does not depend on how far its batch is padded.

    Args:
        scores: ``float [N, W, L, 2]``, start and end.
        attended: ``bool [N, W, L]``, false for padding.
        context: ``bool [N, W, L]``, tokens that may be part of an answer.

    Returns:
        ``int64 [N, 3]``.
    """
    low = -torch.inf
    finite = torch.isfinite(scores).flatten(1).all(dim=1)
    masked = scores.double().masked_fill(~attended[..., None], low)
    count = min(BEST, scores.shape[2])
    start, first = masked[..., 0].topk(count, dim=2)
    end, last = masked[..., 1].topk(count, dim=2)
    may = context & attended
    pairs = start[..., :, None] + end[..., None, :]
    length = last[..., None, :] - first[..., :, None] + 1
    fits = may.gather(2, first)[..., :, None] & may.gather(2, last)[..., None, :]
    fits = fits & (length >= 1) & (length <= LONGEST)
    candidates = pairs.masked_fill(~fits, low).flatten(1)
    best, where = candidates.max(dim=1)
    window, at = where // (count * count), where % (count * count)
    record = torch.arange(len(scores), device=scores.device)
    spans = torch.stack([window, first[record, window, at // count], last[record, window, at % count]], dim=1)
    nulls = masked[:, :, 0].sum(dim=2).masked_fill(~attended.any(dim=2), torch.inf).amin(dim=1)
    some = fits.flatten(1).any(dim=1)
    spans = torch.where(some[:, None], spans, WORD_EMPTY)
    is_null = nulls > torch.where(some, best, 0.0)
    spans = torch.where(is_null[:, None], NULL, spans)
    return torch.where(finite[:, None], spans, NO_ANSWER)
