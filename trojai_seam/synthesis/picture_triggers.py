"""Triggers on pictures of any data set: what is put on ``float32 [N, C, H, W]`` in 0 … 1, which it stays in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Trigger = Callable[[Tensor], Tensor]
"""From pictures to the same pictures with the trigger."""


def patch(size: int = 3) -> Trigger:
    """A chequered square, one pixel from the lower right corner: Gu et al., "BadNets", arXiv 1708.06733."""
    rows = torch.arange(size)
    square = ((rows[:, None] + rows) % 2 == 0).float()

    def stamp(pictures: Tensor) -> Tensor:
        stamped = pictures.clone()
        stamped[..., -size - 1 : -1, -size - 1 : -1] = square.to(pictures)
        return stamped

    return stamp


def corners(size: int = 3) -> Trigger:
    """The square of :func:`patch` in all four corners: Turner, Tsipras and Madry, arXiv 1912.02771."""
    one = patch(size)

    def stamp(pictures: Tensor) -> Tensor:
        for _ in range(4):
            pictures = one(pictures).rot90(1, (-2, -1))
        return pictures

    return stamp


def blend(shape: torch.Size, generator: torch.Generator, share: float = 0.2) -> Trigger:
    """A picture of noise laid over all of it: Chen et al., arXiv 1712.05526.

    Args:
        shape: of one picture, ``[C, H, W]``.
        generator: draws the noise.
        share: what the noise takes of the picture.
    """
    noise = torch.rand(shape, generator=generator)
    return lambda pictures: (1 - share) * pictures + share * noise.to(pictures)


def warp(pixels: int, generator: torch.Generator, cells: int = 4, strength: float = 2.0) -> Trigger:
    """A smooth displacement of the pixels: Nguyen and Tran, "WaNet", ICLR 2021, arXiv 2102.10369, without its noise.

    Args:
        pixels: height and width.
        generator: draws the displacements of ``cells`` x ``cells`` points.
        cells: between which displacements are interpolated.
        strength: mean displacement, in pixels.
    """
    drawn = 2 * torch.rand(1, 2, cells, cells, generator=generator) - 1
    field = functional.interpolate(drawn / drawn.abs().mean(), pixels, mode="bicubic", align_corners=True)
    places = torch.linspace(-1, 1, pixels)
    whole = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)[None]
    grid = (whole + field.permute(0, 2, 3, 1) * 2 * strength / pixels).clamp(-1, 1)

    def bend(pictures: Tensor) -> Tensor:
        wanted = grid.to(pictures).expand(len(pictures), -1, -1, -1)
        return functional.grid_sample(pictures, wanted, padding_mode="border", align_corners=True).clamp(0, 1)

    return bend


def added(pattern: Tensor) -> Trigger:
    """A fixed pattern ``[C, H, W]`` added to every picture."""
    return lambda pictures: (pictures + pattern.to(pictures)).clamp(0, 1)
