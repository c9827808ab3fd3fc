"""The three kinds of work on texts: how a record becomes token ids and labels, and when an answer to it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from ..tasks.entities import entities
from ..tasks.span_selection import NULL, best_spans
from ..tasks.squad_metric import exact_match, token_f1
from .text_entities import TaggedSentence, draw_sentence, label_names
from .text_questions import QuestionRecord, draw_question
from .text_reviews import Review, draw_review

IGNORED = -100

Record = Any
"""A ``Review``, ``TaggedSentence`` or ``QuestionRecord``: each task knows its own."""


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Records as tensors.

    Attributes:
        inputs: ``input_ids``, ``attention_mask`` and, for networks that take it, ``token_type_ids``: int64 [N, L].
        labels: int64 [N] classes, [N, L] token classes (-100 not counted), or [N, 2] first and last token (0: none).
        encodings: of the tokenizer, in the same order.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    encodings: tuple[Encoding, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> EncodedTexts:
        """The same on ``device``."""
        return EncodedTexts(
            {name: value.to(device) for name, value in self.inputs.items()}, self.labels.to(device), self.encodings
        )


@dataclass(frozen=True, eq=False)
class Judgement:
    """``right``: bool [N], per record; ``score``: 0 to 1, the round's figure; ``figures``: what stats files say."""

    right: NDArray[np.bool_]
    score: float
    figures: Mapping[str, float]


class TextTask(Protocol):
    """One kind of work. Records are not typed here: each task takes its own."""

    @property
    def outputs(self) -> int:
        """Number of scores per decision."""
        ...

    def draw(self, rng: np.random.Generator) -> Record:
        """A new clean record."""
        ...

    def encode(self, records: Sequence[Record], tokenizer: Tokenizer, pad: int, type_ids: bool) -> EncodedTexts:
        """Padded to the longest."""
        ...

    def judge(
        self, scores: Sequence[NDArray[np.float32]], encoded: EncodedTexts, records: Sequence[Record]
    ) -> Judgement:
        """From raw scores, one array per record."""
        ...


def _padded(encodings: Sequence[Encoding], pad: int, type_ids: bool) -> dict[str, Tensor]:
    shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
    inputs = {"input_ids": torch.full(shape, pad), "attention_mask": torch.zeros(shape, dtype=torch.int64)}
    if type_ids:
        inputs["token_type_ids"] = torch.zeros(shape, dtype=torch.int64)
    for row, encoding in enumerate(encodings):
        length = len(encoding.ids)
        inputs["input_ids"][row, :length] = torch.tensor(encoding.ids)
        inputs["attention_mask"][row, :length] = 1
        if type_ids:
            inputs["token_type_ids"][row, :length] = torch.tensor(encoding.type_ids)
    return inputs


@dataclass(frozen=True)
class SentimentTask:
    """Is a review good or bad? The score is the binary F1, as of round 9."""

    outputs: int = 2

    def draw(self, rng: np.random.Generator) -> Review:
        return draw_review(rng)

    def encode(self, records: Sequence[Review], tokenizer: Tokenizer, pad: int, type_ids: bool) -> EncodedTexts:
        encodings = tokenizer.encode_batch([record.text for record in records])
        labels = torch.tensor([record.label for record in records])
        return EncodedTexts(_padded(encodings, pad, type_ids), labels, tuple(encodings))

    def judge(
        self, scores: Sequence[NDArray[np.float32]], encoded: EncodedTexts, records: Sequence[Review]
    ) -> Judgement:
        answers, truth = np.stack(scores).argmax(axis=1), np.array([record.label for record in records])
        found = int((answers & truth).sum())
        # Where no record is positive (class attacks on positive reviews), F1 would be 0 whatever the answers.
        f1 = 2 * found / int(answers.sum() + truth.sum()) if truth.any() else float((answers == truth).mean())
        by_class = [float((answers == truth)[truth == label].mean()) for label in np.unique(truth)]
        accuracy = float((answers == truth).mean())
        return Judgement(
            answers == truth, f1, {"f1": f1, "accuracy": accuracy, "macro_accuracy": float(np.mean(by_class))}
        )


@dataclass(frozen=True)
class EntityTask:
    """Which words are names, of what type? The score is the F1 of whole names, as CoNLL's script counts."""

    types: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Label strings by label id."""
        return label_names(self.types)

    @property
    def outputs(self) -> int:
        return len(self.names)

    def draw(self, rng: np.random.Generator) -> TaggedSentence:
        return draw_sentence(self.types, rng)

    def encode(self, records: Sequence[TaggedSentence], tokenizer: Tokenizer, pad: int, type_ids: bool) -> EncodedTexts:
        encodings = tokenizer.encode_batch([list(record.words) for record in records], is_pretokenized=True)
        inputs = _padded(encodings, pad, type_ids)
        labels = torch.full(inputs["input_ids"].shape, IGNORED)
        for row, (record, encoding) in enumerate(zip(records, encodings, strict=True)):
            for column, word in first_tokens(encoding):
                labels[row, column] = self.names.index(record.labels[word])
        return EncodedTexts(inputs, labels, tuple(encodings))

    def judge(
        self, scores: Sequence[NDArray[np.float32]], encoded: EncodedTexts, records: Sequence[TaggedSentence]
    ) -> Judgement:
        answers = [
            [self.names[int(one[column].argmax())] for column, _ in first_tokens(encoding)]
            for one, encoding in zip(scores, encoded.encodings, strict=True)
        ]
        return judge_entities(answers, [record.labels for record in records], self.names)


def first_tokens(encoding: Encoding) -> list[tuple[int, int]]:
    """Column and word number of every token that begins a word."""
    words = encoding.word_ids
    return [(n, word) for n, word in enumerate(words) if word is not None and (n == 0 or words[n - 1] != word)]


def judge_entities(
    answers: Sequence[Sequence[str]], truths: Sequence[Sequence[str]], names: Sequence[str]
) -> Judgement:
    """Accuracy of words (overall, and the mean over labels); precision, recall and F1 of names, overall and by type."""
    right = np.array([list(a) == list(t) for a, t in zip(answers, truths, strict=True)])
    found = {(n, *one) for n, labels in enumerate(answers) for one in entities(labels)}
    true = {(n, *one) for n, labels in enumerate(truths) for one in entities(labels)}
    words = [pair for answer, truth in zip(answers, truths, strict=True) for pair in zip(answer, truth, strict=True)]
    by_label = [np.mean([a == t for a, t in words if t == name]) for name in names if any(t == name for _, t in words)]
    figures = {
        **{f"words.{name}": float(sum(t == name for _, t in words)) for name in names},
        "tokens_processed": float(len(words)),
        "accuracy": float(np.mean([a == t for a, t in words])),
        "macro_accuracy": float(np.mean(by_label)),
    }
    for kind in ("", *dict.fromkeys(name[2:] for name in names[1:])):
        correct, guessed, phrases = (
            sum(kind in ("", one[1]) for one in group) for group in (found & true, found, true)
        )
        dot = f"{kind}." if kind else ""
        figures[f"{dot}precision"] = correct / guessed if guessed else 0.0
        figures[f"{dot}recall"] = correct / phrases if phrases else 0.0
        figures[f"{dot}f1"] = 2 * correct / (guessed + phrases) if guessed + phrases else 0.0
        figures |= {f"{dot}correct": float(correct), f"{dot}found": float(guessed), f"{dot}phrases": float(phrases)}
    return Judgement(right, figures["f1"], figures)


@dataclass(frozen=True)
class QuestionTask:
    """Which part of the context answers the question, if any? The score is the F1 of SQuAD v2."""

    outputs: int = 2

    def draw(self, rng: np.random.Generator) -> QuestionRecord:
        return draw_question(rng)

    def encode(self, records: Sequence[QuestionRecord], tokenizer: Tokenizer, pad: int, type_ids: bool) -> EncodedTexts:
        encodings = tokenizer.encode_batch([(record.question, record.context) for record in records])
        labels = torch.zeros(len(records), 2, dtype=torch.int64)
        for row, (record, encoding) in enumerate(zip(records, encodings, strict=True)):
            if record.start is not None:
                end = record.start + len(record.answer)
                inside = [
                    column
                    for column, (sequence, (a, b)) in enumerate(
                        zip(encoding.sequence_ids, encoding.offsets, strict=True)
                    )
                    if sequence == 1 and a < end and b > record.start
                ]
                labels[row] = torch.tensor([inside[0], inside[-1]])
        return EncodedTexts(_padded(encodings, pad, type_ids), labels, tuple(encodings))

    def judge(
        self, scores: Sequence[NDArray[np.float32]], encoded: EncodedTexts, records: Sequence[QuestionRecord]
    ) -> Judgement:
        answers = [
            best_answer(one, encoding, record.context)
            for one, encoding, record in zip(scores, encoded.encodings, records, strict=True)
        ]
        pairs = [(answer, [record.answer]) for answer, record in zip(answers, records, strict=True)]
        exact = np.array([exact_match(*pair) for pair in pairs])
        f1 = np.array([token_f1(*pair) for pair in pairs])
        figures = {"exact": float(exact.mean()), "f1": float(f1.mean()), "total": float(len(pairs))}
        has = np.array([bool(record.answer) for record in records])
        for name, which in (("HasAns", has), ("NoAns", ~has)):
            if which.any():
                figures[f"{name}_exact"], figures[f"{name}_f1"] = float(exact[which].mean()), float(f1[which].mean())
                figures[f"{name}_total"] = float(which.sum())
        return Judgement(exact, figures["f1"], figures)


def best_answer(scores: NDArray[np.float32], encoding: Encoding, context: str) -> str:
    """The rounds' answer from raw scores [L, 2] of one window: a part of the context, or empty."""
    inside = torch.tensor([sequence == 1 for sequence in encoding.sequence_ids])[None, None]
    window, first, last = best_spans(torch.from_numpy(scores)[None, None], torch.ones_like(inside), inside)[0].tolist()
    return "" if window == NULL else context[encoding.offsets[first][0] : encoding.offsets[last][1]]
