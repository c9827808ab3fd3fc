"""Where the loss is worst near the weights: what sharpness-aware minimisation moves the weights to.

Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization" (SAM), ICLR 2021, arXiv
2010.01412. Adaptive: Kwon et al., "ASAM", ICML 2021, arXiv 2102.11600.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .training_mode import batch_norms


def sharpest(weights: Sequence[Tensor], gradients: Sequence[Tensor], rho: float, adaptive: bool) -> list[Tensor]:
    """Where to move ``weights`` so that the loss grows most, to first order: ``rho · T² g / ‖T g‖`` with the gradient
    ``g`` and ``T`` the weights' sizes, or 1 where not ``adaptive``. All weights together are one vector."""
    sizes = [weight.abs() if adaptive else torch.ones_like(weight) for weight in weights]
    scaled = [size * gradient for size, gradient in zip(sizes, gradients, strict=True)]
    length = torch.stack([part.norm() for part in scaled]).norm() + 1e-12
    return [rho * size * part / length for size, part in zip(sizes, scaled, strict=True)]


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """While it lasts, BatchNorm statistics do not move, whatever the mode: of two passes only one is to count."""
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
