"""Layers of many networks at once: weights ``[G, I, O]``, inputs ``[G, n, I]``, as batched matrix products.

No number of a network depends on which others are beside it, to the last bit on a CPU. For that, features are padded
with zeros to a multiple of :data:`WIDTH`. Kernels compute in vectors and what is left over one by one, which may round
otherwise; and products round as the place of a matrix in memory allows. With padding nothing is left over, and every
matrix begins at a like place. Padding stays zero: its weights have no gradient, and decay leaves zero as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .chains import Chain

WIDTH = 32
"""Two vectors of the widest registers (AVX-512), which loops take at once; in float32, two lines of memory."""


class Pass:
    """One way of many networks through their layers: this one asks, as in evaluation."""

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :func:`product`."""
        return product(x, weight, bias)

    def dropout(self, x: Tensor, share: float, width: int) -> Tensor:
        """``x [G, n, …]``, in training with a ``share`` of its elements put to zero and the others made larger. Only
        the first ``width`` features are drawn for: the others are padding."""
        return x


class Layer(Protocol):
    """What a link does for many networks."""

    def pack(self, modules: Sequence[nn.Module]) -> list[Tensor]:
        """Weights that take part in answers, ``[G, …]`` each."""
        ...

    def __call__(self, x: Tensor, weights: Sequence[Tensor], through: Pass) -> Tensor:
        """Outputs ``[G, n, …]``."""
        ...

    def unpack(self, rows: Sequence[Tensor], module: nn.Module) -> None:
        """Put weights of one network, ``weights[g]`` each, back into its module."""
        ...


def padded(x: Tensor, dimensions: int = 1) -> Tensor:
    """``x`` with zeros behind its last one or two dimensions."""
    missing = [-size % WIDTH for size in x.shape[-dimensions:]]
    return functional.pad(x, [side for size in missing[::-1] for side in (0, size)]) if any(missing) else x


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x [G, n, i]`` times ``weight [G, I, O]`` plus ``bias [G, 1, O]``; ``x`` is padded if it is not yet."""
    x = padded(x)
    if len(x) == 1 == x.shape[1]:  # torch makes another kind of product of that
        twice = product(x.expand(2, -1, -1), weight.expand(2, -1, -1), None if bias is None else bias.expand(2, -1, -1))
        return twice[:1]
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.biased = bias is not None
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        bias = gradient.sum(dim=1, keepdim=True) if ctx.biased else None
        return None, torch.bmm(x.transpose(1, 2), gradient), bias, None


def known_product(x: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor) -> Tensor:
    """:func:`product` of inputs without a gradient, where the ``result`` is known already."""
    known: Tensor = _Known.apply(padded(x), weight, bias, result)
    return known


class Linear:
    """``nn.Linear``. Weights are kept as ``[I, O]``: that is how their gradient comes out of a product."""

    def pack(self, modules: Sequence[nn.Module]) -> list[Tensor]:
        linear = [module for module in modules if isinstance(module, nn.Linear)]
        weights = [torch.stack([padded(module.weight.detach().t(), 2) for module in linear])]
        if linear[0].bias is not None:
            weights.append(torch.stack([padded(module.bias.detach()[None]) for module in linear]))
        return weights

    def __call__(self, x: Tensor, weights: Sequence[Tensor], through: Pass) -> Tensor:
        result = through.product(x.flatten(1, -2), weights[0], weights[1] if len(weights) > 1 else None)
        return result.view(*x.shape[:-1], -1)

    def unpack(self, rows: Sequence[Tensor], module: nn.Module) -> None:
        assert isinstance(module, nn.Linear)  # noqa: S101
        module.weight.data.copy_(rows[0][: module.in_features, : module.out_features].t())
        if len(rows) > 1:
            module.bias.data.copy_(rows[1][0, : module.out_features])


LIVE_GATES = {"LSTM": (0, 2, 3), "GRU": (0, 1, 2)}
"""Of torch's gates (LSTM: input, forget, cell, output; GRU: reset, update, new) those that matter in the first step:
there is nothing yet that an LSTM could forget."""


class FirstRecurrentStep:
    """One layer of an LSTM or GRU on a sequence of one step, from the state zero.

    The weights on the previous state are not used, nor is an LSTM's forget gate: they have no gradient, and are not in
    the stack (see :mod:`trojai_seam.unlearning.idle_weights`). Columns of weights are ordered by gate, direction, unit.
    """

    def __init__(self, kind: str, layer: int, inputs: int, hidden: int, bidirectional: bool, bias: bool) -> None:
        self.kind, self.layer, self.inputs, self.hidden, self.bias = kind, layer, inputs, hidden, bias
        self.ends = (f"_l{layer}", f"_l{layer}_reverse")[: 2 if bidirectional else 1]
        self.names = ("weight_ih", "bias_ih", "bias_hh") if bias else ("weight_ih",)

    def pack(self, modules: Sequence[nn.Module]) -> list[Tensor]:
        return [torch.stack([self._live(module, name) for module in modules]) for name in self.names]

    def _live(self, module: nn.Module, name: str) -> Tensor:
        """``[I, gates · units]``; a bias counts as the weight of a single input, and is not padded to more."""
        live = list(LIVE_GATES[self.kind])
        both = torch.stack([self._gates(module, name + end)[live] for end in self.ends], dim=1)  # [gates, D, H, I]
        rows = padded(both.flatten(1, 2).transpose(1, 2), 2 if name == "weight_ih" else 1)  # [gates, I, units]
        return rows.transpose(0, 1).flatten(1)

    def _gates(self, module: nn.Module, name: str) -> Tensor:
        """A view ``[gates, H, I]`` of a parameter."""
        parameter: Tensor = getattr(module, name)
        return parameter.detach().view(-1, self.hidden, parameter[0].numel())

    def __call__(self, x: Tensor, weights: Sequence[Tensor], through: Pass) -> Tensor:
        if self.kind == "LSTM":
            bias = weights[1] + weights[2] if self.bias else None
            into, cell, out = through.product(x, weights[0], bias).chunk(3, dim=-1)
            return torch.sigmoid(out) * torch.tanh(torch.sigmoid(into) * torch.tanh(cell))
        reset, update, new = through.product(x, weights[0], weights[1] if self.bias else None).chunk(3, dim=-1)
        if self.bias:
            # Of the state's part of the gates only the biases are left; that of the new gate is within the reset.
            reset_bias, update_bias, new_bias = weights[2].chunk(3, dim=-1)
            update, new = update + update_bias, new + torch.sigmoid(reset + reset_bias) * new_bias
        return (1 - torch.sigmoid(update)) * torch.tanh(new)

    def unpack(self, rows: Sequence[Tensor], module: nn.Module) -> None:
        live = list(LIVE_GATES[self.kind])
        for name, row in zip(self.names, rows, strict=True):
            inputs = self.inputs if name == "weight_ih" else 1
            units = row[:inputs].view(inputs, len(live), -1)[:, :, : len(self.ends) * self.hidden]
            parts = units.reshape(inputs, len(live), len(self.ends), self.hidden)
            for direction, end in enumerate(self.ends):
                self._gates(module, name + end)[live] = parts[:, :, direction].permute(1, 2, 0)


class Plain:
    """A link without weights, between ``width`` features (padding not counted)."""

    def __init__(self, kind: str, width: int, share: float = 0.0) -> None:
        self.kind, self.width, self.share = kind, width, share

    def pack(self, modules: Sequence[nn.Module]) -> list[Tensor]:
        return []

    def unpack(self, rows: Sequence[Tensor], module: nn.Module) -> None:
        return

    def __call__(self, x: Tensor, weights: Sequence[Tensor], through: Pass) -> Tensor:
        if self.kind in ("first-step", "single-step"):
            return x[:, :, 0]
        if self.kind == "flatten":
            return x[..., : self.width].flatten(2)
        if self.kind == "dropout":
            return through.dropout(x, self.share, self.width)
        if self.kind == "relu":
            return torch.relu(x)
        x = padded(x)
        if self.kind == "tanh":
            return torch.tanh(x)
        # The sigmoid of padding is no padding.
        return torch.sigmoid(x) * (torch.arange(x.shape[-1], device=x.device) < self.width)


def layers_of(chain: Chain, shape: Sequence[int]) -> list[Layer]:
    """What each link of ``chain`` does to inputs of ``shape`` (of one example)."""
    layers: list[Layer] = []
    steps, width = math.prod(shape[:-1]), shape[-1]
    for link in chain:
        numbers: tuple[Any, ...] = link.numbers
        if link.kind == "linear":
            layers.append(Linear())
            width = numbers[1]
        elif link.kind == "recurrent":
            layers.append(FirstRecurrentStep(*numbers))
            width = numbers[3] * (2 if numbers[4] else 1)
        else:
            layers.append(Plain(link.kind, width, *numbers))
            width, steps = (steps * width, 1) if link.kind == "flatten" else (width, steps)
    return layers
