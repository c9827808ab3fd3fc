"""Noise on word embeddings: for token ids what noise on the inputs is for features.

Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", ICLR 2024, arXiv 2310.05914 (their noise is
uniform, ours Gaussian).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn


def word_embeddings(model: nn.Module) -> nn.Embedding | None:
    """The table that ``model`` looks words up in: the one that a transformer in it names, else its largest one, which
    in a small vocabulary may be that of positions; ``None`` without any."""
    for module in model.modules():
        if callable(ask := getattr(module, "get_input_embeddings", None)):
            with suppress(NotImplementedError):
                if isinstance(table := ask(), nn.Embedding):
                    return table
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return max(tables, key=lambda module: module.num_embeddings) if tables else None


@contextmanager
def noisy_embeddings(model: nn.Module, strength: float, like: nn.Module | None = None) -> Iterator[None]:
    """While training, the word embeddings of ``model`` give their vectors plus noise.

    Args:
        model: any network; one without embeddings stays as it is.
        strength: standard deviation of the noise, in units of that of the embedding's weights.
        like: the network whose weights say what that is; unset: ``model`` as it is now.
    """
    table, measured = word_embeddings(model), word_embeddings(like or model)
    if table is None or measured is None or strength == 0:
        yield
        return
    spread = measured.weight.detach().std()

    def add_noise(module: nn.Module, given: Any, vectors: Tensor) -> Tensor:
        return vectors + strength * spread * torch.randn_like(vectors) if module.training else vectors

    handle = table.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
