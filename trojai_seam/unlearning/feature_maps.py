"""Which feature maps a convolutional network makes, and in which order: found by asking it, not read off its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .context import Context


class Call(NamedTuple):
    """One call of a module: which one, how often it was called before, and the shapes of what went in and came out."""

    path: str
    module: nn.Module
    turn: int
    given: torch.Size
    gave: torch.Size

    @property
    def has_convolution(self) -> bool:
        return any(isinstance(module, nn.Conv2d) for module in self.module.modules())


@contextmanager
def _watched(model: nn.Module, see: Callable[[str, nn.Module, int, Tensor, Tensor], None]) -> Iterator[None]:
    """While it lasts, ``see`` is told of every call from one tensor to another, when it has ended."""
    turns: dict[str, int] = {}
    handles = []

    def hook(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def seen(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and args and isinstance(args[0], Tensor):
                turn = turns.get(path, 0)
                turns[path] = turn + 1
                see(path, module, turn, args[0], output)

        return seen

    try:
        for path, module in model.named_modules():
            if path:
                handles.append(module.register_forward_hook(hook(path)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def calls_of(context: Context) -> list[Call]:
    """The calls that the network of ``context`` makes of its modules, in the order in which they end."""
    calls: list[Call] = []

    def see(path: str, module: nn.Module, turn: int, given: Tensor, gave: Tensor) -> None:
        calls.append(Call(path, module, turn, given.shape, gave.shape))

    where = torch.arange(min(2, len(context.fit)))
    model = context.model.eval()
    with _watched(model, see):
        context.task.outputs(model, context.fit.rows(where, where.to(context.device)))
    return calls


def stages(calls: Sequence[Call]) -> list[Call]:
    """The last call that makes a feature map ``[N, C, H, W]`` of each size, largest maps first, in the order of calls.

    Where blocks of layers hold convolutions, the block counts (the end of a stage of a residual network), otherwise the
    layer, pooling aside. Maps of one place are left out, and so is the input's own size if no convolution made it.
    """
    last: dict[torch.Size, Call] = {}
    pooled = False
    for call in calls:
        block = any(True for _ in call.module.children())
        if not block:
            pooled = call.given[2:] != call.gave[2:] and not isinstance(call.module, nn.Conv2d)
        if pooled or len(call.gave) != 4 or call.gave[2] * call.gave[3] == 1:
            continue
        size = torch.Size(call.gave[2:])
        known = last.get(size)
        if block:
            counts = call.has_convolution
        elif known is None:
            counts = isinstance(call.module, nn.Conv2d)
        else:
            counts = not any(True for _ in known.module.children())
        if counts:
            last[size] = call
    return sorted(last.values(), key=calls.index)


class MapWatch:
    """Collects what chosen calls give, in every pass through the network."""

    def __init__(self, chosen: Sequence[Call]) -> None:
        self._places = {(call.path, call.turn): number for number, call in enumerate(chosen)}

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """While it lasts, one pass through ``model`` fills the list, in the order of the chosen calls."""
        found: list[Tensor] = []
        taken: dict[int, Tensor] = {}

        def see(path: str, _module: nn.Module, turn: int, _given: Tensor, gave: Tensor) -> None:
            place = self._places.get((path, turn))
            if place is not None:
                taken[place] = gave

        with _watched(model, see):
            yield found
        found.extend(taken[place] for place in sorted(taken))


def attention_map(features: Tensor) -> Tensor:
    """Where in an image the channels are active: ``float [N, H · W]`` of length 1, from ``[N, C, H, W]``.

    The sum of squares over channels (Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017).
    """
    return functional.normalize(features.square().sum(dim=1).flatten(1), dim=1, eps=1e-6)
