"""Adapter for rounds 5 and 6: reviews whose vectors a frozen transformer makes, and a head that is the model.

The vectors that shipped with the examples verify the embedding, or stand in for it where its file is absent.

Sources: trojai-round-generation and trojai-example, branches nlp-sentiment-classification-mar2021 and -apr2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ExampleProblem, shown
from ..tasks import UNKNOWN, ExampleSet
from .adapter_keys import LOGITS, PLACES, SUFFIXES, AdapterKeys, Group, labels, texts
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .errata import erratum
from .example_files import class_label, example_files
from .frozen_embeddings import embedding_without_memory, text_vectors
from .logit_evidence import logit_evidence
from .model_directory import ModelDirectory, as_truth
from .shared_parts import find_part, need_part
from .shipped_logits import read_rows, relative_error
from .text_encoding import MAX_LENGTH, PART, text_encoder
from .text_examples import joined, no_clean_example, unrepeated, wanted_poisoned
from .text_files import Text, classes_in_name, not_utf8, read_text

TOLERANCE = 0.01
"""Relative to the largest number of a shipped vector; the right embedding is off by some 1e-5."""


class Review(NamedTuple):
    """A text with its true class, and the attacker's if it is poisoned."""

    path: Path
    text: Text
    label: int
    target: int | None


class _Vectors(NamedTuple):
    values: NDArray[np.float32]
    told: str
    evidence: str | None
    note: str | None


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Embeddings of reviews as ``float32 [N, 1, E]``, with the classes in their file names.

    Raises:
        ExampleProblem: no clean review with a class; neither embedding nor shipped vectors, or ones that contradict
            each other; vectors of another length than the head takes.
        RefusedArchive, UnsupportedModel: the file of the tokenizer or the embedding.
    """
    wanted = wanted_poisoned(round_config)
    clean, unlabelled = _clean_reviews(directory, round_config, num_classes)
    poisoned, _ = _reviews(directory, round_config, "poisoned", num_classes) if wanted else ([], 0)
    clean, repeats = unrepeated(clean, key=lambda review: (review.text.text, review.label))
    both = [*clean, *poisoned]
    vectors = _vectors(directory, round_config, both, network)
    x = torch.from_numpy(vectors.values)[:, None, :]
    examples = ExampleSet(
        {"x": x[: len(clean)]},
        labels=torch.tensor([review.label for review in clean]),
        names=tuple(review.path.name for review in clean),
    )
    attacked = None
    if poisoned:
        attacked = ExampleSet(
            {"x": x[len(clean) :]},
            labels=torch.tensor([review.label for review in poisoned]),
            names=tuple(review.path.name for review in poisoned),
            targets=torch.tensor([review.target for review in poisoned]),
        )
    facts: dict[str, Any] = {
        "preprocessing": vectors.told,
        "preprocessing_evidence": joined(
            vectors.evidence, logit_evidence(directory, round_config, examples, num_classes, network.outputs)
        ),
        "errata": erratum(directory, round_config),
        "notes": joined(
            f"{unlabelled} texts without a class in their name are left out" if unlabelled else None,
            not_utf8([review.text for review in both]),
            repeats,
            vectors.note,
        ),
    }
    return Examples(examples, attacked, facts)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Mapping[str, tuple[int, ...]] | None:
    """Whether reviews, labels, tokenizer and embedding are there; nothing is embedded.

    Raises:
        TrojaiSeamError: as for :func:`read_examples`.
    """
    clean, _ = _clean_reviews(directory, round_config, num_classes)
    poisoned: list[Review] = []
    if wanted_poisoned(round_config):
        poisoned, _ = _reviews(directory, round_config, "poisoned", num_classes)
    rules = round_config.preprocessing
    embedding, tokenizer = (find_part(directory, rules[kind]).found for kind in ("embedding", "tokenizer"))
    if embedding is None or tokenizer is None:
        shipped = _shipped(directory, rules.get("vectors", {}))
        if any((review.target is not None, review.path.name) not in shipped for review in (*clean, *poisoned)):
            missing = "embedding" if embedding is None else "tokenizer"
            need_part(directory, rules[missing], missing)
    else:
        _pooling(directory, rules["pooling"])
        text_encoder(directory, round_config, network, embedding_without_memory(embedding, network.workplace.budget))
    return None if network.input_shape is None else {"x": network.input_shape}


def _clean_reviews(directory: ModelDirectory, round_config: RoundConfig, num_classes: int) -> tuple[list[Review], int]:
    clean, unlabelled = _reviews(directory, round_config, "clean", num_classes)
    if not clean:
        if unlabelled:
            raise ExampleProblem(f"{directory.path}: none of its {unlabelled} texts has a class in its name")
        raise no_clean_example(directory, round_config)
    return clean, unlabelled


def _reviews(
    directory: ModelDirectory, round_config: RoundConfig, which: str, num_classes: int
) -> tuple[list[Review], int]:
    """The labelled reviews of a side, and how many files have no class in their names."""
    found, unlabelled = [], 0
    for path in example_files(directory, round_config.layout[which], round_config.examples["suffixes"]):
        if round_config.examples.get("labels") == "unknown":
            found.append(Review(path, read_text(path), UNKNOWN, None))
            continue
        classes = classes_in_name(path)
        if classes is None or ("target" in classes) != (which == "poisoned"):
            unlabelled += 1
            continue
        target = class_label(classes["target"], num_classes, path) if "target" in classes else None
        found.append(Review(path, read_text(path), class_label(classes["class"], num_classes, path), target))
    return found, unlabelled


def _vectors(
    directory: ModelDirectory, round_config: RoundConfig, reviews: Sequence[Review], network: ShippedNetwork
) -> _Vectors:
    rules = round_config.preprocessing
    width = None if network.input_shape is None else network.input_shape[-1]
    shipped = _shipped(directory, rules.get("vectors", {}))
    known = [shipped.get((review.target is not None, review.path.name)) for review in reviews]
    embedding, tokenizer = (find_part(directory, rules[kind]).found for kind in ("embedding", "tokenizer"))
    if embedding is None or tokenizer is None:
        missing = "embedding" if embedding is None else "tokenizer"
        given = [vector for vector in known if vector is not None]
        if len(given) < len(reviews):
            need_part(directory, rules[missing], missing)
        values = _stacked(given, width, directory)
        return _Vectors(values, "shipped vectors", f"no {missing} file; vectors as shipped", None)
    pooling = _pooling(directory, rules["pooling"])
    computed = text_vectors(
        [review.text.text for review in reviews],
        embedding,
        tokenizer,
        pooling,
        rules["max_length"],
        network.workplace,
        lambda model: text_encoder(directory, round_config, network, model),
    )
    if width is not None and computed.values.shape[1] != width:
        raise ExampleProblem(
            f"{embedding}: gives vectors of {computed.values.shape[1]} numbers, but the head of {directory.path} takes "
            f"{width}: this is another model's embedding"
        )
    note = None if computed.problem is None else f"embeddings are not cached: {computed.problem}"
    told = f"{embedding.name}, {pooling} token"
    pairs = [(mine, theirs) for mine, theirs in zip(computed.values, known, strict=True) if theirs is not None]
    if not pairs:
        return _Vectors(computed.values, told, None, note)
    error = float(np.median([relative_error(mine, theirs) for mine, theirs in pairs]))
    evidence = f"error against {len(pairs)} shipped vectors: {error:.2g}"
    if error <= TOLERANCE:
        return _Vectors(computed.values, told, evidence, note)
    if len(pairs) == len(reviews):
        values = _stacked([theirs for _, theirs in pairs], width, directory)
        return _Vectors(values, "shipped vectors", f"{evidence}: not reproduced by {embedding.name}", note)
    raise ExampleProblem(
        f"{directory.path}: {embedding} does not give the vectors that shipped with {len(pairs)} of the examples "
        f"(relative error {error:.2g}), and the others have none"
    )


def _shipped(
    directory: ModelDirectory, files: Mapping[str, Sequence[str]]
) -> Mapping[tuple[bool, str], NDArray[np.float64]]:
    """Vectors by (is poisoned, file name)."""
    found = {}
    for side, which in ((False, "clean"), (True, "poisoned")):
        path = directory.first_file(files.get(which, ()))
        if path is not None:
            found.update({(side, name): vector for name, vector in read_rows(path).items()})
    return found


def _stacked(
    vectors: Sequence[NDArray[np.float64]], width: int | None, directory: ModelDirectory
) -> NDArray[np.float32]:
    widths = {len(vector) for vector in vectors}
    if len(widths) != 1 or (width is not None and widths != {width}):
        raise ExampleProblem(
            f"{directory.path}: shipped vectors of {sorted(widths)} numbers, but the head takes {width}"
        )
    return np.stack(vectors).astype(np.float32)


def _pooling(directory: ModelDirectory, rule: Mapping[str, str]) -> str:
    """``first`` or ``last``.

    Raises:
        ExampleProblem: neither the config nor the kind of embedding says which.
    """
    first = as_truth(directory.config.get("cls_token_is_first", directory.told.get("cls_token_is_first")))
    if first is not None:
        return "first" if first else "last"
    kind = directory.config.get("embedding", directory.told.get("embedding"))
    if isinstance(kind, str) and kind in rule:
        return rule[kind]
    raise ExampleProblem(
        f"{directory.path}: which token's vector the head takes is unknown: no cls_token_is_first in its config.json, "
        f"and embedding is {shown(repr(kind), 40)}"
    )


POOLING = {
    "description": "value of the config's embedding -> which token's vector the head gets; cls_token_is_first in "
    "config.json or METADATA.csv outranks it",
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"enum": ["first", "last"]},
}
VECTORS = {
    "description": "files with the vectors that the heads were given for the examples, in the model directory",
    "type": "object",
    "additionalProperties": False,
    "required": ["clean", "poisoned"],
    "properties": {"clean": texts(least=0), "poisoned": texts(least=0)},
}
KEYS = AdapterKeys(
    layout=Group(PLACES),
    examples=Group({"suffixes": SUFFIXES, "labels": labels("file-name", "unknown")}),
    preprocessing=Group(
        {
            "tokenizer": PART,
            "embedding": PART,
            "max_length": MAX_LENGTH,
            "pooling": POOLING,
            "vectors": VECTORS,
            "logits": LOGITS,
        },
        ("tokenizer", "embedding", "max_length", "pooling"),
    ),
    required=("preprocessing",),
)
KIND = AdapterKind(KEYS, read_examples, check_examples)
