"""Made-up traffic signs: twelve plates, twelve symbols, drawn by us. A class of a synthetic round is one of the 144.

Files are named as NIST's foregrounds are, ``<shape>-<symbol>.png``, and class numbers follow the sorted file names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
CIRCLE = 0
FOREGROUND_PIXELS = 256
_FINER = 2  # drawn at this multiple and reduced, for smooth edges

BLACK, WHITE, RED, BLUE = (15, 15, 15), (240, 240, 240), (205, 30, 35), (40, 80, 190)
SKY, YELLOW, GREEN, ORANGE, GREY = (110, 190, 240), (245, 205, 45), (35, 140, 70), (235, 120, 35), (150, 150, 155)


@dataclass(frozen=True)
class Plate:
    """The outline of a sign: ``sides`` (0: a circle), turned by ``turn`` degrees, and its colours."""

    sides: int
    turn: float
    fill: Colour
    border: Colour
    symbol: Colour
    border_width: float = 0.14


PLATES: tuple[Plate, ...] = (
    Plate(3, -90, WHITE, RED, BLACK, 0.17),
    Plate(3, -90, SKY, BLACK, BLACK, 0.05),
    Plate(3, 90, YELLOW, RED, BLACK),
    Plate(4, -90, YELLOW, BLACK, BLACK, 0.07),
    Plate(4, -90, WHITE, GREEN, BLACK),
    Plate(4, -45, BLUE, WHITE, WHITE, 0.07),
    Plate(6, -90, ORANGE, BLACK, BLACK, 0.06),
    Plate(6, 0, GREEN, WHITE, WHITE, 0.09),
    Plate(8, -112.5, RED, WHITE, WHITE, 0.09),
    Plate(8, -112.5, WHITE, BLACK, BLACK, 0.06),
    Plate(CIRCLE, 0, BLUE, BLACK, WHITE, 0.04),
    Plate(CIRCLE, 0, WHITE, RED, BLACK, 0.17),
)

_Strokes = tuple[tuple[tuple[Point, ...], ...], tuple[tuple[float, float, float], ...]]
# Each symbol: filled polygons, and discs (x, y, radius), in a square from -1 to 1 with y downwards.
SYMBOLS: tuple[_Strokes, ...] = (
    (((((-0.25, 1), (0.25, 1), (0.25, -0.1), (0.7, -0.1), (0, -1), (-0.7, -0.1), (-0.25, -0.1)),)), ()),  # arrow up
    ((((-0.6, -1), (0.0, -1), (0.7, 0), (0.0, 1), (-0.6, 1), (0.1, 0)),), ()),  # chevron right
    ((((-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)),), ()),  # bar
    ((((-0.7, -1), (-0.2, -1), (-0.2, 1), (-0.7, 1)), ((0.2, -1), (0.7, -1), (0.7, 1), (0.2, 1))), ()),  # two posts
    (
        (
            (
                (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3),
                (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
            ),
        ),
        (),
    ),  # plus
    ((), ((-0.55, -0.55, 0.42), (0.55, -0.55, 0.42), (-0.55, 0.55, 0.42), (0.55, 0.55, 0.42))),  # four dots
    ((), ((0, 0, 0.95),)),  # disc
    ((((-1, -0.7), (-0.7, -1), (1, 0.7), (0.7, 1)), ((0.7, -1), (1, -0.7), (-0.7, 1), (-1, 0.7))), ()),  # cross
    ((((0.3, -1), (-0.75, 0.2), (-0.1, 0.2), (-0.3, 1), (0.75, -0.25), (0.1, -0.25)),), ()),  # flash
    (
        (
            (
                (-0.12, 1), (0.12, 1), (0.12, 0), (0.75, -0.5), (0.6, -0.7), (0, -0.2), (-0.6, -0.7), (-0.75, -0.5),
                (-0.12, 0),
            ),
        ),
        ((-0.68, -0.68, 0.3), (0.68, -0.68, 0.3)),
    ),  # fork
    ((((-0.9, 0.9), (-0.9, -0.9), (-0.4, -0.9), (-0.4, 0.4), (0.9, 0.4), (0.9, 0.9)),), ((0.45, -0.45, 0.4),)),  # L
    ((((-1, 0.8), (0, -0.9), (1, 0.8), (0.55, 0.8), (0, -0.1), (-0.55, 0.8)),), ()),  # roof
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Sign:
    """One kind of sign; ``shape`` and ``symbol`` count from 1, as in the file name."""

    shape: int
    symbol: int

    @property
    def file_name(self) -> str:
        return f"{self.shape}-{self.symbol}.png"


MOST_CLASSES = len(PLATES) * len(SYMBOLS)


def choose_signs(count: int, rng: np.random.Generator) -> tuple[Sign, ...]:
    """``count`` different signs; the class number is the place in this tuple, sorted by file name as NIST did.

    No plate comes much more often than others: up to twelve classes, at most twice.
    """
    most = -(-count // len(PLATES)) + 1
    chosen: list[Sign] = []
    for index in rng.permutation(MOST_CLASSES):
        sign = Sign(int(index) // len(SYMBOLS) + 1, int(index) % len(SYMBOLS) + 1)
        if len(chosen) < count and sum(sign.shape == other.shape for other in chosen) < most:
            chosen.append(sign)
    return tuple(sorted(chosen, key=lambda sign: sign.file_name))


def draw_sign(sign: Sign, pixels: int = FOREGROUND_PIXELS) -> NDArray[np.uint8]:
    """The sign as ``uint8 [pixels, pixels, 4]`` RGBA, filling its square; transparent outside the plate."""
    plate, (polygons, discs) = PLATES[sign.shape - 1], SYMBOLS[sign.symbol - 1]
    side = pixels * _FINER
    image = Image.new("RGBA", (side, side), (*plate.fill, 0))
    pen = ImageDraw.Draw(image)
    outline = _outline(plate)
    # A triangle is widest below its middle: its symbol sits on the centroid, which _outline puts at the origin.
    low, high = np.min(outline, axis=0), np.max(outline, axis=0)
    scale = float(side / np.max(high - low) * 0.98)
    middle = side / 2 - scale * (low + high) / 2

    def placed(points: Sequence[Point], factor: float = 1.0) -> list[Point]:
        return [(float(middle[0] + scale * factor * x), float(middle[1] + scale * factor * y)) for x, y in points]

    pen.polygon(placed(outline), fill=(*plate.border, 255))
    inradius = math.cos(math.pi / plate.sides) if plate.sides else 1.0
    pen.polygon(placed(outline, 1 - plate.border_width / inradius), fill=(*plate.fill, 255))
    size = {3: 0.38, 4: 0.48}.get(plate.sides, 0.6)
    for polygon in polygons:
        pen.polygon(placed(polygon, size), fill=(*plate.symbol, 255))
    for x, y, radius in discs:
        corners = placed([(x - radius, y - radius), (x + radius, y + radius)], size)
        pen.ellipse([*corners[0], *corners[1]], fill=(*plate.symbol, 255))
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BOX))


def _outline(plate: Plate) -> list[Point]:
    sides = plate.sides or 48
    angles = [math.radians(plate.turn + 360 * corner / sides) for corner in range(sides)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]
