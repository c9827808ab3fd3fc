"""Masks on the weights of some layers: numbers from 1, as shipped, to 0, for a weight that says nothing.

They are learnt while all weights stand still: the network computes with the product of weight and mask in place of the
weight. On BatchNorm, whose weight is a scale per channel, a mask switches channels: Wu and Wang, "Adversarial Neuron
Pruning Purifies Backdoored Deep Models", NeurIPS 2021, arXiv 2110.14430.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import EngineFailure
from .context import Context
from .outcome import PhaseOutcome
from .training import Training
from .training_mode import still
from .training_settings import TrainingSettings


class WithTensors(nn.Module):
    """``model``, called with ``tensors`` (by the names of its state dict) in place of its own."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.tensors = model, dict(tensors)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.model, self.tensors, args, kwargs)


def scaling_layers(model: nn.Module) -> dict[str, nn.Module]:
    """BatchNorm layers with scales, by their paths.

    Raises:
        EngineFailure: there is none.
    """
    layers = {path: m for path, m in model.named_modules() if isinstance(m, _BatchNorm) and m.weight is not None}
    if not layers:
        raise EngineFailure("the network has no BatchNorm layer with channels to mask; use another --preset")
    return dict(layers)


def convolutions(model: nn.Module) -> dict[str, nn.Module]:
    """Two-dimensional convolutions, by their paths.

    Raises:
        EngineFailure: there is none.
    """
    layers = {path: m for path, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    if not layers:
        raise EngineFailure("the network has no convolution whose weights could be masked; use another --preset")
    return dict(layers)


class WeightMasks:
    """Masks on the weights of some layers of one network.

    Attributes:
        layers: by their paths in the network.
        values: their masks, as their weights are shaped, all 1 at first.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self.layers = dict(layers)
        self.values = {path: nn.Parameter(torch.ones_like(weight)) for path, weight in self._weights()}

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        for path, layer in self.layers.items():
            yield path, layer.get_parameter("weight")

    def parameters(self) -> list[nn.Parameter]:
        """The masks, for an optimizer."""
        return list(self.values.values())

    def tensors(self, noise: Mapping[str, tuple[Tensor, Tensor]] | None = None) -> dict[str, Tensor]:
        """Weights (and, under ``noise``, biases) to compute with, by their names.

        Args:
            noise: for every path, what is added to the mask of the weight and to the 1 of the bias.
        """
        found = {}
        for path, weight in self._weights():
            prefix = f"{path}." if path else ""
            if noise is None:
                found[f"{prefix}weight"] = weight * self.values[path]
            else:
                found[f"{prefix}weight"] = weight * (self.values[path] + noise[path][0])
                found[f"{prefix}bias"] = self.layers[path].get_parameter("bias") * (1 + noise[path][1])
        return found

    @torch.no_grad()
    def multiply(self) -> None:
        """Make the masks part of the network."""
        for path, weight in self._weights():
            weight.mul_(self.values[path])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts, the network computes as it will behind :meth:`multiply`."""
        before = {path: weight.detach().clone() for path, weight in self._weights()}
        self.multiply()
        try:
            yield
        finally:
            with torch.no_grad():
                for path, weight in self._weights():
                    weight.copy_(before[path])

    def learnt(self) -> dict[str, Tensor]:
        """A copy of the masks, by path."""
        return {path: mask.detach().clone() for path, mask in self.values.items()}


M = TypeVar("M", bound=TrainingSettings)


class MaskTraining(Training[M]):
    """Masks are all that changes; ``fit`` accuracies are those of the masked network. Weights get no gradients
    meanwhile: the caller has switched them off."""

    def __init__(self, context: Context, settings: M, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(context, settings)
        self.masks = WeightMasks(layers)

    def parameters(self) -> list[nn.Parameter]:
        return self.masks.parameters()

    def masked(self, noise: Mapping[str, tuple[Tensor, Tensor]] | None = None) -> nn.Module:
        """The network as the masks make it."""
        return WithTensors(self.context.model, self.masks.tensors(noise))

    def lowest(self, layer: int) -> float:
        """To what the masks of the ``layer``-th layer, counted from 1, may fall."""
        return 0.0

    def after_step(self) -> None:
        for number, mask in enumerate(self.masks.values.values(), start=1):
            mask.clamp_(self.lowest(number), 1.0)

    def as_it_ends(self) -> AbstractContextManager[None]:
        return self.masks.applied()


def learn_and_keep(training: MaskTraining[Any]) -> PhaseOutcome:
    """Learn masks and make them part of the network."""
    with still(training.context.model):
        outcome = training.run()
    training.masks.multiply()
    return outcome
