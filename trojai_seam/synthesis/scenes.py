"""Puts signs into street scenes: size, place, turn, perspective, light, triggers, blur, weather. Many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .backgrounds import Images, add_weather, blur, draw_backgrounds
from .sign_triggers import FilterTrigger, PolygonTrigger, Trigger
from .signs import Sign, draw_sign

Pictures = NDArray[np.uint8]
"""``uint8 [count, pixels, pixels, 3]`` RGB."""

_MOST_PIXELS_AT_ONCE = 3_000_000


@dataclass(frozen=True)
class SceneSettings:
    """Named as the rounds' config keys are.

    Attributes:
        pixels: side of the stored image.
        foreground_min: least share of the image that the sign's square covers.
        foreground_max: the most.
        blur_max: largest blur kernel, in pixels.
        rain: probability.
        fog: probability.
        number_backgrounds: different street scenes; each image uses a random part of one.
    """

    pixels: int
    foreground_min: float = 0.2
    foreground_max: float = 0.4
    blur_max: int = 5
    rain: float = 0.05
    fog: float = 0.05
    number_backgrounds: int = 300

    @property
    def foreground_pixels(self) -> tuple[int, int]:
        """Sides of the smallest and the largest sign."""
        low, high = (int(np.sqrt(share) * self.pixels) for share in (self.foreground_min, self.foreground_max))
        return low, high


class SceneRenderer:
    """Renders images of the given signs; class numbers are places in ``signs``."""

    def __init__(self, signs: Sequence[Sign], settings: SceneSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        # A foreground about as large as it will appear: sampling a much larger one would alias.
        side = int(np.ceil(np.sqrt(settings.foreground_max) * settings.pixels)) + 2
        drawn = np.stack([draw_sign(sign, side) for sign in signs]).astype(np.float32) / 255
        drawn[..., :3] *= drawn[..., 3:]  # premultiplied: nothing of the transparent pixels' colour bleeds in
        self._signs = torch.from_numpy(drawn.transpose(0, 3, 1, 2).copy())
        self._backgrounds = draw_backgrounds(settings.number_backgrounds, settings.pixels * 5 // 4, rng)

    def render(
        self,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        trigger: Trigger | None = None,
    ) -> Pictures:
        """One image per label, each with ``trigger`` if there is one."""
        at_once = max(1, _MOST_PIXELS_AT_ONCE // self.settings.pixels**2)
        parts = [self._render(labels[i : i + at_once], rng, trigger) for i in range(0, len(labels), at_once)]
        empty = np.empty((0, self.settings.pixels, self.settings.pixels, 3), np.uint8)
        return np.concatenate([empty, *parts])

    def _render(self, labels: NDArray[np.int64], rng: np.random.Generator, trigger: Trigger | None) -> Pictures:
        settings, count = self.settings, len(labels)
        # Its own generator: with or without a trigger, the same seed gives the same scenes.
        trigger_rng = np.random.default_rng(rng.integers(2**63))
        scenes = self._parts_of_backgrounds(count, rng)
        layers = self._signs[torch.from_numpy(labels)]
        warped: NDArray[np.float32] = functional.grid_sample(
            layers, _grid(count, settings, rng), mode="bilinear", padding_mode="zeros", align_corners=False
        ).numpy()
        colour, alpha = warped[:, :3].copy(), warped[:, 3:]
        if isinstance(trigger, PolygonTrigger):
            paint = np.array(trigger.color, np.float32)[:, None] / 255
            for index in range(count):
                placed = trigger.place(alpha[index, 0] > 0.5, trigger_rng)
                colour[index][:, placed] = paint * alpha[index][:, placed]
        # The sign gets the light of the street it stands in.
        street = scenes.mean(axis=(1, 2, 3), keepdims=True)
        light = (0.55 + 0.45 * street / 0.4) * rng.uniform(0.85, 1.15, (count, 1, 1, 1))
        scenes = np.clip(colour * light, 0, alpha) + scenes * (1 - alpha)
        scenes *= rng.uniform(0.85, 1.15, (count, 1, 1, 1))
        scenes = blur(scenes.astype(np.float32), settings.blur_max, rng)
        scenes = add_weather(scenes, settings.rain, settings.fog, rng)
        pictures = np.rint(np.clip(scenes, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
        if isinstance(trigger, FilterTrigger):
            pictures = np.stack([trigger.apply(np.ascontiguousarray(picture)) for picture in pictures])
        return np.ascontiguousarray(pictures)

    def _parts_of_backgrounds(self, count: int, rng: np.random.Generator) -> Images:
        pixels = self.settings.pixels
        spare = self._backgrounds.shape[-1] - pixels
        parts = np.empty((count, 3, pixels, pixels), np.float32)
        for part, which in zip(parts, rng.integers(0, len(self._backgrounds), count), strict=True):
            top, left = rng.integers(0, spare + 1, 2)
            part[:] = self._backgrounds[which, :, top : top + pixels, left : left + pixels]
            if rng.random() < 0.5:
                part[:] = part[:, :, ::-1].copy()
        return parts


def _grid(count: int, settings: SceneSettings, rng: np.random.Generator) -> Tensor:
    """Where each output pixel comes from on the sign: ``[count, pixels, pixels, 2]``, -1 to 1 across the sign."""

    def draw(low: float, high: float) -> NDArray[np.float64]:
        return rng.uniform(low, high, (count, 1, 1))

    # In units of half an image: the sign's half side, and a centre that keeps it whole in the central crop.
    half = np.sqrt(draw(settings.foreground_min, settings.foreground_max))
    room = np.maximum(0.875 - half, 0)
    axis = (np.arange(settings.pixels) + 0.5) / settings.pixels * 2 - 1
    x = (axis[None, None, :] - room * draw(-1, 1)) / half
    y = (axis[None, :, None] - room * draw(-1, 1)) / half
    turn = np.radians(draw(-12, 12))
    x, y = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    x, y = x * draw(1, 1.2), y * draw(1, 1.2)
    depth = 1 + draw(-0.12, 0.12) * x + draw(-0.12, 0.12) * y
    depth = np.where(depth > 0.2, depth, np.inf)  # behind the viewer: nowhere on the sign
    outside = np.isinf(depth)
    grid = np.stack([np.where(outside, 9, x / depth), np.where(outside, 9, y / depth)], axis=-1)
    return torch.from_numpy(grid.astype(np.float32))
