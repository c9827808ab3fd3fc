"""Noise on word embeddings: for token ids what noise on the inputs is for features.

Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", ICLR 2024, arXiv 2310.05914 (their noise is
uniform, ours Gaussian).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def noisy_embeddings(model: nn.Module, strength: float) -> Iterator[None]:
    """While training, the largest embedding of ``model``, which is that of words, gives its vectors plus noise.

    Args:
        model: any network; one without embeddings stays as it is.
        strength: standard deviation of the noise, in units of that of the embedding's weights.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if not tables or strength == 0:
        yield
        return
    table = max(tables, key=lambda module: module.num_embeddings)
    spread = table.weight.detach().std()

    def add_noise(module: nn.Module, given: Any, vectors: Tensor) -> Tensor:
        return vectors + strength * spread * torch.randn_like(vectors) if module.training else vectors

    handle = table.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
