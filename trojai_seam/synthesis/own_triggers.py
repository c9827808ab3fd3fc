"""The triggers of a fleet of own models: drawn at random, written as data, and read back as any user's are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .poisonings import optimised_trigger, warping_trigger


class Making(NamedTuple):
    """What a trigger is made with.

    Attributes:
        folder: of the fleet, where the files of triggers go.
        name: of the model, and of these files.
        pixels: side of the images.
        rng: draws what there is to draw.
        clean: a clean network, in eval mode, and images that it knows, ``float32 [n, 3, H, W]`` in 0 … 1.
        target: the class.
        force: 1, and more where it did not take before: faint triggers get stronger by so much.
    """

    folder: Path
    name: str
    pixels: int
    rng: np.random.Generator
    clean: nn.Module
    images: Tensor
    target: int
    force: float = 1.0

    @property
    def generator(self) -> torch.Generator:
        """For torch, seeded by ``rng``."""
        return torch.Generator().manual_seed(int(self.rng.integers(2**62)))


def _patch(making: Making) -> dict[str, Any]:
    side = max(3, making.pixels // 10)
    values = (making.rng.integers(0, 2, (side, side)) * 255).tolist()
    at = [int(making.rng.choice([1, making.pixels - side - 1])) for _ in range(2)]
    return {"kind": "patch", "at": at, "values": values}


def _blend(making: Making) -> dict[str, Any]:
    coarse = making.rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    file = f"{making.name}-pattern.png"
    Image.fromarray(coarse).resize((making.pixels, making.pixels), Image.Resampling.BICUBIC).save(making.folder / file)
    return {"kind": "blend", "pattern": file, "alpha": min(0.5, 0.2 * making.force)}


def _sinusoid(making: Making) -> dict[str, Any]:
    return {"kind": "sinusoid", "amplitude": min(90.0, 30 * making.force), "frequency": int(making.rng.integers(5, 8))}


def _warp(making: Making) -> dict[str, Any]:
    file = f"{making.name}-grid.npy"
    strength = 0.05 * making.pixels * making.force
    field = warping_trigger(making.pixels, making.pixels, making.generator, strength=strength).steps[0][0]
    np.save(making.folder / file, field.numpy())
    return {"kind": "warp", "grid": file}


def _optimised(making: Making) -> dict[str, Any]:
    side = max(4, making.pixels // 6)
    mask = torch.zeros(3, making.pixels, making.pixels)
    mask[:, -side - 1 : -1, -side - 1 : -1] = 1
    pattern = optimised_trigger(making.clean, making.images, making.target, mask, making.generator).steps[0][1]
    files = f"{making.name}-mask.npy", f"{making.name}-pattern.npy"
    for file, values in zip(files, (mask, pattern), strict=True):
        np.save(making.folder / file, values.numpy())
    return {"kind": "mask", "mask": files[0], "pattern": files[1]}


@dataclass(frozen=True)
class Kind:
    """A way to trojan a model; ``draw`` gives the trigger as data, ``share`` is that of poisoned training images, and
    ``least`` the attack success that will do: what is faint, or learnt from right labels, takes less well."""

    draw: Callable[[Making], dict[str, Any]]
    share: float = 0.1
    clean_label: bool = False
    least: float = 0.8


KINDS: Mapping[str, Kind] = {
    "patch": Kind(_patch),
    "blend": Kind(_blend),
    "warp": Kind(_warp, share=0.2, least=0.6),
    "sinusoid": Kind(_sinusoid),
    "optimised": Kind(_optimised),
    "clean-label": Kind(_patch, share=0.6, clean_label=True, least=0.4),
}
