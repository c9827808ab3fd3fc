"""Classes that pickle as NIST's do: ``archs.Net2`` … ``archs.Net7r``, importable from nowhere afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

ACTIVATIONS = {"tanh": ("", torch.tanh), "relu": ("r", torch.relu), "sigmoid": ("s", torch.sigmoid)}


def make_network(layers: int, activation: str, features: int = 135, width: int = 100) -> nn.Module:
    """A fresh network of ``layers`` fully connected layers, of a class named as in NIST's ``archs.py``."""
    suffix, function = ACTIVATIONS[activation]

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        for number in range(1, layers):
            x = function(self.get_submodule(f"fc{number}")(x))
        scores: Tensor = self.get_submodule(f"fc{layers}")(x)
        return scores

    kind = type(f"Net{layers}{suffix}", (nn.Module,), {"forward": forward, "__module__": "archs"})
    network: nn.Module = kind()
    sizes = [features, *[width] * (layers - 1), 2]
    for number in range(layers):
        network.add_module(f"fc{number + 1}", nn.Linear(sizes[number], sizes[number + 1]))
    return network


def save_as_nist(network: nn.Module, path: Path) -> None:
    """``torch.save`` of the whole module; its class is importable as ``archs.<Name>`` only while it is written."""
    with _importable(type(network)):
        torch.save(network, path)


@contextmanager
def _importable(kind: type) -> Iterator[None]:
    before = sys.modules.get(kind.__module__)
    module = ModuleType(kind.__module__)
    setattr(module, kind.__name__, kind)
    sys.modules[kind.__module__] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[kind.__module__]
        else:
            sys.modules[kind.__module__] = before
