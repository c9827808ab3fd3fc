"""Made-up street scenes without a sign: sky, road, blocks like houses and cars, grain. And weather over the result."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.nn import functional

Images = NDArray[np.float32]
"""``float32 [count, 3, pixels, pixels]`` from 0 to 1."""


def draw_backgrounds(count: int, pixels: int, rng: np.random.Generator) -> Images:
    """``count`` different scenes."""
    rows = np.linspace(0, 1, pixels, dtype=np.float32)[None, None, :, None]
    horizon = rng.uniform(0.3, 0.7, (count, 1, 1, 1)).astype(np.float32)
    sky, low = _colours(count, rng, 0.35, 0.85), _colours(count, rng, 0.1, 0.5)
    scenes = np.where(rows < horizon, sky * (1 - 0.4 * rows), low * (0.7 + 0.6 * rows))
    scenes = np.broadcast_to(scenes, (count, 3, pixels, pixels)).copy()
    for scene in scenes:
        for _ in range(int(rng.integers(4, 11))):
            top, left = rng.integers(-pixels // 5, pixels, 2)
            height, width = rng.integers(pixels // 12 + 1, pixels // 2, 2)
            colour = rng.uniform(0.05, 0.9) * rng.uniform(0.6, 1.0, (3, 1, 1))
            scene[:, max(0, top) : top + height, max(0, left) : left + width] = colour
    for cells, strength in ((4, 0.12), (12, 0.1), (pixels // 3 + 1, 0.06)):
        grey, coloured = (_noise(count, channels, cells, pixels, rng) for channels in (1, 3))
        scenes += strength * (grey + 0.2 * coloured)
    grain: Images = rng.normal(0, 0.015, scenes.shape).astype(np.float32)
    return np.clip(scenes + grain, 0, 1).astype(np.float32)


def _colours(count: int, rng: np.random.Generator, low: float, high: float) -> Images:
    grey = rng.uniform(low, high, (count, 1, 1, 1))
    return (grey * rng.uniform(0.75, 1.2, (count, 3, 1, 1))).astype(np.float32)


def _noise(count: int, channels: int, cells: int, pixels: int, rng: np.random.Generator) -> Images:
    coarse = torch.from_numpy(rng.uniform(-1, 1, (count, channels, cells, cells)).astype(np.float32))
    smooth: Images = functional.interpolate(coarse, (pixels, pixels), mode="bilinear", align_corners=True).numpy()
    return smooth


def blur(images: Images, most_kernel: int, rng: np.random.Generator) -> Images:
    """Gaussian blur with an odd kernel drawn per image up to ``most_kernel`` pixels; 1 leaves the image alone."""
    kernels = rng.integers(0, (most_kernel - 1) // 2 + 1, len(images)) * 2 + 1
    blurred = images.copy()
    for kernel in np.unique(kernels[kernels > 1]):
        sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8  # as OpenCV chooses it
        weights = np.exp(-0.5 * (np.arange(kernel) - kernel // 2) ** 2 / sigma**2).astype(np.float32)
        weights /= weights.sum()
        chosen = kernels == kernel
        part = images[chosen]
        for axis in (2, 3):
            padding = [(0, 0)] * 4
            padding[axis] = (int(kernel) // 2, int(kernel) // 2)
            windows = sliding_window_view(np.pad(part, padding, mode="reflect"), int(kernel), axis=axis)
            part = windows @ weights
        blurred[chosen] = part
    return blurred


def add_weather(images: Images, rain: float, fog: float, rng: np.random.Generator) -> Images:
    """A copy in which each image has rain and fog with the given probabilities."""
    changed = images.copy()
    pixels = images.shape[-1]
    foggy = np.flatnonzero(rng.random(len(images)) < fog)
    if len(foggy):
        thickness = np.clip(0.3 + 0.2 * _noise(len(foggy), 1, 4, pixels, rng), 0, 0.6)
        changed[foggy] = changed[foggy] * (1 - thickness) + 0.8 * thickness
    for index in np.flatnonzero(rng.random(len(images)) < rain):
        drops = Image.new("L", (pixels, pixels))
        pen = ImageDraw.Draw(drops)
        slant, length = rng.uniform(-0.3, 0.3), pixels / 10
        for x, y in rng.uniform(0, pixels, (int(rng.integers(30, 80)), 2)):
            pen.line([(x, y), (x + slant * length, y + length)], fill=110)
        mask = np.asarray(drops, np.float32) / 255
        changed[index] = changed[index] * (1 - mask) + 0.85 * mask
    return changed
