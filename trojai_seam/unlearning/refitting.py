"""Refit the layers of a network in closed form, so that they keep only what clean inputs use.

Every linear map ``W`` between the first layer and the head is replaced, in the order in which the layers run, by the
ridge regression from the inputs that it now gets (behind layers that are refitted already) to the outputs that it gave
in the network as shipped::

    W' = W · E[x0 x1ᵀ] · (E[x1 x1ᵀ] + strength · mean diagonal · I)⁻¹

x0 are inputs of the layer in the network as shipped, x1 in the one being changed, for the same examples and places;
moments are not centred, biases stay. Directions that clean inputs hardly use are shrunk to nothing, layer after layer,
and with them what only a trigger uses. This is layer-wise reconstruction as in pruning and quantisation (He, Zhang and
Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017) with a penalty that is meant to lose
something. Afterwards every output channel is scaled by least squares to the size that it had: ridge regression shrinks
what stays, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = (0.5, 3.0)
"""Limits of what an output channel is scaled with."""


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer that can be refitted, with its weight as shipped ``[groups, out, in]``."""

    path: str
    module: nn.Conv2d | nn.Linear
    shipped: Tensor

    @property
    def groups(self) -> int:
        return self.module.groups if isinstance(self.module, nn.Conv2d) else 1


def layers_of(model: nn.Module, head: nn.Module) -> list[Layer]:
    """What can be refitted: all convolutions with zero padding and linear layers but ``head``. Layers that share their
    weight with another module (a tied embedding) are left out."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found = []
    for path, module in model.named_modules():
        if module is head or type(module) not in (nn.Conv2d, nn.Linear) or owners[id(module.weight)] > 1:
            continue
        if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
            continue
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        weight = module.weight.detach()
        found.append(Layer(path, module, weight.reshape(groups, weight.shape[0] // groups, -1).clone()))
    return found


@torch.no_grad()
def refit(
    layers: list[Layer],
    forward: Callable[[], Tensor],
    strength: float,
    samples: int,
    generator: torch.Generator,
) -> tuple[Tensor, int]:
    """Refit ``layers``, in place, in one pass through the network.

    Args:
        layers: of :func:`layers_of`; their weights are reset to those as shipped first. The one that runs first stays.
        forward: runs the network, in eval mode, on a batch whose second half repeats the first. The first half goes
            through the layers as shipped, the second half through the refitted ones.
        strength: of the ridge penalty, in units of the mean square of a layer's inputs.
        samples: rows (places of an image, tokens of a text) per layer that the moments are taken over.
        generator: on the CPU, chooses these rows.

    Returns:
        What ``forward`` returned, and how many layers were refitted: not those that did not run, or whose inputs are
        not one part per example.
    """
    done: set[int] = set()
    first: list[Layer] = []

    def both(layer: Layer, call: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        if not first:
            first.append(layer)
        if first[0] is layer or len(inputs) % 2 or not inputs.is_floating_point():
            return call(inputs)
        before, now = inputs.chunk(2)
        if id(layer) not in done:
            done.add(id(layer))
            changed = solved(layer, before, now, strength, samples, generator)
        else:  # a layer that runs twice
            changed = layer.module.weight.detach().clone()
        weight = layer.module.weight
        set_weight(layer, layer.shipped)
        given = call(before)
        weight.copy_(changed.reshape(weight.shape))
        return torch.cat([given, call(now)])

    for layer in layers:
        set_weight(layer, layer.shipped)
    with _patched(layers, both):
        outputs = forward()
    return outputs, len(done)


def set_weight(layer: Layer, weight: Tensor) -> None:
    """Put ``weight`` ``[groups, out, in]`` into the layer, as its memory is laid out."""
    layer.module.weight.data.copy_(weight.reshape(layer.module.weight.shape))


def solved(
    layer: Layer, before: Tensor, now: Tensor, strength: float, samples: int, generator: torch.Generator
) -> Tensor:
    """The refitted weight ``[groups, out, in]``."""
    x0, x1 = rows(layer, before, now, samples, generator)
    weight, count, width = layer.shipped, x1.shape[1], x1.shape[2]
    penalty = (strength * x1.square().sum(dim=1).mean(dim=1)).clamp(min=torch.finfo(x1.dtype).tiny)[:, None, None]
    target = weight @ x0.transpose(1, 2)  # [groups, out, count]
    if width <= count:
        refitted = _solve(x1.transpose(1, 2) @ x1, penalty, x1.transpose(1, 2) @ target.transpose(1, 2))
    else:  # the same by the smaller system
        refitted = x1.transpose(1, 2) @ _solve(x1 @ x1.transpose(1, 2), penalty, target.transpose(1, 2))
    gives = x1 @ refitted  # [groups, count, out]
    had = target.transpose(1, 2)
    size = gives.square().sum(dim=1).clamp(min=torch.finfo(x1.dtype).tiny)
    scale = ((gives * had).sum(dim=1) / size).clamp(*SCALES)
    return (refitted * scale[:, None]).transpose(1, 2)


def _solve(moment: Tensor, penalty: Tensor, right: Tensor) -> Tensor:
    """``(moment + penalty · I)⁻¹ right`` for symmetric positive moments ``[groups, n, n]``, by Cholesky; in double
    precision where single does not do."""
    size = moment.shape[-1]
    system = moment + penalty * torch.eye(size, dtype=moment.dtype, device=moment.device)
    factor, failed = torch.linalg.cholesky_ex(system)
    answer: Tensor = torch.cholesky_solve(right, factor)
    off = (system @ answer - right).norm() / right.norm().clamp(min=torch.finfo(right.dtype).tiny)
    if bool((failed > 0).any()) or not bool(off < 1e-3):
        answer = torch.linalg.solve(system.double(), right.double()).to(right.dtype)
    return answer


def rows(layer: Layer, before: Tensor, now: Tensor, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to ``samples`` inputs of the linear map, ``[groups, samples, in]``, at the same random places of both."""
    module = layer.module
    if isinstance(module, nn.Linear):
        flat = before.reshape(-1, before.shape[-1]), now.reshape(-1, now.shape[-1])
        place = torch.randperm(len(flat[0]), generator=generator)[:samples].to(now.device)
        return flat[0][place][None], flat[1][place][None]
    (tall, wide), (down, right) = module.kernel_size, module.stride
    above, left = (int(side) for side in module.padding)  # layers_of leaves words such as "same" out
    apart_down, apart_right = module.dilation
    high = (before.shape[2] + 2 * above - apart_down * (tall - 1) - 1) // down + 1
    broad = (before.shape[3] + 2 * left - apart_right * (wide - 1) - 1) // right + 1
    total = len(before) * high * broad
    place = torch.randperm(total, generator=generator)[:samples]
    image, at = place // (high * broad), place % (high * broad)
    y = (at // broad * down)[:, None] + torch.arange(tall) * apart_down
    x = (at % broad * right)[:, None] + torch.arange(wide) * apart_right
    chosen = tuple(index.to(now.device) for index in (image[:, None, None], y[:, :, None], x[:, None, :]))

    def taken(inputs: Tensor) -> Tensor:
        padded = functional.pad(inputs, (left, left, above, above))
        patches = padded.permute(0, 2, 3, 1)[chosen]  # [samples, tall, wide, channels]
        split = patches.permute(0, 3, 1, 2).reshape(len(place), module.groups, -1)
        return split.transpose(0, 1)

    return taken(before), taken(now)


@contextmanager
def _patched(
    layers: list[Layer], both: Callable[[Layer, Callable[[Tensor], Tensor], Tensor], Tensor]
) -> Iterator[None]:
    """While it lasts, calls of ``layers`` go through ``both``."""

    def through(layer: Layer) -> Callable[[Tensor], Tensor]:
        call = layer.module.forward
        return lambda inputs: both(layer, call, inputs)

    for layer in layers:
        layer.module.forward = through(layer)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.module.forward
