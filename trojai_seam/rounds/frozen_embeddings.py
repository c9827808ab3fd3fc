"""Vectors of texts from a frozen transformer, as the heads of rounds 5 and 6 get them; computed once per text.

Sources: trojai-example, branch nlp-sentiment-classification-mar2021, ``inference_example_data.py``;
trojai-round-generation, the same branch, ``create_example_data_with_convergence_criteria.py``: one text at a time,
without padding, in full precision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import ExampleProblem
from ..loading import Budget, read_model
from ..networks import check_fit, rebuild
from .adapters import Workplace
from .embedding_cache import VectorCache
from .text_encoding import TextEncoder

FORMAT = 1
"""To be raised when the same files and texts give other vectors than before."""


class Vectors(NamedTuple):
    """``values`` float32 [N, E]; ``problem`` says why they could not all be cached."""

    values: NDArray[np.float32]
    problem: str | None


def text_vectors(
    texts: Sequence[str],
    embedding: Path,
    tokenizer: Path,
    pooling: str,
    lengths: object,
    workplace: Workplace,
    encoder_for: Callable[[nn.Module], TextEncoder],
) -> Vectors:
    """The vector of every text: that of its ``first`` or ``last`` token in the last hidden layer.

    Files of the same content give the same vectors, whatever they are called. Texts are computed one by one, so that
    a vector does not depend on what else is asked for. The transformer is only read if a vector is missing.

    Args:
        texts: N of them.
        embedding: the transformer's file.
        tokenizer: its tokenizer's file.
        pooling: ``first`` or ``last``.
        lengths: the round's rule for the number of tokens, as JSON values.
        workplace: device, budget and cache.
        encoder_for: makes the encoder, once the transformer is there.

    Raises:
        ExampleProblem: a text without any token, or a network that is no embedding.
        RefusedArchive, UnsupportedModel: the embedding's file.
    """
    decided_by = {
        "format": FORMAT,
        "embedding": content_hash(embedding),
        "tokenizer": content_hash(tokenizer),
        "pooling": pooling,
        "lengths": lengths,
        # The last digits depend on who adds up, and a row must not depend on who filled the cache.
        "arithmetic": [torch.device(workplace.device).type, torch.get_num_threads(), torch.__version__],
        "transformers": version("transformers"),
    }
    cache = VectorCache(workplace.cache, hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest())
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    known = {key: vector for key in dict.fromkeys(keys) if (vector := cache.get(key)) is not None}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        model = _embedding(embedding, workplace)
        encoder = encoder_for(model)
        for key, text in missing.items():
            known[key] = _vector(model, encoder, text, pooling, embedding, workplace.device)
            cache.put(key, known[key])
    widths = {len(vector) for vector in known.values()}
    if len(widths) != 1:
        raise ExampleProblem(f"{embedding}: gives vectors of different lengths: {sorted(widths)}")
    return Vectors(np.stack([known[key] for key in keys]), cache.problem)


@torch.no_grad()
def _vector(
    model: nn.Module, encoder: TextEncoder, text: str, pooling: str, path: Path, device: str
) -> NDArray[np.float32]:
    encoding = encoder.one(text)
    if len(encoding) == 0:
        raise ExampleProblem(f"{encoder.path}: finds no token in the text {text[:60]!r}")
    inputs = {name: tensor.to(device) for name, tensor in encoder.tensors([encoding]).items() if name in _INPUTS}
    answer = model(**inputs)
    hidden = getattr(answer, "last_hidden_state", None)
    if not isinstance(hidden, torch.Tensor) or hidden.ndim != 3:
        raise ExampleProblem(f"{path}: a {type(model).__name__} gives no vector per token; expected a base model")
    vector: NDArray[np.float32] = hidden[0, 0 if pooling == "first" else -1].float().cpu().numpy()
    return vector


_INPUTS = ("input_ids", "attention_mask")
"""NIST passed no token types."""


def _embedding(path: Path, workplace: Workplace) -> nn.Module:
    status = path.stat()
    return _opened(path, status.st_size, status.st_mtime_ns, workplace.device, workplace.budget)


@lru_cache(maxsize=1)
def _opened(path: Path, size: int, changed: int, device: str, budget: Budget) -> nn.Module:
    """Kept for the next model: opening it takes longer than embedding a model's examples."""
    return rebuild(read_model(path, budget, defer_checksums=True), {}, device=device).float()


def embedding_without_memory(path: Path, budget: Budget) -> nn.Module:
    """The transformer in ``path`` as far as its structure goes, found out once while the file stays the same.

    Raises:
        RefusedArchive, UnsupportedModel: its file.
    """
    status = path.stat()
    return _fitted(path, status.st_size, status.st_mtime_ns, budget)


@lru_cache(maxsize=8)
def _fitted(path: Path, size: int, changed: int, budget: Budget) -> nn.Module:
    return check_fit(read_model(path, budget), {})


def content_hash(path: Path) -> str:
    """SHA-256 of a file, computed once while the file stays the same."""
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
