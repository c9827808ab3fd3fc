"""Sticking a polygon trigger on an example image, where NIST stuck it on the sign before the image was made.

The polygon's file, colour and size are known; where the sign is in an example image is not (no mask ships). The sign
is the one large thing in the foreground, so a place near the middle of the image lies on it nearly always; brightness
matching, blur, rain and fog, which NIST applied after the polygon, are left out. Hence *approximate*.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ExampleProblem
from .image_files import Picture, read_image
from .model_directory import ModelDirectory
from .trigger_facts import Trigger

FOREGROUND_SHARE = 0.55  # side of the sign relative to the image's, where the config does not say
REACH = 0.22  # how far from the middle the polygon's centre may be, relative to the sign's side
SMALLEST = 4
SMALLEST_SHARE, LARGEST_SHARE = 0.02, 0.19  # of the sign's area, R2's bounds
_QUADRANTS = {1: (1, -1), 2: (-1, -1), 3: (-1, 1), 4: (1, 1)}  # signs of x (right) and y (down)


def polygon_shapes(directory: ModelDirectory, trigger: Trigger) -> list[Path]:
    """The files that may hold the polygon's shape, best first: one per trigger, one per model, or a folder (R1)."""
    names = (f"trigger_{trigger.number}.png", "trigger.png", "triggers.png")
    single = [directory.path / name for name in names if (directory.path / name).is_file()]
    return single[:1] or sorted((directory.path / "triggers").glob("*.png"))


def read_shape(path: Path) -> Picture:
    """A polygon as ``uint8 [H, W, 4]``; alpha is 0 or 255.

    Raises:
        ExampleProblem: unreadable, or nothing in it is visible.
    """
    shape = read_image(path, "RGBA")
    visible = np.asarray(shape[..., 3] > 0)
    if visible.all():  # without an alpha channel: what is not black
        visible = np.asarray(shape[..., :3].any(axis=2))
    if not visible.any():
        raise ExampleProblem(f"{path}: expected a polygon on a transparent ground, found no visible pixel")
    shape[..., 3] = np.where(visible, 255, 0)
    return shape


def stick(
    image: Picture,
    shape: Picture,
    trigger: Trigger,
    color: tuple[int, int, int] | None,
    sign_side: float,
    chance: random.Random,
) -> Picture:
    """``image`` with the polygon on it: size, angle (multiples of 5°) and place are drawn much as NIST draws them.

    Args:
        image: ``uint8 [H, W, 3]``, RGB.
        shape: from :func:`read_shape`.
        trigger: for its size and quadrant.
        color: RGB; None keeps the shape's own colours (R11 bakes a texture in).
        sign_side: side in pixels of a square as large as the sign.
        chance: where size, angle and place come from.
    """
    low, high = trigger.size_share or (SMALLEST_SHARE, LARGEST_SHARE)
    side = trigger.size_pixels or chance.randint(int(sign_side * math.sqrt(low)), int(sign_side * math.sqrt(high)))
    side = min(max(side, SMALLEST), *image.shape[:2])
    sticker = Image.fromarray(shape).resize((side, side), Image.Resampling.NEAREST)
    sticker = sticker.rotate(5 * chance.randrange(72), Image.Resampling.NEAREST)
    if color is not None:
        flat = Image.new("RGBA", sticker.size, (*color, 255))
        flat.putalpha(sticker.getchannel("A"))
        sticker = flat
    x, y = _place(trigger.quadrant, REACH * sign_side, chance)
    height, width = image.shape[:2]
    left = min(max(round(width / 2 + x - side / 2), 0), width - side)
    top = min(max(round(height / 2 + y - side / 2), 0), height - side)
    out = Image.fromarray(image)
    out.paste(sticker, (left, top), sticker)
    return np.asarray(out, dtype=np.uint8).copy()


def _place(quadrant: int | None, reach: float, chance: random.Random) -> tuple[float, float]:
    """An offset from the middle, uniform over a disc or over its part in ``quadrant``."""
    radius, angle = reach * math.sqrt(chance.random()), chance.uniform(0, 2 * math.pi)
    x, y = radius * math.cos(angle), radius * math.sin(angle)
    if quadrant not in _QUADRANTS:
        return x, y
    right, down = _QUADRANTS[quadrant]
    return right * abs(x), down * abs(y)
