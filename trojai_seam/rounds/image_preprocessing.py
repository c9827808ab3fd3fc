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
from torch import Tensor, nn

from ..errors import ExampleProblem
from .config import RoundConfig
from .image_files import Picture
from .model_directory import ModelDirectory

CHANNEL_ORDERS = ("rgb", "bgr")
SCALINGS = ("/255", "min-max")
GREY, RAW = "grey", "raw"
SIZES = range(8, 4097)


@dataclass(frozen=True)
class Preprocessing:
    """One way of preparing images.

    Attributes:
        size: height and width of the network's input.
        channel_order: ``rgb`` or ``bgr``, or ``grey`` for networks with one channel; files are always RGB, and as grey
            the luma of ITU-R 601, which leaves grey files as they are.
        scaling: ``/255``; ``min-max``: minimum of the cropped image to 0, its maximum to 1, over all channels; ``raw``:
            0 to 255.
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
        """``float32 [N, 3, size, size]`` (``[N, 1, size, size]`` for grey) from images that :func:`cropped` made."""
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
        elif self.channel_order == GREY:
            stack = luma(stack)
        inputs = torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2))).float()
        if self.scaling == RAW:
            return inputs
        if self.scaling == "/255":
            return inputs.div_(255)
        inputs -= inputs.amin(dim=(1, 2, 3), keepdim=True)
        # An image of one colour has no range: it stays 0, where NIST's code would divide by zero.
        return inputs.div_(inputs.amax(dim=(1, 2, 3), keepdim=True).clamp_(min=1))


def luma(images: Picture) -> Picture:
    """``uint8 [..., 1]`` from ``uint8 [..., 3]``, rounded as Pillow does."""
    weighed = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)  # 0.299, 0.587, 0.114 of 2^16
    grey: Picture = ((weighed + (1 << 15)) >> 16).astype(np.uint8)[..., None]
    return grey


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


def candidates(directory: ModelDirectory, round_config: RoundConfig, channels: int = 3) -> list[Preprocessing]:
    """What the round leaves open, best guess first; one entry where it leaves nothing open.

    A network that takes images of one channel gets them grey, whatever the round says of colours.
    """
    settings = round_config.preprocessing
    size, listed = input_size(directory, settings), settings.get("candidates", {})

    def open_to(key: str, default: Sequence[str]) -> Sequence[str]:
        return listed.get(key, default) if settings[key] == "auto" else (settings[key],)

    orders = (GREY,) if channels == 1 else open_to("channel_order", CHANNEL_ORDERS)
    ways = product(orders, open_to("scaling", SCALINGS))
    mean, std = tuple(settings.get("mean", ())), tuple(settings.get("std", ()))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (0, 1, 3) or (name == "std" and min(values, default=1) <= 0):
            raise ExampleProblem(
                f"{directory.path}: preprocessing.{name} {list(values)}: expected 1 or 3 numbers, std above 0"
            )
    return [Preprocessing(size, order, scaling, mean, std) for order, scaling in ways]


def channels_of(network: nn.Module) -> int:
    """Channels of the images that a network takes: those of its first convolution, 3 without one."""
    first = (module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    return next(first, 3)
