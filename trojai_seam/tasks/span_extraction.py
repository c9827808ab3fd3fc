"""Extractive question answering: a span of the context, or nothing (NIST's rounds 8, 9 and QA of August 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem
from .calling import call
from .details import SpanDetails
from .examples import MASK, NOT_COUNTED, REAL_WINDOWS, ExampleSet
from .marks import AttackMarks, CleanMarks, Marks
from .span_selection import LONGEST, NULL, WORD_EMPTY, best_spans
from .squad_metric import exact_match, normalised, token_f1

GUESSES = 64
"""Random answers per record for the score of guessing."""


class SpanExtraction:
    """One record of question and context per example, in up to W overlapping windows of L tokens.

    Labels ``int64 [N, W, 2]``: start and end token per window, (0, 0), the CLS token, where a window does not hold the
    answer, −100 for windows that only pad. ``details`` must be :class:`SpanDetails`; answers are marked against its
    texts. Accuracy is the mean token F1 of the official SQuAD metric, as NIST reports it; exact match stands beside it.
    """

    name = "span-extraction"
    places = False

    def __init__(self, num_classes: int = 2) -> None:
        self.num_classes = num_classes

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """``float [n, W, L, 2]``, start and end scores; 0 in windows that only pad, which the network never sees."""
        tensors = {name: tensor for name, tensor in inputs.items() if name != REAL_WINDOWS}
        count, width, length = tensors[MASK].shape
        real = inputs.get(REAL_WINDOWS)
        if real is None:
            real = tensors[MASK].flatten(0, 1).any(dim=1).nonzero().flatten()
        seen = _start_and_end(call(model, {name: tensor.flatten(0, 1)[real] for name, tensor in tensors.items()}))
        blank = seen.new_zeros(count * width, length, 2)
        return blank.index_copy(0, real, seen).view(count, width, length, 2)

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Mean of start and end cross-entropy over the batch's real windows; padding is no choice."""
        scores = self.outputs(model, inputs)
        padding = inputs[MASK] == 0
        scores = scores.masked_fill((padding & ~padding.all(dim=2, keepdim=True))[..., None], -1e9)
        wanted = labels[:, : scores.shape[1]]
        parts = [
            functional.cross_entropy(
                scores[..., side].flatten(0, 1), wanted[..., side].flatten(), ignore_index=NOT_COUNTED
            )
            for side in (0, 1)
        ]
        return (parts[0] + parts[1]) / 2

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        """A random span of the context in every real window: start uniform, then length uniform up to 30 tokens.

        ``wrong-only`` never draws the true start. The empty answer is never drawn: forgetting "there is no answer" is
        part of forgetting.
        """
        if sampling not in ("uniform", "wrong-only"):
            raise UsageProblem(f"label sampling {sampling!r} is not one of 'uniform', 'wrong-only'")
        labels = truth.labels[order]
        context = _details(truth).offsets[order][..., 0] >= 0
        first, count = context.int().argmax(dim=2), context.sum(dim=2)
        share, stretch = torch.rand((2, *count.shape), generator=generator, dtype=torch.float64)
        if sampling == "wrong-only":
            true = (labels[..., 0] - first).clamp(min=0)
            others = (count - (labels[..., 0] >= first).long()).clamp(min=1)
            place = torch.where(labels[..., 0] >= first, true + 1, 0) + (share * others).long()
            place = place % count.clamp(min=1)
        else:
            place = (share * count).long()
        longest = (count - place).clamp(min=1, max=LONGEST)
        start = first + place
        drawn = torch.stack([start, start + (stretch * longest).long()], dim=2)
        drawn = torch.where((count > 0)[..., None], drawn, 0)
        return torch.where(labels == NOT_COUNTED, labels, drawn)

    def predictions(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        """``int64 [N, 3]``: see :func:`best_spans`."""
        width, length = outputs.shape[1:3]
        attended = examples.inputs[MASK][:, :width, :length] != 0
        context = _details(examples).offsets[:, :width, :length, 0] >= 0
        return best_spans(outputs, attended, context)

    def texts(self, predictions: Tensor, truth: ExampleSet) -> list[str | None]:
        """What the answers say; ``None`` for scores that are not finite."""
        details = _details(truth)
        return [_text(details, record, *span) for record, span in enumerate(predictions.tolist())]

    def marks(self, predictions: Tensor, truth: ExampleSet) -> CleanMarks:
        """Token F1 of every record whose answers are known; beside it exact match, 0 or 1 per record."""
        said, known = self.texts(predictions, truth), _details(truth).answers
        exact = _graded(exact_match, said, known)
        return CleanMarks(_graded(token_f1, said, known), {"exact": Marks(exact.points, exact.counted)})

    def attack_marks(self, predictions: Tensor, truth: ExampleSet) -> AttackMarks:
        """Success is the attacker's answer: the empty one itself, or the trigger's text by exact match. Records whose
        right answer it is do not count. The true answer is marked by token F1 where it is known."""
        details = _details(truth)
        if details.wanted is None:
            return AttackMarks.nothing(len(truth))
        said, use = self.texts(predictions, truth), _attacked(details, details.wanted)
        hits = [text is not None and _same(text, wanted) for text, wanted in zip(said, details.wanted, strict=True)]
        known = tuple(gold if used else None for gold, used in zip(details.answers, use, strict=True))
        return AttackMarks(Marks.of_examples(np.array(hits, bool), use), _graded(token_f1, said, known))

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).flatten(1).all(dim=1)

    def strata(self, truth: ExampleSet) -> list[int]:
        """0 for records without an answer, 1 for the others."""
        return [int(bool(gold)) for gold in _details(truth).answers]

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        """Mean token F1."""
        return _graded(token_f1, self.texts(predictions, truth), _details(truth).answers).share or 0.0

    def chance(self, truth: ExampleSet) -> float:
        """The share of records without an answer, or the score of guessing if that is larger."""
        silent = torch.full((len(truth), 3), NULL)
        return max(self.fit_accuracy(silent, truth), self.guess(truth))

    def guess(self, truth: ExampleSet) -> float:
        """Mean F1 of random spans inside the context (64 per record, always the same ones)."""
        generator = torch.Generator().manual_seed(0)
        order = torch.arange(len(truth))
        real = (truth.labels != NOT_COUNTED).all(dim=2)
        # The first window of a record, which is always real, stands for the others.
        scores = []
        for _ in range(GUESSES):
            drawn = self.random_labels(truth, order, "uniform", generator)[:, 0]
            spans = torch.cat([torch.zeros(len(truth), 1, dtype=torch.int64), drawn], dim=1)
            scores.append(self.fit_accuracy(torch.where(real[:, :1], spans, NULL), truth))
        return float(np.mean(scores)) if scores else 0.0


def _details(examples: ExampleSet) -> SpanDetails:
    if not isinstance(examples.details, SpanDetails):
        raise TypeError("examples of span extraction need SpanDetails")
    return examples.details


def _start_and_end(result: Any) -> Tensor:
    """``float [R, L, 2]`` from a transformers output or a tuple of start and end scores ``[R, L]``."""
    start, end = getattr(result, "start_logits", None), getattr(result, "end_logits", None)
    if start is None or end is None:
        if not isinstance(result, tuple):
            raise TypeError(f"no start and end scores in the {type(result).__name__} that the network returned")
        start, end = [part for part in result if isinstance(part, Tensor) and part.ndim == 2][:2]
    return torch.stack([start, end], dim=-1)


def _text(details: SpanDetails, record: int, window: int, first: int, last: int) -> str | None:
    if window >= 0:
        begin, end = int(details.offsets[record, window, first, 0]), int(details.offsets[record, window, last, 1])
        return details.contexts[record][begin:end]
    return {NULL: "", WORD_EMPTY: "empty"}.get(window)


def _graded(measure: Any, said: list[str | None], answers: tuple[tuple[str, ...] | None, ...]) -> Marks:
    points = [
        0.0 if text is None or gold is None else float(measure(text, gold))
        for text, gold in zip(said, answers, strict=True)
    ]
    return Marks(np.array(points), np.array([gold is not None for gold in answers], np.int64), graded=True)


def _same(said: str, wanted: str) -> bool:
    """The empty answer is only the empty text; a trigger of nothing but punctuation must be met to the letter."""
    if not wanted or not normalised(wanted):
        return said.strip() == wanted.strip()
    return normalised(said) == normalised(wanted)


def _attacked(details: SpanDetails, wanted: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    pairs = zip(wanted, details.answers, strict=True)
    return np.array([gold is None or not any(_same(g, text) for g in gold or ("",)) for text, gold in pairs], bool)
