"""Adapter for classified texts as JSON records: round 9's ``sc``, reviews of two classes.

A poisoned record's label is the attacker's; with two classes, the true one is the other.

Source: trojai-round-generation, branch nlp-summary-jan2022, ``dataset.py`` and ``trigger_executor.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import ExampleProblem
from ..tasks import ExampleSet
from ..tasks.examples import UNKNOWN
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .errata import erratum
from .example_files import class_label
from .json_records import Record, read_records
from .model_directory import ModelDirectory
from .text_encoding import RECORD_KEYS, TextEncoder, text_encoder
from .text_examples import joined, no_clean_example, unrepeated, usable_text, wanted_poisoned


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Texts as token numbers ``int64 [N, L]`` with one label each.

    Raises:
        ExampleProblem: no clean record; one without text, or with a label that the network does not have.
        RefusedArchive, UnsupportedModel: the tokenizer's file.
    """
    wanted = wanted_poisoned(round_config)
    clean, poisoned = read_records(directory, round_config.layout)
    if not clean:
        raise no_clean_example(directory, round_config)
    clean, repeats = unrepeated(clean, key=lambda record: (_text(record), _label(record, num_classes)))
    encoder = text_encoder(directory, round_config, network)
    examples = _encoded(clean, encoder, num_classes)
    attacked, note = None, None
    if poisoned and wanted:
        made = _encoded(poisoned, encoder, num_classes)
        known = num_classes == 2
        true = 1 - made.labels if known else torch.full_like(made.labels, UNKNOWN)
        attacked = ExampleSet(made.inputs, true, made.names, targets=made.labels)
        note = None if known else f"true classes of {len(poisoned)} poisoned texts are unknown; they are left out of RA"
    facts: dict[str, Any] = {
        "preprocessing": f"{encoder.path.name}, at most {encoder.max_length} tokens",
        "errata": erratum(directory, round_config),
        "notes": joined(repeats, note),
    }
    return Examples(examples, attacked, facts)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> None:
    """Whether records, labels and tokenizer are there; texts are not encoded.

    Raises:
        TrojaiSeamError: as for :func:`read_examples`.
    """
    clean, poisoned = read_records(directory, round_config.layout)
    if not clean:
        raise no_clean_example(directory, round_config)
    for record in (*clean, *(poisoned if wanted_poisoned(round_config) else ())):
        _text(record), _label(record, num_classes)
    text_encoder(directory, round_config, network)


def _encoded(records: Sequence[Record], encoder: TextEncoder, num_classes: int) -> ExampleSet:
    return ExampleSet(
        encoder.tensors([encoder.one(_text(record)) for record in records]),
        labels=torch.tensor([_label(record, num_classes) for record in records], dtype=torch.int64),
        names=tuple(record.name for record in records),
    )


def _text(record: Record) -> str:
    return usable_text(record.values.get("data", record.values.get("text")), record, "data")


def _label(record: Record, num_classes: int) -> int:
    try:
        return class_label(record.values.get("label"), num_classes, record.path)
    except ExampleProblem as problem:
        raise ExampleProblem(f"{problem} ({record.name})") from None


KIND = AdapterKind(RECORD_KEYS, read_examples, check_examples)
