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
    with importable(type(network)):
        torch.save(network, path)


@contextmanager
def importable(*kinds: type) -> Iterator[None]:
    """The classes can be imported, and hence pickled, from the modules that they name; nothing else of these can."""
    modules = {name: ModuleType(name) for name in {kind.__module__ for kind in kinds}}
    for kind in kinds:
        setattr(modules[kind.__module__], kind.__name__, kind)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
