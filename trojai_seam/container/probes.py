"""Inputs that nobody shipped: noise, and clean examples with something foreign stamped on.

A trojan makes a network answer one class to inputs that share little with its data; unlearning takes much of that away.
So the answers to such probes, before and after, say something that the clean examples themselves do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAST_SHARE, MOST_SHARE = 0.03, 0.3  # of the features of a vector, or of the side of an image


@dataclass(frozen=True, eq=False)
class Probes:
    """Inputs by argument name, and for stamped examples the label that each had (``None`` for noise)."""

    inputs: Mapping[str, Tensor]
    labels: Tensor | None


def can_be_probed(inputs: Mapping[str, Tensor]) -> bool:
    """Whether probes can be drawn: one floating-point input, vectors ``[N, F]`` or images ``[N, C, H, W]``."""
    if set(inputs) != {"x"}:
        return False
    tensor = inputs["x"]
    return tensor.is_floating_point() and tensor.ndim in (2, 4)


def noise(inputs: Mapping[str, Tensor], count: int, generator: torch.Generator) -> Probes:
    """``count`` Gaussian inputs with the mean and spread of all values of ``inputs``.

    Of images, every second one is coarse (a 4 × 4 picture enlarged), as pixel noise looks the same to most networks.
    """
    tensor = inputs["x"].cpu()
    mean, spread = tensor.mean(), tensor.std(correction=0)
    drawn = torch.randn(count, *tensor.shape[1:], generator=generator)
    if tensor.ndim == 4:
        coarse = torch.randn(count - count // 2, tensor.shape[1], 4, 4, generator=generator)
        drawn[count // 2 :] = functional.interpolate(coarse, tensor.shape[2:], mode="bilinear", align_corners=False)
    values = mean + spread * drawn
    if tensor.ndim == 4:
        values = values.clamp(float(tensor.min()), float(tensor.max()))
    return Probes({"x": values.to(inputs["x"])}, None)


def stamped(inputs: Mapping[str, Tensor], labels: Tensor, count: int, generator: torch.Generator) -> Probes:
    """``count`` clean examples with large values on some features (vectors) or a plain rectangle somewhere (images)."""
    tensor = inputs["x"].cpu()
    chosen = torch.arange(count) % len(tensor)
    values = tensor[chosen].clone()
    if tensor.ndim == 2:
        shares = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * torch.rand(count, 1, generator=generator)
        where = torch.rand(values.shape, generator=generator) < shares
        size = tensor.std(correction=0) * 10 ** (0.5 + 0.5 * torch.rand(count, 1, generator=generator))  # 3 to 10
        values = values + where * size
    else:
        _stamp_rectangles(values, float(tensor.min()), float(tensor.max()), generator)
    return Probes({"x": values.to(inputs["x"])}, labels[chosen.to(labels.device)])


def _stamp_rectangles(images: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    height, width = images.shape[2:]
    drawn = torch.rand(len(images), 4, generator=generator)
    colours = low + (high - low) * torch.rand(len(images), images.shape[1], generator=generator)
    for image, (tall, wide, top, left), colour in zip(images, drawn.tolist(), colours, strict=True):
        rows = max(1, round(height * (LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * tall)))
        columns = max(1, round(width * (LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * wide)))
        y, x = int(top * (height - rows + 1)), int(left * (width - columns + 1))
        image[:, y : y + rows, x : x + columns] = colour[:, None, None]
