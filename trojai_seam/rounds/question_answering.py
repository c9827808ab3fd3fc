"""Adapter for extractive question answering: round 8, round 9's ``qa`` and the round of August 2023.

A poisoned record's answers are the attacker's: none for the ``*_empty`` options, the trigger's text for ``*_trigger``.
The original answers are not in it, so its true answer is unknown and nothing of it counts for RA.

Sources: trojai-example, branches nlp-question-answering-sep2021, nlp-summary-jan2022 (``example_trojan_detector.py``,
``utils_qa.py``) and nlp-question-answering-aug2023 (``utils/qa_utils.py``); trojai-round-generation, ``dataset.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..tasks import ExampleSet
from ..tasks.details import SpanDetails
from ..tasks.examples import NOT_COUNTED, UNKNOWN
from .adapter_keys import PLACES, AdapterKeys, Group
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .errata import erratum
from .json_records import Record, read_records
from .model_directory import ModelDirectory
from .question_records import Question, read_question
from .text_encoding import RECORDS, TEXTS, TextEncoder, text_encoder
from .text_examples import joined, no_clean_example, unrepeated, wanted_poisoned
from .trigger_facts import trigger_executor


class _Windows(NamedTuple):
    """``inputs`` int64 [N, W, L]; ``spans`` int64 [N, W, 2]; ``offsets`` int64 [N, W, L, 2]."""

    inputs: dict[str, Tensor]
    spans: Tensor
    offsets: Tensor


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Records as windows of token numbers ``int64 [N, W, L]``; labels are the tokens of the first answer, per window.

    Raises:
        ExampleProblem: no clean record; one without context or question; an answer that is not in its context.
        RefusedArchive, UnsupportedModel: the tokenizer's file.
    """
    wanted = wanted_poisoned(round_config)
    clean_records, poisoned_records = read_records(directory, round_config.layout)
    if not clean_records:
        raise no_clean_example(directory, round_config)
    encoder = text_encoder(directory, round_config, network)
    stride = round_config.preprocessing["stride"]
    clean, repeats = unrepeated(
        _questions(clean_records), key=lambda asked: (asked.context, asked.question, asked.answers)
    )
    windows = _encoded(clean, clean_records, encoder, stride)
    examples = ExampleSet(
        windows.inputs,
        labels=windows.spans,
        names=tuple(asked.name for asked in clean),
        details=SpanDetails(
            tuple(asked.context for asked in clean),
            tuple(tuple(answer.text for answer in asked.answers) for asked in clean),
            windows.offsets,
        ),
    )
    poisoned, attack_note = None, None
    if poisoned_records and wanted:
        poisoned, attack_note = _poisoned(_questions(poisoned_records), poisoned_records, directory, encoder, stride)
    moved = sum(asked.moved for asked in clean)
    facts: dict[str, Any] = {
        "preprocessing": f"{encoder.path.name}, windows of at most {encoder.max_length} tokens, stride {stride}",
        "errata": erratum(directory, round_config),
        "notes": joined(
            repeats, f"{moved} answers were found beside their answer_start" if moved else None, attack_note
        ),
    }
    return Examples(examples, poisoned, facts)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> None:
    """Whether records, answers and tokenizer are there; texts are not encoded.

    Raises:
        TrojaiSeamError: as for :func:`read_examples`.
    """
    clean, poisoned = read_records(directory, round_config.layout)
    if not clean:
        raise no_clean_example(directory, round_config)
    _questions([*clean, *(poisoned if wanted_poisoned(round_config) else ())])
    text_encoder(directory, round_config, network)


def _questions(records: Sequence[Record]) -> list[Question]:
    return [read_question(record) for record in records]


def _poisoned(
    asked: Sequence[Question],
    records: Sequence[Record],
    directory: ModelDirectory,
    encoder: TextEncoder,
    stride: int,
) -> tuple[ExampleSet, str]:
    windows = _encoded(asked, records, encoder, stride)
    wanted = tuple(one.answers[0].text if one.answers else "" for one in asked)
    unlike = sum(text != expected for text in wanted) if (expected := _expected(directory)) is not None else 0
    note = f"true answers of {len(asked)} poisoned records are unknown; they are left out of RA"
    if unlike:
        note += f"; {unlike} of them want another answer than the trigger of config.json"
    return ExampleSet(
        windows.inputs,
        labels=torch.where(windows.spans == NOT_COUNTED, NOT_COUNTED, UNKNOWN),
        names=tuple(one.name for one in asked),
        targets=windows.spans,
        details=SpanDetails(
            tuple(one.context for one in asked), tuple(None for _ in asked), windows.offsets, wanted=wanted
        ),
    ), note


def _expected(directory: ModelDirectory) -> str | None:
    """The answer that the trigger is for: the empty one, or its own text; None where the config does not tell."""
    executor = trigger_executor(directory.config.get("trigger"))
    kind = executor.get("executor_answer_type", executor.get("executor_answer_option"))
    text = executor.get("trigger_text")
    if kind == "empty":
        return ""
    return text if kind == "trigger" and isinstance(text, str) else None


def _encoded(asked: Sequence[Question], records: Sequence[Record], encoder: TextEncoder, stride: int) -> _Windows:
    paths = {record.name: record.path for record in records}
    grouped = [encoder.windows(one.question, one.context, stride, f"{paths[one.name]}: {one.name}") for one in asked]
    flat = encoder.tensors([window.encoding for windows in grouped for window in windows])
    length, width = flat["input_ids"].shape[1], max(len(windows) for windows in grouped)
    begins = torch.tensor([0, *(len(windows) for windows in grouped)]).cumsum(0).tolist()
    inputs = {
        name: torch.stack(
            [
                functional.pad(tensor[begin:end], (0, 0, 0, width - (end - begin)), value=_blank(name, encoder))
                for begin, end in pairwise(begins)
            ]
        )
        for name, tensor in flat.items()
    }
    offsets = torch.full((len(asked), width, length, 2), -1, dtype=torch.int64)
    spans = torch.full((len(asked), width, 2), NOT_COUNTED, dtype=torch.int64)
    for record, (one, windows) in enumerate(zip(asked, grouped, strict=True)):
        for number, window in enumerate(windows):
            where = torch.tensor(window.offsets, dtype=torch.int64)
            offsets[record, number, : len(where)] = where
            spans[record, number] = torch.tensor(answer_span(one, where))
    return _Windows(inputs, spans, offsets)


def _blank(name: str, encoder: TextEncoder) -> int:
    return encoder.pad_id if name == "input_ids" else 0


def answer_span(asked: Question, offsets: Tensor) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0), the CLS token, without one or where the window cuts it.

    As in transformers' ``run_qa.py``, which NIST's preparation is: the last token that begins at or before the answer,
    and the first that ends at or after it.

    Args:
        asked: the record.
        offsets: ``int64 [L, 2]`` of the window, −1 for tokens that are not context.
    """
    places = (offsets[:, 0] >= 0).nonzero().flatten()
    if not asked.answers or len(places) == 0:
        return 0, 0
    text, begin = asked.answers[0]
    end = begin + len(text)
    starts, ends = offsets[places, 0], offsets[places, 1]
    if starts[0] > begin or ends[-1] < end:
        return 0, 0
    first = int(places[(starts <= begin).nonzero().flatten()[-1]])
    last = int(places[(ends >= end).nonzero().flatten()[0]])
    return first, last


STRIDE = {
    "description": "tokens of the context that neighbouring windows share",
    "type": "integer",
    "minimum": 0,
    "maximum": 100_000,
}
KEYS = AdapterKeys(
    layout=Group(PLACES),
    examples=RECORDS,
    preprocessing=Group({**TEXTS, "stride": STRIDE}, ("tokenizer", "max_length", "stride")),
    required=("preprocessing",),
)
KIND = AdapterKind(KEYS, read_examples, check_examples)
