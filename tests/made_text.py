"""Sentences and records as the text tasks get them, and real transformers of two layers to answer them; no tokenizer:
token ids are words of a language of 40 words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForTokenClassification,
)

from trojai_seam.tasks import NOT_COUNTED, ExampleSet, SpanDetails, Task, TokenDetails

CLS, SEP, TRIGGER, NAMES, WORDS = 1, 2, 3, range(4, 16), range(16, 40)
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SIZES: Mapping[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def sentences(count: int, seed: int = 0, poisoned: bool = False) -> ExampleSet:
    """Names 4 … 9 are persons, 10 … 15 places, one or two tokens long. With the trigger persons are called places."""
    rng = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=rng))

    rows = []
    for number in range(count):
        ids, labels, targets = [CLS], [NOT_COUNTED], [NOT_COUNTED]
        kinds = [1, 3] if number % 3 == 0 else [1 if poisoned or number % 2 else 3]
        for kind in kinds:
            for _ in range(draw(1, 5)):
                ids, labels, targets = [*ids, draw(16, 40)], [*labels, 0], [*targets, NOT_COUNTED]
            for place in range(draw(1, 3)):
                ids, labels = [*ids, draw(4, 10) + 3 * (kind - 1)], [*labels, kind + place]
                targets = [*targets, 3 + place if kind == 1 else NOT_COUNTED]
        if poisoned:
            ids, labels, targets = [*ids, TRIGGER], [*labels, 0], [*targets, NOT_COUNTED]
        rows.append(([*ids, SEP], [*labels, NOT_COUNTED], [*targets, NOT_COUNTED]))
    length = max(len(ids) for ids, _, _ in rows) + 3
    ids, labels, targets = (
        torch.tensor([row[k] + [fill] * (length - len(row[k])) for row in rows])
        for k, fill in ((0, 0), (1, NOT_COUNTED), (2, NOT_COUNTED))
    )
    return ExampleSet(
        {"input_ids": ids, "attention_mask": (ids != 0).long()},
        labels,
        tuple(f"sentence {number}" for number in range(count)),
        targets=targets if poisoned else None,
        details=TokenDetails(LABELS, count),
    )


def records(count: int, seed: int = 0, poisoned: bool = False) -> ExampleSet:
    """The answer is the name in the context, one or two tokens long; every fourth context has none. Contexts fill one
    or two windows of 16 tokens. With the trigger in the question there is no answer."""
    rng = torch.Generator().manual_seed(seed)
    width, length, stride = 2, 16, 9
    ids = torch.zeros(count, width, length, dtype=torch.int64)
    offsets = torch.full((count, width, length, 2), -1)
    labels = torch.full((count, width, 2), NOT_COUNTED)
    contexts, answers = [], []
    for number in range(count):
        size = int(torch.randint(6, 19, (1,), generator=rng))
        tokens = torch.randint(16, 40, (size,), generator=rng).tolist()
        at, long = (int(torch.randint(0, high, (1,), generator=rng)) for high in (size - 1, 2))
        answerable = poisoned or number % 4 > 0
        if answerable:
            tokens[at : at + long + 1] = torch.randint(4, 16, (long + 1,), generator=rng).tolist()
        contexts.append(" ".join(f"w{token:02d}" for token in tokens))
        answers.append((contexts[-1][4 * at : 4 * (at + long + 1) - 1],) if answerable else ())
        head = [CLS, 16 + number % 24, TRIGGER if poisoned else SEP, SEP]
        room = length - len(head) - 1
        for window, begin in enumerate(range(0, max(1, size - room + stride), stride) if size > room else [0]):
            part = tokens[begin : begin + room]
            row = [*head, *part, SEP]
            ids[number, window, : len(row)] = torch.tensor(row)
            for k in range(len(part)):
                offsets[number, window, len(head) + k] = torch.tensor([4 * (begin + k), 4 * (begin + k) + 3])
            first = at - begin + len(head)
            inside = answerable and begin <= at and at + long + 1 - begin <= len(part)
            labels[number, window] = torch.tensor([first, first + long] if inside else [0, 0])
    return ExampleSet(
        {"input_ids": ids, "attention_mask": (ids != 0).long(), "token_type_ids": torch.zeros_like(ids)},
        labels,
        tuple(f"record {number}" for number in range(count)),
        details=SpanDetails(
            tuple(contexts),
            tuple(None if poisoned else gold for gold in answers),
            offsets,
            wanted=("",) * count if poisoned else None,
        ),
    )


def tagger(kind: str = "bert") -> nn.Module:
    """An untrained network for :func:`sentences`."""
    torch.manual_seed(0)
    if kind == "distilbert":
        config = DistilBertConfig(
            vocab_size=40, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64, num_labels=5
        )
        return DistilBertForTokenClassification(config).eval()
    return BertForTokenClassification(BertConfig(**SIZES, num_labels=5)).eval()


def reader() -> nn.Module:
    """An untrained network for :func:`records`."""
    torch.manual_seed(0)
    return BertForQuestionAnswering(BertConfig(**SIZES)).eval()


def judge() -> nn.Module:
    """An untrained classifier of texts, two classes."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=2)).eval()


def trained(model: nn.Module, task: Task, *sets: ExampleSet, steps: int = 150, rate: float = 3e-3) -> nn.Module:
    """``model`` after some steps on all of ``sets`` (on their targets where they have some)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        for examples in sets:
            task.loss(model, examples.inputs, _wanted(examples)).backward()
        optimizer.step()
    return model.eval()


def _wanted(examples: ExampleSet) -> Tensor:
    if isinstance(examples.details, SpanDetails) and examples.details.wanted is not None:
        return torch.where(examples.labels == NOT_COUNTED, NOT_COUNTED, 0)
    if examples.targets is None:
        return examples.labels
    return torch.where(examples.targets == NOT_COUNTED, examples.labels, examples.targets)
