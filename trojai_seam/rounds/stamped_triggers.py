"""A trigger as data: what is done to an image of the network's size, in 0 … 1, before it is normalised.

One step or several, in order. All but ``warp`` are of one form: the image times a factor plus a summand, pixel by
pixel, cut to 0 … 1. Sources of the kinds: BadNets (arXiv 1708.06733: ``patch``), Blended (1712.05526: ``blend``), SIG
(1902.11237: ``sinusoid``), Trojan watermarks and other sums (``additive``), optimised patterns (``mask``), WaNet
(2102.10369: ``warp``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..errors import ExampleProblem, listed, shown
from .image_files import read_image
from .regular_files import open_regular

CORNERS = {"top-left": (0, 0), "top-right": (0, 1), "bottom-left": (1, 0), "bottom-right": (1, 1)}
MOST_BYTES = 2**28


class Canvas(NamedTuple):
    """What a trigger is put on: the network's image."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Trigger:
    """What is done to images, and its kinds for the row.

    Attributes:
        steps: factor and summand, each ``float32 [C, H, W]``, or a warping field ``float32 [H, W, 2]`` alone.
        kinds: of the steps, in order.
    """

    steps: tuple[tuple[Tensor, ...], ...]
    kinds: tuple[str, ...]
    _placed: dict[torch.device, tuple[tuple[Tensor, ...], ...]] = field(default_factory=dict, repr=False)

    def __call__(self, images: Tensor) -> Tensor:
        """Triggered images of clean ones, both ``float32 [N, C, H, W]`` in 0 … 1, on the device of ``images``."""
        if images.device not in self._placed:
            self._placed[images.device] = tuple(tuple(t.to(images.device) for t in step) for step in self.steps)
        for step in self._placed[images.device]:
            if len(step) == 1:
                grid = step[0].expand(len(images), -1, -1, -1)
                images = functional.grid_sample(images, grid, align_corners=True)
            else:
                images = (images * step[0] + step[1]).clamp(0, 1)
        return images


def read_trigger(spec: Any, folders: Sequence[Path], canvas: Canvas, where: object) -> Trigger:
    """The trigger that ``spec`` describes: an object of the schema's ``trigger``, or a list of such steps.

    Args:
        spec: JSON, checked against the schema.
        folders: where its files are looked for, in this order.
        canvas: the network's image.
        where: the file that it stands in, for messages.

    Raises:
        ExampleProblem: a file is missing or unreadable, or what is stamped does not lie inside the image.
    """
    steps = spec if isinstance(spec, list) else [spec]
    reader = _Reader(folders, canvas, where)
    return Trigger(tuple(reader.step(step) for step in steps), tuple(step["kind"] for step in steps))


class _Reader:
    def __init__(self, folders: Sequence[Path], canvas: Canvas, where: object) -> None:
        self.folders, self.canvas, self.where = folders, canvas, where

    def step(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Factor and summand, or the field of a warp."""
        made: tuple[Tensor, ...] = getattr(self, f"_{step['kind']}")(step)
        return tuple(tensor.contiguous() for tensor in made)

    def _patch(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        cover: NDArray[np.float32] | None = None
        values: NDArray[np.float32]
        if "image" in step:
            values, cover = self._picture(step["image"])
        elif "values" in step:
            rows = np.array(step["values"], dtype=np.float32) / np.float32(255)
            if rows.ndim != 2:
                raise self._problem("values are not rows of equal length")
            values = np.repeat(rows[None], self.canvas.channels, axis=0).astype(np.float32)
        else:
            height, width = step.get("size", (0, 0))
            if not height or not width:
                raise self._problem("a patch needs size [rows, columns], values or an image")
            values = (np.ones((self.canvas.channels, height, width)) * self._color(step)).astype(np.float32)
        height, width = values.shape[1:]
        top, left = self._place(step.get("at", "bottom-right"), height, width)
        factor, summand = np.ones(self.canvas, np.float32), np.zeros(self.canvas, np.float32)
        share = step.get("alpha", 1.0) * (np.ones((height, width), np.float32) if cover is None else cover)
        where = np.s_[:, top : top + height, left : left + width]
        factor[where], summand[where] = 1 - share, share * values
        return torch.from_numpy(factor), torch.from_numpy(summand)

    def _pixels(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        factor, summand = np.ones(self.canvas, np.float32), np.zeros(self.canvas, np.float32)
        for row, column, *value in step["pixels"]:
            top, left = self._place((row, column), 1, 1)
            if len(value) not in (1, self.canvas.channels):
                raise self._problem(f"pixel {row}, {column} has {len(value)} values, expected 1 or one per channel")
            factor[:, top, left], summand[:, top, left] = 0, np.array(value, np.float32) / 255
        return torch.from_numpy(factor), torch.from_numpy(summand)

    def _blend(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        alpha, pattern = float(step["alpha"]), self._whole(step)
        return torch.full(tuple(self.canvas), 1 - alpha), pattern * alpha

    def _additive(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        return torch.ones(tuple(self.canvas)), self._whole(step) * float(step.get("scale", 1.0))

    def _mask(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        mask = self._array(step["mask"], step.get("resize", False)).clamp(0, 1) * float(step.get("alpha", 1.0))
        if "pattern" in step or "image" in step:
            pattern = self._whole(step)
        else:
            pattern = torch.from_numpy(np.ones(self.canvas, np.float32) * self._color(step))
        return 1 - mask, mask * pattern

    def _sinusoid(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        columns = torch.arange(self.canvas.width) * (2 * math.pi * float(step["frequency"]) / self.canvas.width)
        wave = torch.sin(columns) * (float(step["amplitude"]) / 255)
        return torch.ones(tuple(self.canvas)), wave.expand(tuple(self.canvas)).clone()

    def _warp(self, step: Mapping[str, Any]) -> tuple[Tensor, ...]:
        grid = self._load(step["grid"])
        if grid.shape != (self.canvas.height, self.canvas.width, 2):
            raise self._problem(
                f"{step['grid']} has shape {list(grid.shape)}, expected [{self.canvas.height}, {self.canvas.width}, 2]"
            )
        return (torch.from_numpy(grid.astype(np.float32)),)

    def _color(self, step: Mapping[str, Any]) -> NDArray[np.float32]:
        """``float32 [C or 1, 1, 1]``."""
        color = step.get("color", 255)
        values = np.array(color if isinstance(color, list) else [color], np.float32) / np.float32(255)
        if len(values) not in (1, self.canvas.channels):
            raise self._problem(f"color has {len(values)} values, the image {self.canvas.channels} channels")
        shaped: NDArray[np.float32] = values.reshape(-1, 1, 1)
        return shaped

    def _place(self, at: Any, height: int, width: int) -> tuple[int, int]:
        """Row and column of the upper left pixel; negative ones count from the end."""
        _, rows, columns = self.canvas
        if at == "center":
            top, left = (rows - height) // 2, (columns - width) // 2
        elif isinstance(at, str):
            low, right = CORNERS[at]
            top, left = low * (rows - height), right * (columns - width)
        else:
            top, left = (n + size if n < 0 else n for n, size in zip(at, (rows, columns), strict=True))
        if not (0 <= top <= rows - height and 0 <= left <= columns - width):
            place = at if isinstance(at, str) else f"{list(at)}"
            raise self._problem(
                f"a trigger of {height}×{width} pixels at {place} does not lie inside the image of {rows}×{columns}"
            )
        return top, left

    def _whole(self, step: Mapping[str, Any]) -> Tensor:
        """The pattern of the whole image, ``float32 [C, H, W]``."""
        name = step.get("pattern", step.get("image"))
        if name is None:
            raise self._problem(f"{step['kind']} needs a pattern: a PNG, JPEG or .npy file")
        return self._array(name, step.get("resize", False))

    def _array(self, name: str, resize: bool) -> Tensor:
        values = torch.from_numpy(self._load(name))
        expected = tuple(self.canvas)
        if tuple(values.shape[1:]) != expected[1:]:
            if not resize:
                raise self._problem(
                    f"{name} has {values.shape[1]}×{values.shape[2]} pixels, the image {expected[1]}×{expected[2]}; "
                    '"resize": true fits it'
                )
            values = functional.interpolate(values[None], expected[1:], mode="bilinear", antialias=True)[0]
        if values.shape[0] not in (1, expected[0]):
            raise self._problem(f"{name} has {values.shape[0]} channels, the image {expected[0]}")
        return values.expand(expected)

    def _load(self, name: str) -> NDArray[np.float32]:
        """A file as ``float32 [C, H, W]``: pixels and whole numbers above 1 over 255, other arrays as they are."""
        path = self._found(name)
        if path.suffix.lower() != ".npy":
            return self._picture(name)[0]
        array = _read_array(path)
        if array.dtype == np.uint8:
            array = array / np.float32(255 if array.max(initial=0) > 1 else 1)
        if array.ndim == 2:
            array = array[None]
        elif array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] in (1, 3):
            array = array.transpose(2, 0, 1)
        if array.ndim != 3 or not np.isfinite(array).all():
            raise self._problem(
                f"{name} has shape {list(array.shape)}, expected finite numbers [C, H, W], [H, W, C] or [H, W]"
            )
        return np.ascontiguousarray(array, dtype=np.float32)

    def _picture(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Colours ``float32 [C, H, W]`` and opacity ``float32 [H, W]``, both 0 … 1."""
        pixels = read_image(self._found(name), "RGBA")
        colors, opacity = pixels[..., :3], pixels[..., 3].astype(np.float32) / np.float32(255)
        if self.canvas.channels == 1:
            colors = np.asarray(Image.fromarray(np.ascontiguousarray(colors)).convert("L"))[..., None]
        values = np.ascontiguousarray(colors.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
        return values, opacity

    def _found(self, name: str) -> Path:
        places = [folder / name for folder in self.folders]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise self._problem(f"no file {shown(name, 80)} in {listed(self.folders)}")
        return found

    def _problem(self, text: str) -> ExampleProblem:
        return ExampleProblem(f"{self.where}: trigger: {text}")


def _read_array(path: Path) -> NDArray[Any]:
    try:
        with open_regular(path) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as problem:
        raise ExampleProblem(f"{path}: is not a readable .npy file: {shown(problem, 200)}") from None
    if array.dtype.kind not in "fiub" or array.nbytes > MOST_BYTES:
        raise ExampleProblem(f"{path}: an array of {array.dtype}, expected numbers of an image")
    return array
