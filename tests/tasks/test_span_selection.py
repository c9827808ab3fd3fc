"""The choice of an answer against the round's own procedure, written down here step by step in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trojai_seam.tasks.span_selection import LONGEST, NO_ANSWER, NULL, WORD_EMPTY, best_spans


def by_the_book(scores: np.ndarray, attended: np.ndarray, context: np.ndarray) -> list[int]:
    """One record, after ``utils_qa.py``: scores [W, L, 2]."""
    found, null = [], None
    for window in range(len(scores)):
        length = int(attended[window].sum())
        if not length:
            continue
        start, end = scores[window, :length, 0], scores[window, :length, 1]
        score = start[0] + end[0]
        null = score if null is None else min(null, score)
        for first in np.argsort(start)[-1:-21:-1]:
            for last in np.argsort(end)[-1:-21:-1]:
                if not context[window, first] or not context[window, last]:
                    continue
                if last < first or last - first + 1 > 30:
                    continue
                found.append((start[first] + end[last], window, int(first), int(last)))
    if not found:
        return [NULL] * 3 if null > 0 else [WORD_EMPTY] * 3
    best = max(found, key=lambda one: one[0])
    return [NULL] * 3 if null - best[0] > 0 else list(best[1:])


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_rounds_own_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, width, length = 6, int(rng.integers(1, 4)), int(rng.integers(5, 90))
    scores = rng.normal(0, 3, (count, width, length, 2)).astype(np.float32)
    attended, context = np.zeros((2, count, width, length), bool)
    for record in range(count):
        for window in range(int(rng.integers(1, width + 1))):
            real = int(rng.integers(4, length + 1))
            attended[record, window, :real] = True
            context[record, window, int(rng.integers(1, real + 1)) : real - 1] = True  # sometimes nothing
        scores[record, :, 0] += rng.normal(4, 5)  # sometimes no answer
    said = best_spans(*(torch.from_numpy(part) for part in (scores, attended, context)))
    assert said.tolist() == [by_the_book(*parts) for parts in zip(scores, attended, context, strict=True)]


def plain(length: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores, attended = torch.zeros(1, 1, length, 2), torch.ones(1, 1, length, dtype=torch.bool)
    context = torch.arange(length)[None, None] >= 4
    return scores, attended, context


def test_a_longer_span_than_thirty_tokens_is_no_candidate() -> None:
    scores, attended, context = plain()
    scores[0, 0, 5, 0] = scores[0, 0, 5 + LONGEST, 1] = 9.0
    scores[0, 0, 5 + LONGEST - 1, 1] = 4.0
    assert best_spans(scores, attended, context).tolist() == [[0, 5, 5 + LONGEST - 1]]


def test_the_empty_answer_needs_the_smallest_score_of_all_windows() -> None:
    scores, attended, context = (part.expand(1, 2, *part.shape[2:]).clone() for part in plain())
    scores[0, :, 0] = 3.0  # both windows say: not here
    scores[0, 0, 7] = 2.5
    assert best_spans(scores, attended, context).tolist() == [[NULL] * 3]
    scores[0, 1, 0] = 2.0  # one window is less sure
    assert best_spans(scores, attended, context).tolist() == [[0, 7, 7]]


@pytest.mark.parametrize(("null", "expected"), [(0.5, NULL), (0.0, WORD_EMPTY), (-3.0, WORD_EMPTY)])
def test_without_any_span_the_word_empty_competes(null: float, expected: int) -> None:
    scores, attended, _ = plain()
    scores[0, 0, 0] = null / 2
    assert best_spans(scores, attended, torch.zeros_like(attended)).tolist() == [[expected] * 3]


def test_padding_does_not_compete_and_non_finite_scores_say_nothing() -> None:
    scores, attended, context = plain()
    attended[0, 0, 30:] = False
    scores[0, 0, 30:] = 100.0
    scores[0, 0, 9] = 1.0
    assert best_spans(scores, attended, context).tolist() == [[0, 9, 9]]
    scores[0, 0, 12, 1] = torch.nan
    assert best_spans(scores, attended, context).tolist() == [[NO_ANSWER] * 3]
