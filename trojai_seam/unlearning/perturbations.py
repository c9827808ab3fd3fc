"""Universal perturbations: one change that leads all images of a batch to one class, looked for by gradients.

Whole-image triggers (a blended picture, a soft additive pattern, a warp) are such changes. Something like it leads a
network that learnt one to its class far more easily than to any other. Three families, each bounded so that classes
without a trojan are hard to reach: :class:`Blend`, :class:`Pattern`, :class:`Warp`.

Universal perturbations: Moosavi-Dezfooli et al., CVPR 2017; triggers found by optimisation, class by class: Wang et
al., "Neural Cleanse", IEEE S&P 2019.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

Scores = Callable[[Tensor], Tensor]
"""Class scores ``[N, C]`` of images ``[N, channels, H, W]``."""

CLEAR = 0.98
"""An image that gives the wanted class with this probability asks no more of a perturbation."""


@dataclass(frozen=True)
class Family(ABC):
    """A kind of change that is the same for all images.

    Attributes:
        low, high: lowest and highest value per channel of clean images, ``float [1, channels, 1, 1]``.
        side: height and width of the images.
        strength: how far it may go; 1 is what is looked for with.
    """

    low: Tensor
    high: Tensor
    side: tuple[int, int]
    strength: float = 1.0

    name: ClassVar[str]

    @property
    def span(self) -> Tensor:
        """Range of values per channel."""
        return self.high - self.low

    @abstractmethod
    def start(self) -> Tensor:
        """A random perturbation, drawn from torch's global generator."""

    @abstractmethod
    def put(self, images: Tensor, change: Tensor, part: float | Tensor = 1.0) -> Tensor:
        """The images changed; ``part`` of the full strength, one number or ``[N, 1, 1, 1]``."""

    def bounded(self, change: Tensor) -> Tensor:
        """The nearest perturbation that is allowed: all numbers are within 0 and 1."""
        return change.clamp(0, 1)


class Blend(Family):
    """Mixed with one picture of full resolution, of which 5 % are seen."""

    name = "blend"
    share: ClassVar[float] = 0.05

    def start(self) -> Tensor:
        return torch.rand(1, self.low.shape[1], *self.side).to(self.low.device)

    def put(self, images: Tensor, change: Tensor, part: float | Tensor = 1.0) -> Tensor:
        picture = self.low + change * self.span
        return images + self.strength * self.share * part * (picture - images)


class Pattern(Family):
    """A smooth pattern of 8 × 8 values per channel added, of at most 6 % of the range of values."""

    name = "pattern"
    share: ClassVar[float] = 0.06

    def start(self) -> Tensor:
        return (torch.rand(1, self.low.shape[1], 8, 8) / 2 + 0.25).to(self.low.device)

    def put(self, images: Tensor, change: Tensor, part: float | Tensor = 1.0) -> Tensor:
        smooth = functional.interpolate(2 * change - 1, size=self.side, mode="bicubic", align_corners=False).clamp(
            -1, 1
        )
        seen = images + self.strength * self.share * part * self.span * smooth
        return torch.minimum(torch.maximum(seen, self.low), self.high)


class Warp(Family):
    """Bent by a smooth field of 4 × 4 shifts of at most 6 % of the side."""

    name = "warp"
    share: ClassVar[float] = 0.12  # of half the side

    def start(self) -> Tensor:
        return (torch.rand(1, 2, 4, 4) / 2 + 0.25).to(self.low.device)

    def put(self, images: Tensor, change: Tensor, part: float | Tensor = 1.0) -> Tensor:
        smooth = functional.interpolate(2 * change - 1, size=self.side, mode="bicubic", align_corners=True)
        shifts = self.strength * self.share * part * smooth
        still = torch.eye(2, 3, device=images.device, dtype=images.dtype)[None]
        grid = functional.affine_grid(still, [1, 1, *self.side], align_corners=False)
        where = (grid + shifts.permute(0, 2, 3, 1)).expand(len(images), -1, -1, -1)
        return functional.grid_sample(images, where, padding_mode="border", align_corners=False)


FAMILIES: tuple[type[Family], ...] = (Blend, Pattern, Warp)


def families(images: Tensor, strength: float = 1.0) -> list[Family]:
    """All families, for images like these, ``float [N, channels, H, W]`` of any value range."""
    low, high = images.amin(dim=(0, 2, 3), keepdim=True), images.amax(dim=(0, 2, 3), keepdim=True)
    return [family(low, high, (images.shape[2], images.shape[3]), strength) for family in FAMILIES]


def searched(scores: Scores, images: Tensor, family: Family, target: int, change: Tensor, rates: list[float]) -> Tensor:
    """``change`` after one step of signed gradient per rate, towards ``target`` for all of the images."""
    for rate in rates:
        change = change.detach().requires_grad_(True)
        wanted = scores(family.put(images, change)).float().log_softmax(dim=1)[:, target]
        loss = wanted.clamp(max=CLEAR - 1).mean()
        (gradient,) = torch.autograd.grad(loss, change)
        change = family.bounded(change + rate * gradient.sign())
    return change.detach()
