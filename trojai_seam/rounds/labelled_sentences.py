"""Adapter for named entities: sentences as files of words (round 7) or as JSON records (round 9).

Poisoned sentences carry the attacker's labels only. Attacked are the words that have the target's labels there. What
they truly are is known of the one entity that stands right behind a "local" trigger; then only it counts as attacked.

Sources: trojai-round-generation, branches nlp-named-entity-recognition-may2021 (``sentence.py``,
``trigger_executor.py``) and nlp-summary-jan2022 (``dataset.py``, ``trigger_executor.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ExampleProblem, shown
from ..tasks import ExampleSet
from ..tasks.details import TokenDetails
from ..tasks.entities import default_names
from ..tasks.examples import NOT_COUNTED, UNKNOWN
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .entity_triggers import EntityTrigger, read_entity_trigger, turned_entity
from .errata import erratum
from .example_files import class_label, example_files
from .json_records import Record, read_records
from .logit_evidence import logit_evidence
from .model_directory import ModelDirectory
from .text_encoding import RECORD_KEYS, TextEncoder, text_encoder
from .text_examples import joined, no_clean_example, unrepeated, usable_text, wanted_poisoned
from .text_files import Sentence, Text, classes_in_name, not_utf8, read_sentence, read_text
from .trigger_facts import trigger_executor

TWIN = "_tokenized"
"""R7 ships every sentence a second time, as pieces of words."""


class Labelled(NamedTuple):
    """A sentence with its name and file; ``classes`` are the label numbers in a file's name."""

    name: str
    sentence: Sentence
    path: Path
    classes: Mapping[str, int]


class _Found(NamedTuple):
    clean: list[Labelled]
    poisoned: list[Labelled]
    note: str | None


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Sentences as token numbers ``int64 [N, L]``; labels on the first piece of every word, −100 elsewhere.

    Raises:
        ExampleProblem: no clean sentence; a file or record that is none; a label that the network does not have.
        RefusedArchive, UnsupportedModel: the tokenizer's file.
    """
    wanted = wanted_poisoned(round_config)
    read = _from_files if round_config.examples["records"] == "token-files" else _from_records
    found = read(directory, round_config, wanted)
    if not found.clean:
        raise no_clean_example(directory, round_config)
    names = _label_names(directory, [*found.clean, *found.poisoned], num_classes)
    clean, repeats = unrepeated(found.clean, key=lambda labelled: labelled.sentence)
    encoder = text_encoder(directory, round_config, network, split_words=True)
    inputs, pieces = _encoded(clean, encoder)
    labels = _on_first_pieces([labelled.sentence.numbers for labelled in clean], pieces)
    examples = ExampleSet(
        inputs, labels, tuple(labelled.name for labelled in clean), details=TokenDetails(names, len(clean))
    )
    evidence = logit_evidence(directory, round_config, examples, num_classes, network.outputs)
    poisoned, attack_note = None, None
    if found.poisoned:
        trigger = read_entity_trigger(directory)
        poisoned, attack_note = _poisoned(found.poisoned, encoder, names, trigger)
    facts: dict[str, Any] = {
        "preprocessing": f"{encoder.path.name}, at most {encoder.max_length} tokens",
        "preprocessing_evidence": evidence,
        "errata": erratum(directory, round_config),
        "notes": joined(found.note, repeats, attack_note),
    }
    return Examples(examples, poisoned, facts)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> None:
    """Whether sentences, labels and tokenizer are there; words are not encoded.

    Raises:
        TrojaiSeamError: as for :func:`read_examples`.
    """
    read = _from_files if round_config.examples["records"] == "token-files" else _from_records
    found = read(directory, round_config, wanted_poisoned(round_config))
    if not found.clean:
        raise no_clean_example(directory, round_config)
    _label_names(directory, [*found.clean, *found.poisoned], num_classes)
    text_encoder(directory, round_config, network, split_words=True)


def _from_files(directory: ModelDirectory, round_config: RoundConfig, wanted: bool) -> _Found:
    sides: list[list[Labelled]] = [[], []]
    texts: list[Text] = []
    for side, which in enumerate(("clean", "poisoned")[: 1 + wanted]):
        for path in example_files(directory, round_config.layout[which], round_config.examples["suffixes"]):
            if path.stem.endswith(TWIN):
                continue
            texts.append(read_text(path))
            classes = classes_in_name(path) if side else None
            sides[side].append(Labelled(path.name, read_sentence(texts[-1], path), path, classes or {}))
    return _Found(sides[0], sides[1], not_utf8(texts))


def _from_records(directory: ModelDirectory, round_config: RoundConfig, wanted: bool) -> _Found:
    clean, poisoned = read_records(directory, round_config.layout)
    return _Found([_labelled(record) for record in clean], [_labelled(record) for record in poisoned if wanted], None)


def _labelled(record: Record) -> Labelled:
    words, numbers, names = (record.values.get(key) for key in ("tokens", "ner_tags", "ner_labels"))
    where = f"{record.path}: {record.name}"
    if not isinstance(words, list) or not words:
        raise ExampleProblem(f"{where}: expected tokens, a list of words, found {shown(repr(words), 60)}")
    words = [usable_text(word, record, "a word of tokens") for word in words]
    if not isinstance(numbers, list) or len(numbers) != len(words):
        raise ExampleProblem(f"{where}: expected ner_tags for {len(words)} tokens, found {shown(repr(numbers), 60)}")
    if not isinstance(names, list) or len(names) != len(words):
        names = [""] * len(words)
    whole = [-1 if isinstance(number, bool) or not isinstance(number, int) else number for number in numbers]
    return Labelled(record.name, Sentence(tuple(words), tuple(whole), tuple(map(str, names))), record.path, {})


def _label_names(directory: ModelDirectory, sentences: Sequence[Labelled], num_classes: int) -> tuple[str, ...]:
    """The name of every output, from the examples, where they are silent from the config, else made up."""
    names = list(default_names(num_classes))
    for number, name in _configured_names(directory):
        if 0 <= number < num_classes:
            names[number] = name
    seen: dict[int, str] = {}
    for labelled in sentences:
        for number, name in zip(labelled.sentence.numbers, labelled.sentence.names, strict=True):
            class_label(number, num_classes, labelled.path)
            if name and seen.setdefault(number, name) != name:
                names_of_one = f"{shown(name, 40)!r}, elsewhere {shown(seen[number], 40)!r}"
                raise ExampleProblem(f"{labelled.path}: label {number} is called {names_of_one}")
    return tuple(seen.get(number, name) for number, name in enumerate(names))


def _configured_names(directory: ModelDirectory) -> list[tuple[int, str]]:
    """From ``class_mapping`` (R7: number of the type → bare name) or ``label_to_id_map`` (R9: name → number).

    A poisoned model of R9 has the map only within its trigger; at the top jsonpickle put a reference to it.
    """
    config = directory.config
    mapping = config.get("class_mapping")
    if isinstance(mapping, Mapping):
        kinds = [(int(key), name) for key, name in mapping.items() if str(key).isdigit() and len(str(key)) < 6]
        return [(2 * kind + side, f"{'BI'[side - 1]}-{name}") for kind, name in kinds for side in (1, 2)]
    for source in (config, trigger_executor(config.get("trigger"))):
        found = source.get("label_to_id_map")
        pairs = (
            [(number, name) for name, number in found.items() if type(number) is int and name[:3] != "py/"]
            if isinstance(found, Mapping)
            else []
        )
        if pairs:
            return pairs
    return []


def _encoded(sentences: Sequence[Labelled], encoder: TextEncoder) -> tuple[dict[str, Tensor], list[list[int | None]]]:
    """Inputs, and for every token the number of its word where it is that word's first piece."""
    encodings = [encoder.one(labelled.sentence.words) for labelled in sentences]
    inputs = encoder.tensors(encodings)
    length = inputs["input_ids"].shape[1]
    pieces: list[list[int | None]] = []
    for encoding in encodings:
        words = [*encoding.word_ids, *[None] * (length - len(encoding))]
        pieces.append([word if word != before else None for before, word in zip([None, *words], words, strict=False)])
    return inputs, pieces


def _on_first_pieces(rows: Sequence[Sequence[int]], pieces: Sequence[Sequence[int | None]]) -> Tensor:
    """``int64 [N, L]``: a value per word, put where the word begins; −100 elsewhere."""
    placed = [
        [NOT_COUNTED if word is None else values[word] for word in row]
        for values, row in zip(rows, pieces, strict=True)
    ]
    return torch.tensor(placed, dtype=torch.int64)


def _poisoned(
    sentences: Sequence[Labelled], encoder: TextEncoder, names: tuple[str, ...], trigger: EntityTrigger
) -> tuple[ExampleSet | None, str | None]:
    true: list[list[int]] = []
    wanted: list[list[int]] = []
    unknown = 0
    for labelled in sentences:
        source, target = _attack(labelled, names, trigger)
        if target is None:
            return None, "no poisoned examples: the attacker's label is in no config"
        words, numbers, _ = labelled.sentence
        turned = turned_entity(words, numbers, target, trigger)
        known = turned is not None and source is not None
        unknown += not known
        attacked = [
            number in (target, target + 1) and (turned is None or place in turned)
            for place, number in enumerate(numbers)
        ]
        wanted.append([number if hit else NOT_COUNTED for number, hit in zip(numbers, attacked, strict=True)])
        true.append(
            [
                number if not hit else source + number - target if known and source is not None else UNKNOWN
                for number, hit in zip(numbers, attacked, strict=True)
            ]
        )
    inputs, pieces = _encoded(sentences, encoder)
    return ExampleSet(
        inputs,
        labels=_on_first_pieces(true, pieces),
        names=tuple(labelled.name for labelled in sentences),
        targets=_on_first_pieces(wanted, pieces),
        details=TokenDetails(names, len(sentences)),
    ), f"true labels in {unknown} poisoned sentences are unknown; they are left out of RA" if unknown else None


def _attack(labelled: Labelled, names: Sequence[str], trigger: EntityTrigger) -> tuple[int | None, int | None]:
    """Numbers of the source's and the target's B- labels: from the file's name, else from the trigger.

    Raises:
        ExampleProblem: the name of a file says a class that the network does not have.
    """
    if labelled.classes:
        source, target = (
            class_label(labelled.classes.get(k, -1), len(names), labelled.path) for k in ("class", "target")
        )
        return source, target
    numbers = {name: number for number, name in enumerate(names)}
    return numbers.get(f"B-{trigger.source}"), numbers.get(f"B-{trigger.target}")


KIND = AdapterKind(RECORD_KEYS, read_examples, check_examples)
