"""From 8-bit images to what a network was trained on: crop, channel order, scaling. Which, is data of a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ExampleProblem
from .config import RoundConfig
from .image_files import Picture
from .model_directory import ModelDirectory

CHANNEL_ORDERS = ("rgb", "bgr")
SCALINGS = ("/255", "min-max")
SIZES = range(8, 4097)


@dataclass(frozen=True)
class Preprocessing:
    """One way of preparing images.

    Attributes:
        size: height and width of the network's input.
        channel_order: ``rgb`` or ``bgr``; files are always RGB.
        scaling: ``/255``, or ``min-max``: minimum of the cropped image to 0, its maximum to 1, over all channels.
        mean: subtracted after that, per channel of the network's order; empty: nothing.
        std: divided by after that.
    """

    size: int
    channel_order: str
    scaling: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __str__(self) -> str:
        told = f"{self.channel_order} {self.scaling} {self.size}"
        for name, values in (("mean", self.mean), ("std", self.std)):
            told += f" {name} {' '.join(f'{value:g}' for value in values)}" if values else ""
        return told

    def apply(self, images: Sequence[Picture]) -> Tensor:
        """``float32 [N, 3, size, size]`` from images that :func:`cropped` made."""
        return self._normalised(self._scaled(np.stack(images)))

    def _normalised(self, inputs: Tensor) -> Tensor:
        if self.mean:
            inputs = inputs - torch.tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            inputs = inputs / torch.tensor(self.std).view(1, -1, 1, 1)
        return inputs

    def _scaled(self, stack: NDArray[np.uint8]) -> Tensor:
        if self.channel_order == "bgr":
            stack = stack[..., ::-1]
        inputs = torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2))).float()
        if self.scaling == "/255":
            return inputs.div_(255)
        inputs -= inputs.amin(dim=(1, 2, 3), keepdim=True)
        # An image of one colour has no range: it stays 0, where NIST's code would divide by zero.
        return inputs.div_(inputs.amax(dim=(1, 2, 3), keepdim=True).clamp_(min=1))


def cropped(image: Picture, size: int, path: Path) -> Picture:
    """The central ``size`` × ``size`` pixels.

    Raises:
        ExampleProblem: the image is smaller; images are never enlarged.
    """
    height, width = image.shape[:2]
    if height < size or width < size:
        raise ExampleProblem(
            f"{path}: {width}×{height} pixels, smaller than the {size}×{size} that the network takes "
            "(--round-set preprocessing.size=N if it takes another size)"
        )
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def input_size(directory: ModelDirectory, preprocessing: Mapping[str, Any]) -> int:
    """The size in the model's config where it is sensible, else the round's."""
    claims = (directory.config.get(key) for key in preprocessing.get("size_keys", ()))
    sensible = (claim for claim in claims if type(claim) is int and claim in SIZES)
    return next(sensible, int(preprocessing["size"]))


def candidates(directory: ModelDirectory, round_config: RoundConfig) -> list[Preprocessing]:
    """What the round leaves open, best guess first; one entry where it leaves nothing open."""
    settings = round_config.preprocessing
    size, listed = input_size(directory, settings), settings.get("candidates", {})

    def open_to(key: str, default: Sequence[str]) -> Sequence[str]:
        return listed.get(key, default) if settings[key] == "auto" else (settings[key],)

    ways = product(open_to("channel_order", CHANNEL_ORDERS), open_to("scaling", SCALINGS))
    mean, std = tuple(settings.get("mean", ())), tuple(settings.get("std", ()))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (0, 1, 3) or (name == "std" and min(values, default=1) <= 0):
            raise ExampleProblem(
                f"{directory.path}: preprocessing.{name} {list(values)}: expected 1 or 3 numbers, std above 0"
            )
    return [Preprocessing(size, order, scaling, mean, std) for order, scaling in ways]
