"""From 8-bit images in memory to what a network gets, on whatever device they lie, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PixelPreparation:
    """Scaling, then the trigger if there is one, then channel order and normalisation.

    Attributes:
        scaling: ``/255``, or ``min-max`` of every image.
        channel_order: ``rgb``, ``bgr`` or ``grey`` (one channel already).
        mean: per channel of the network's order; empty: none is subtracted.
        std: likewise.
        trigger: stamps images ``float32 [N, C, H, W]`` in 0 … 1, RGB.
    """

    scaling: str = "/255"
    channel_order: str = "rgb"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trigger: Callable[[Tensor], Tensor] | None = None

    def __str__(self) -> str:
        parts = [self.channel_order, self.scaling]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values:
                parts.append(f"{name} {' '.join(f'{value:g}' for value in values)}")
        return " ".join(parts)

    def stamped(self, trigger: Callable[[Tensor], Tensor]) -> PixelPreparation:
        """The same with a trigger."""
        return replace(self, trigger=trigger)

    def __call__(self, images: Tensor) -> Tensor:
        """``float32 [N, C, H, W]`` of ``uint8``, or of ``float32`` in 0 … 1, of the same shape."""
        whole = images.dtype == torch.uint8
        values = images.float().div_(255) if whole else images.clone()
        if self.trigger is not None:
            values = self.trigger(values)
        if self.scaling == "min-max":
            values = values - values.amin(dim=(1, 2, 3), keepdim=True)
            values = values / values.amax(dim=(1, 2, 3), keepdim=True).clamp_(min=1 / 255)
        if self.channel_order == "bgr":
            values = values.flip(1)
        if self.mean:
            values = values - _per_channel(self.mean, values)
        if self.std:
            values = values / _per_channel(self.std, values)
        return values


def _per_channel(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
