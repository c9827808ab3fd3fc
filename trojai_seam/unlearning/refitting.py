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

What the layers gave as shipped is asked once and kept, at the places that regressions look at; every strength that is
tried takes one more pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import EngineFailure

SCALES = (0.5, 3.0)
"""Limits of what an output channel is scaled with."""
RESIDUAL = 1e-3
"""Of a system solved in single precision, relative; above it double precision is taken."""
BLOCK = 512
"""Columns of a matrix of moments that are computed at once; of its two equal halves only one is."""


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer that can be refitted."""

    path: str
    module: nn.Conv2d | nn.Linear

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
        found.append(Layer(path, module))
    return found


class Places:
    """Where a layer is looked at: up to ``samples`` random places of its outputs (rows, of a linear layer)."""

    def __init__(self, layer: Layer, outputs: Tensor, samples: int, generator: torch.Generator) -> None:
        """Of ``outputs`` as the layer gives them; ``generator`` is on the CPU."""
        self.layer, device = layer, outputs.device
        if isinstance(layer.module, nn.Linear):
            total = outputs[..., 0].numel()
            self.row = torch.randperm(total, generator=generator)[:samples].to(device)
            return
        high, broad = outputs.shape[2:]
        at = torch.randperm(len(outputs) * high * broad, generator=generator)[:samples]
        image, y, x = at // (high * broad), at % (high * broad) // broad, at % broad
        self.image, self.y, self.x = image.to(device), y.to(device), x.to(device)

    def outputs(self, outputs: Tensor) -> Tensor:
        """What the linear map gives there, ``[groups, samples, out]``: without the bias."""
        module = self.layer.module
        if isinstance(module, nn.Linear):
            taken = outputs.reshape(-1, outputs.shape[-1])[self.row]
        else:
            taken = outputs.permute(0, 2, 3, 1)[self.image, self.y, self.x]
        if module.bias is not None:
            taken = taken - module.bias
        return taken.reshape(len(taken), self.layer.groups, -1).transpose(0, 1)

    def inputs(self, inputs: Tensor) -> Tensor:
        """What it is given there, ``[groups, samples, in]``; of a convolution by row, column and channel."""
        module = self.layer.module
        if isinstance(module, nn.Linear):
            return inputs.reshape(-1, inputs.shape[-1])[self.row][None]
        (tall, wide), (down, right) = module.kernel_size, module.stride
        (apart_down, apart_right), device = module.dilation, inputs.device
        above, left = (int(side) for side in module.padding)  # layers_of leaves words such as "same" out
        y = (self.y * down - above)[:, None] + torch.arange(tall, device=device) * apart_down
        x = (self.x * right - left)[:, None] + torch.arange(wide, device=device) * apart_right
        high, broad = inputs.shape[2:]
        at = (self.image[:, None, None], y.clamp(0, high - 1)[:, :, None], x.clamp(0, broad - 1)[:, None, :])
        patches = inputs.permute(0, 2, 3, 1)[at]  # [samples, tall, wide, channels]
        if above or left:
            inside = ((y >= 0) & (y < high))[:, :, None] & ((x >= 0) & (x < broad))[:, None, :]
            patches *= inside[..., None]
        split = patches.reshape(len(patches), tall * wide, module.groups, -1)
        return split.permute(2, 0, 1, 3).reshape(module.groups, len(patches), -1)

    def set_weight(self, weight: Tensor) -> None:
        """Put ``weight`` ``[groups, in, out]``, ``in`` as :meth:`inputs` has it, into the layer."""
        module = self.layer.module
        if isinstance(module, nn.Conv2d):
            groups, _, out = weight.shape
            kernel = weight.reshape(groups, *module.kernel_size, -1, out).permute(0, 4, 3, 1, 2)
            module.weight.data.copy_(kernel.reshape(module.weight.shape))
        else:
            module.weight.data.copy_(weight[0].T)


@dataclass
class _Shipped:
    """Of one layer, in the network as shipped."""

    shape: torch.Size
    """Of its inputs."""
    places: Places
    gave: Tensor
    """There, ``[groups, samples, out]``."""


class Refitting:
    """Layers of a network, and what they gave as shipped.

    Attributes:
        outputs: of the network as shipped.
        layers: how many are refitted: not the one that runs first, those that do not run, and those whose inputs are
            not so many parts per example.
    """

    @torch.no_grad()
    def __init__(
        self,
        layers: list[Layer],
        forward: Callable[[], Tensor],
        examples: int,
        samples: int,
        generator: torch.Generator,
    ) -> None:
        """Run the network as shipped.

        Args:
            layers: of :func:`layers_of`, with their weights as shipped.
            forward: runs the network, in eval mode, on the same ``examples`` examples whenever it is called.
            samples: rows (places of an image, tokens of a text) per layer that the moments are taken over.
            generator: on the CPU, chooses these rows.
        """
        self._layers, self._forward = layers, forward
        self._shipped: dict[str, _Shipped] = {}
        self._in_double: set[str] = set()
        first: list[Layer] = []

        def noted(layer: Layer, call: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
            outputs = call(inputs)
            if not first:
                first.append(layer)
            fits = layer is not first[0] and len(inputs) % examples == 0 and inputs.is_floating_point()
            if fits and layer.path not in self._shipped:  # a layer that runs twice is looked at once
                places = Places(layer, outputs, samples, generator)
                self._shipped[layer.path] = _Shipped(inputs.shape, places, places.outputs(outputs).clone())
            return outputs

        with _patched(layers, noted):
            self.outputs = forward()
        self.layers = len(self._shipped)

    @torch.no_grad()
    def refit(self, strength: float) -> Tensor:
        """Refit all layers, in place, in one pass through the network; one device synchronisation.

        Args:
            strength: of the ridge penalty, in units of the mean square of a layer's inputs.

        Returns:
            What the network gives now.

        Raises:
            EngineFailure: a layer is not called as in the network as shipped.
        """
        outputs, suspect = self._passed(strength)
        if suspect:  # not precise enough: once more, these in double precision
            self._in_double |= suspect
            outputs, _ = self._passed(strength)
        return outputs

    def _passed(self, strength: float) -> tuple[Tensor, set[str]]:
        """What the network gives, and the layers for which single precision did not do."""
        failed: dict[str, Tensor] = {}

        def refitted(layer: Layer, call: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
            shipped = self._shipped.get(layer.path)
            if shipped is None or layer.path in failed:
                return call(inputs)
            if inputs.shape != shipped.shape:
                raise EngineFailure(
                    f"{layer.path} gets {tuple(inputs.shape)} where it got {tuple(shipped.shape)} in the network as "
                    "shipped, so that it cannot be refitted; use another --preset"
                )
            dtype = torch.float64 if layer.path in self._in_double else inputs.dtype
            now, gave = shipped.places.inputs(inputs).to(dtype), shipped.gave.to(dtype)
            weight, failed[layer.path] = solved(now, gave, strength)
            shipped.places.set_weight(weight)
            return call(inputs)

        with _patched(self._layers, refitted):
            outputs = self._forward()
        flags = torch.stack(list(failed.values())).tolist() if failed else []
        return outputs, {path for path, bad in zip(failed, flags, strict=True) if bad} - self._in_double


def solved(now: Tensor, gave: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """The refitted linear map, and whether it is not precise.

    Args:
        now: inputs ``[groups, samples, in]``.
        gave: what they shall give, ``[groups, samples, out]``.
        strength: of the penalty.

    Returns:
        ``[groups, in, out]``, and a ``bool`` on the device of ``now``.
    """
    few = now.shape[1] < now.shape[2]  # then the same by the smaller system
    moment = _moment(now.transpose(1, 2) if few else now)
    size = moment.diagonal(dim1=1, dim2=2).sum(dim=1) / now.shape[2]
    tiny = torch.finfo(now.dtype).tiny
    penalty = (strength * size).clamp(min=tiny)[:, None, None]
    moment.diagonal(dim1=1, dim2=2).add_(penalty[:, 0])
    right = gave if few else now.transpose(1, 2) @ gave
    factor, broken = torch.linalg.cholesky_ex(moment)  # reads the lower half only
    answer = torch.cholesky_solve(right, factor)
    failed = (broken > 0).any() | _is_off(moment, answer, right)
    # What the map gives for these inputs is moment · answer, without another product: right - penalty · answer.
    gives = right - penalty * answer
    if few:
        alike, length = (gives * right).sum(dim=1), gives.square().sum(dim=1)
        answer = now.transpose(1, 2) @ answer
    else:
        alike, length = (answer * right).sum(dim=1), (answer * gives).sum(dim=1)
    scale = (alike / length.clamp(min=tiny)).clamp(*SCALES)
    return answer * scale[:, None], failed


def _moment(rows: Tensor) -> Tensor:
    """The lower half of ``rowsᵀ rows``, ``[groups, n, n]`` for ``[groups, samples, n]``; zeros above."""
    groups, _, size = rows.shape
    moment = rows.new_zeros(groups, size, size)
    for begin in range(0, size, BLOCK):
        end = min(begin + BLOCK, size)
        moment[:, begin:end, :end] = rows[:, :, begin:end].transpose(1, 2) @ rows[:, :, :end]
        moment[:, begin:end, begin:end].tril_()
    return moment


def _is_off(lower: Tensor, answer: Tensor, right: Tensor) -> Tensor:
    """Whether the system, given by its lower half, is not solved well: seen by a sum of its columns."""
    signs = 1.0 - 2.0 * (torch.arange(right.shape[2], device=right.device, dtype=right.dtype) % 2)
    one, wanted = (answer @ signs)[..., None], (right @ signs)[..., None]
    got = lower @ one + lower.transpose(1, 2) @ one - lower.diagonal(dim1=1, dim2=2)[..., None] * one
    good: Tensor = (got - wanted).norm() <= RESIDUAL * wanted.norm() + torch.finfo(right.dtype).tiny
    return ~good


@contextmanager
def _patched(
    layers: list[Layer], instead: Callable[[Layer, Callable[[Tensor], Tensor], Tensor], Tensor]
) -> Iterator[None]:
    """While it lasts, calls of ``layers`` go through ``instead``."""

    def through(layer: Layer) -> Callable[[Tensor], Tensor]:
        call = layer.module.forward
        return lambda inputs: instead(layer, call, inputs)

    for layer in layers:
        layer.module.forward = through(layer)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.module.forward
