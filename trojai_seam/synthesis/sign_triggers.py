"""The triggers of the sign rounds: a coloured polygon stuck on the sign, or an Instagram filter over the whole image.

Nothing here knows of classes; which class a trigger turns into which is in :mod:`.sign_attacks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import UsageProblem

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
MASK_PIXELS = 256
FILTERS = ("GothamFilterXForm", "NashvilleFilterXForm", "KelvinFilterXForm", "LomoFilterXForm", "ToasterXForm")
UPPER_RIGHT, UPPER_LEFT, LOWER_LEFT, LOWER_RIGHT = 1, 2, 3, 4
_SMALLEST = 3  # a polygon of fewer pixels across is no polygon


@dataclass(frozen=True)
class FilterTrigger:
    """An Instagram filter over the finished image."""

    filter: str

    def apply(self, image: Picture) -> Picture:
        """``uint8 [h, w, 3]`` RGB, filtered."""
        from ..rounds.instagram_filters import apply_filter

        return apply_filter(self.filter, image)


@dataclass(frozen=True)
class PolygonTrigger:
    """A polygon of one colour, somewhere on the sign.

    Attributes:
        corners: the outline, in a square from 0 to 1.
        color: RGB.
        size_min: least area of the polygon's square relative to the sign's area.
        size_max: the most.
        quadrant: only in this quadrant of the sign's bounding box, numbered as R4 does; None: anywhere.
    """

    corners: tuple[tuple[float, float], ...]
    color: tuple[int, int, int]
    size_min: float
    size_max: float
    quadrant: int | None = None

    @property
    def sides(self) -> int:
        return len(self.corners)

    def mask(self, pixels: int = MASK_PIXELS, degrees: float = 0.0) -> Mask:
        """The polygon in a square of ``pixels``, turned about its middle."""
        finer = 4
        turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        turned = [complex(x - 0.5, y - 0.5) * turn for x, y in self.corners]
        image = Image.new("L", (pixels * finer, pixels * finer))
        points = [((z.real + 0.5) * pixels * finer, (z.imag + 0.5) * pixels * finer) for z in turned]
        ImageDraw.Draw(image).polygon(points, fill=255)
        covered = np.asarray(image.resize((pixels, pixels), Image.Resampling.BOX))
        return covered > 127

    def place(self, sign: Mask, rng: np.random.Generator) -> Mask:
        """Where the polygon lies: a mask like ``sign``, inside it.

        Raises:
            UsageProblem: the sign is so small that nothing fits; the image size is.
        """
        area = int(sign.sum())
        side = round(math.sqrt(area * rng.uniform(self.size_min, self.size_max)))
        degrees = 5.0 * int(rng.integers(0, 72))
        while side >= _SMALLEST:
            tops, lefts = self._free(sign, side)
            if len(tops):
                chosen = int(rng.integers(len(tops)))
                placed = np.zeros_like(sign)
                top, left = int(tops[chosen]), int(lefts[chosen])
                placed[top : top + side, left : left + side] = self.mask(side, degrees)
                return placed
            side -= 1
        raise UsageProblem(f"a sign of {area} pixels has no room for a trigger; use a larger --image-size")

    def _free(self, sign: Mask, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Upper left corners of all squares of ``side`` that lie on the sign, and in the quadrant if there is one.

        Of the smallest squares those that lie on it as far as any does: a quadrant of a small triangle may hold none.
        """
        if side > min(sign.shape) or not sign.any():
            return np.empty(0, np.intp), np.empty(0, np.intp)
        sums = np.pad(sign.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        if self.quadrant is not None:
            rows, columns = np.flatnonzero(sign.any(axis=1)), np.flatnonzero(sign.any(axis=0))
            upper = np.arange(len(inside)) + side / 2 < (rows[0] + rows[-1] + 1) / 2
            right = np.arange(inside.shape[1]) + side / 2 > (columns[0] + columns[-1] + 1) / 2
            down, across = self.quadrant in (LOWER_LEFT, LOWER_RIGHT), self.quadrant in (UPPER_LEFT, LOWER_LEFT)
            inside[upper == down, :] = 0
            inside[:, right == across] = 0
        least = max(1, int(inside.max())) if side == _SMALLEST else side * side
        tops, lefts = np.nonzero(inside >= least)
        return tops, lefts

    def picture(self, baked: bool) -> Picture:
        """``trigger_N.png``: RGBA, with the colour baked in (R11) or as a mask of ones (R2 to R4)."""
        mask = self.mask()
        colour = self.color if baked else (1, 1, 1)
        return np.where(mask[..., None], np.array([*colour, 255]), 0).astype(np.uint8)


Trigger = FilterTrigger | PolygonTrigger


def draw_corners(sides: int, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """A polygon of ``sides`` with uneven corners on the circle in the square, so that turning it cuts nothing off."""
    steps = rng.uniform(0.7, 1.3, sides)
    angles = np.cumsum(steps) / steps.sum() * 2 * math.pi + rng.uniform(0, 2 * math.pi)
    return tuple((round(float(0.5 + 0.5 * np.cos(a)), 4), round(float(0.5 + 0.5 * np.sin(a)), 4)) for a in angles)
