"""What a trigger does to the objects of a picture, drawn as the generators of R10 and R13 do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sign_attacks import R11_COLORS, R11_SIDES
from .sign_triggers import PolygonTrigger, draw_corners

MISCLASSIFICATION, EVASION, INJECTION, LOCALISATION = KINDS = (
    "misclassification",
    "evasion",
    "injection",
    "localisation",
)
DIRECTIONS = ("north", "south", "east", "west")
LEAST_KEPT = 0.5
"""Share of width and height that a moved box keeps inside the image; a box that would lose more is not moved."""

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels; x1 and y1 are one past the last pixel."""


@dataclass(frozen=True)
class ObjectAttack:
    """One trigger of one model.

    Attributes:
        number: counts the model's triggers.
        kind: of ``KINDS``.
        source: class of the objects that it works on; of an injection the same as ``target``, as R13 writes it.
        target: class that the attacker wants; the source itself for evasion and localisation.
        trigger: what is seen.
        direction: of ``DIRECTIONS``: where a localisation trigger moves boxes; empty for other kinds.
    """

    number: int
    kind: str
    source: int
    target: int
    trigger: PolygonTrigger
    direction: str = ""


def moved_box(box: Corners, direction: str, width: int, height: int) -> Corners | None:
    """``box`` moved by its own size, cut at the image's edge; None where half of it or more would be lost.

    As ``_apply_localization_on_bbox`` of NIST's generators.
    """
    x0, y0, x1, y1 = box
    wide, high = x1 - x0, y1 - y0
    right = {"west": -wide, "east": wide}.get(direction, 0.0)
    down = {"north": -high, "south": high}.get(direction, 0.0)
    moved = (max(x0 + right, 0.0), max(y0 + down, 0.0), min(x1 + right, float(width)), min(y1 + down, float(height)))
    lost_wide, lost_high = wide - (moved[2] - moved[0]), high - (moved[3] - moved[1])
    return None if lost_wide >= LEAST_KEPT * wide or lost_high >= LEAST_KEPT * high else moved


def draw_attack(number: int, kind: str, classes: int, least: float, rng: np.random.Generator) -> ObjectAttack:
    """One attack of the given kind; ``least`` is the smallest share of a sign that the polygon may cover."""
    source, other = (int(n) for n in rng.permutation(classes)[:2])
    low = max(0.1, least)
    if kind == INJECTION:  # an object of its own, which a network has to find and outline
        low = max(0.3, least)
    trigger = PolygonTrigger(
        draw_corners(int(rng.choice(R11_SIDES)), rng),
        R11_COLORS[int(rng.integers(len(R11_COLORS)))],
        round(low, 4),
        round(1.6 * low, 4),
    )
    direction = DIRECTIONS[int(rng.integers(len(DIRECTIONS)))] if kind == LOCALISATION else ""
    return ObjectAttack(number, kind, source, other if kind == MISCLASSIFICATION else source, trigger, direction)
