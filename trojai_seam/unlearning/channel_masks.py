"""Masks on what BatchNorm layers scale with: one number per channel, 1 as shipped, 0 for a channel that says nothing.

Masks are learnt while all weights stand still: a network computes with the product of scale and mask in place of the
scale. Wu and Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS 2021, arXiv 2110.14430.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import EngineFailure


class WithTensors(nn.Module):
    """``model``, called with ``tensors`` (by the names of its state dict) in place of its own."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.tensors = model, dict(tensors)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.model, self.tensors, args, kwargs)


def scaling_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """BatchNorm layers with scales, by their paths.

    Raises:
        EngineFailure: there is none.
    """
    layers = {path: m for path, m in model.named_modules() if isinstance(m, _BatchNorm) and m.weight is not None}
    if not layers:
        raise EngineFailure("the network has no BatchNorm layer with channels to mask; use another --preset")
    return layers


class ChannelMasks:
    """Masks of all BatchNorm layers of a network.

    Attributes:
        layers: by their paths.
        values: their masks, ``float [channels]`` each, all 1 at first.
    """

    def __init__(self, model: nn.Module) -> None:
        """Raises :class:`EngineFailure` where there is no BatchNorm layer."""
        self.layers = scaling_layers(model)
        self.values = {path: nn.Parameter(torch.ones_like(layer.weight)) for path, layer in self.layers.items()}

    def tensors(self, noise: Mapping[str, tuple[Tensor, Tensor]] | None = None) -> dict[str, Tensor]:
        """Scales (and, under ``noise``, shifts) to compute with, by their names.

        Args:
            noise: for every path, what is added to the mask of the scale and to the 1 of the shift.
        """
        found = {}
        for path, layer in self.layers.items():
            prefix = f"{path}." if path else ""
            if noise is None:
                found[f"{prefix}weight"] = layer.weight * self.values[path]
            else:
                found[f"{prefix}weight"] = layer.weight * (self.values[path] + noise[path][0])
                found[f"{prefix}bias"] = layer.bias * (1 + noise[path][1])
        return found

    @torch.no_grad()
    def clamp(self, low: float, high: float) -> None:
        """Put every mask back into these bounds."""
        for mask in self.values.values():
            mask.clamp_(low, high)

    @torch.no_grad()
    def multiply(self) -> None:
        """Make the masks part of the network."""
        for path, layer in self.layers.items():
            layer.weight.mul_(self.values[path])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts, the network computes as it will behind :meth:`multiply`."""
        before = {path: layer.weight.detach().clone() for path, layer in self.layers.items()}
        self.multiply()
        try:
            yield
        finally:
            with torch.no_grad():
                for path, layer in self.layers.items():
                    layer.weight.copy_(before[path])

    def learnt(self) -> dict[str, Tensor]:
        """A copy of the masks, by path."""
        return {path: mask.detach().clone() for path, mask in self.values.items()}
