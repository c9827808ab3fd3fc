"""How the weights of convolutions lie in memory. On a CPU, channels last takes up to half of a training step away."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def channels_last(model: nn.Module, ask: Callable[[], Tensor]) -> bool:
    """Lay the convolutions of ``model`` out channels last, if it has any and still answers ``ask()`` afterwards. Says
    whether they lie so now.

    A network of a user may call ``view`` on what a convolution gives, which only one layout allows.
    """
    if not any(p.ndim == 4 for p in model.parameters()) or any(map(_corrupts, model.modules())):
        return False
    model.eval().to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            ask()
    except RuntimeError:  # whatever else is wrong will be said by the training itself
        channels_first(model)
        return False
    return True


def _corrupts(module: nn.Module) -> bool:
    """Whether, channels last on a CPU, the gradient of ``module`` is written beyond its memory: torch 2.15 does so for
    convolutions of 1 × 1 with a stride and 2 to 7 input channels, and the process dies sooner or later."""
    if not isinstance(module, nn.Conv2d) or module.in_channels >= 8:
        return False
    return max(module.kernel_size) == 1 and max(module.stride) > 1


def channels_first(model: nn.Module) -> None:
    """The usual layout, in which weights are saved."""
    model.to(memory_format=torch.contiguous_format)
