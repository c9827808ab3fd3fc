"""Whole-module pickles of classes that live elsewhere, made here and now: what NIST's generators did in their day."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from trojai_seam.loading import SavedModel, read_model


def saved(module: nn.Module, folder: Path, class_path: str | None = None) -> SavedModel:
    """``torch.save(module)`` read back inertly; ``class_path`` is what the pickle calls the outermost class."""
    original = type(module)
    file = folder / "model.pt"
    with pytest.MonkeyPatch.context() as patch:
        if class_path is not None:
            name, _, leaf = class_path.rpartition(".")
            renamed = type(leaf, (original,), {"__module__": name})
            for k in range(name.count(".") + 1):
                part = ".".join(name.split(".")[: k + 1])
                patch.setitem(sys.modules, part, types.ModuleType(part))
            setattr(sys.modules[name], leaf, renamed)
            module.__class__ = renamed
        try:
            torch.save(module, file)
        finally:
            module.__class__ = original
    return read_model(file)


def bare(state: dict[str, torch.Tensor], folder: Path) -> SavedModel:
    """A bare state dict, read back inertly."""
    torch.save(state, folder / "model.pt")
    return read_model(folder / "model.pt")


def shaken(module: nn.Module, inputs: torch.Tensor, seed: int = 0) -> nn.Module:
    """Random BatchNorm weights, and statistics that fit ``inputs`` but for a random factor. Eval mode.

    With fresh statistics activations die out layer by layer, and the outputs would be the same whatever the input.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [part for part in module.eval().modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.data.uniform_(0.6, 1.4, generator=generator)
        norm.bias.data.uniform_(-0.2, 0.2, generator=generator)
        norm.momentum = 1.0
        norm.train()  # only these: inception's second head cannot run on small images
    with torch.no_grad():
        module(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.5, generator=generator)
        norm.momentum = momentum
    return module.eval()


def pictures(size: int, count: int = 4) -> torch.Tensor:
    """[count, 3, size, size], the same at every call."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_same_outputs(expected: nn.Module, found: nn.Module, inputs: torch.Tensor) -> None:
    """Equal within 1e-4 of the largest output, and sensitive to the input."""
    with torch.no_grad():
        want, got = expected(inputs), found(inputs)
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    assert (want[0] - want[1]).abs().max() > 1e-3 * want.abs().max()
