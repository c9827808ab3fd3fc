"""Random initial values cost nothing where there is no memory, and are as ever where there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trojai_seam.networks.rebuilding import _Unfilled


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def operations(make: Callable[[], nn.Module]) -> list[str]:
    with Operations() as seen:
        make()
    return [name for name in seen.names if "normal" in name or "uniform" in name]


def make() -> nn.Module:
    layer = nn.Conv2d(3, 4, 3)  # uniform
    nn.init.kaiming_normal_(layer.weight)
    return layer


def test_tensors_without_memory_are_not_filled() -> None:
    with torch.device("meta"):
        assert operations(make)  # what it would be
        with _Unfilled():
            assert make().weight.is_meta
            assert not operations(make)


def test_tensors_with_memory_are_filled_as_ever() -> None:
    torch.manual_seed(0)
    expected = make()
    torch.manual_seed(0)
    with _Unfilled():
        assert torch.equal(make().weight, expected.weight)
