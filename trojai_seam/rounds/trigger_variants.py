"""Triggers that are not quite the one that a model was trained with: moved, scaled, fainter.

A repair that has only learnt the exact pattern leaves these. What is changed is what the trigger does to the pixels, so
that every kind of trigger has all three variants.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from .stamped_triggers import Trigger

SCALE, STRENGTH, SHIFT, NOTHING = 1.5, 0.5, 8, 1e-4
"""Sides of the scaled trigger; share of the change of the fainter one; a trigger that fills the image moves by one in
so many of its pixels, what leaves at one side coming in at the other; what is no change of a pixel or a place."""


def trigger_variants(trigger: Trigger) -> Mapping[str, Trigger]:
    """``moved``, ``scaled`` and ``fainter``, by these names."""
    return {"moved": moved(trigger), "scaled": scaled(trigger), "fainter": fainter(trigger)}


def moved(trigger: Trigger) -> Trigger:
    """Beside its place: by its own height and width, to the sides where there is more room, as far as there is any."""
    changes = _changes(trigger)
    height, width = changes[0].shape[1:]
    top, bottom, left, right = _extent(changes)
    down, across = _way(top, bottom, height), _way(left, right, width)
    if not down and not across:
        down, across = height // SHIFT, width // SHIFT
    return _with(trigger, [change.roll((down, across), (1, 2)) for change in changes])


def scaled(trigger: Trigger) -> Trigger:
    """Half as large again, about its middle; moved inside the image where that is large enough, else cut."""
    changes = _changes(trigger)
    height, width = changes[0].shape[1:]
    top, bottom, left, right = _extent(changes)
    rows, columns = (max(size + 1, int(SCALE * size + 0.5)) for size in (bottom - top, right - left))
    first_row, first_column = _start(top, bottom, rows, height), _start(left, right, columns, width)
    # Rows and columns of the image, and those of the enlarged trigger that come to lie there.
    place = slice(max(0, first_row), first_row + rows), slice(max(0, first_column), first_column + columns)
    cut = slice(max(0, -first_row), height - first_row), slice(max(0, -first_column), width - first_column)
    found = []
    for change in changes:
        part = functional.interpolate(change[None, :, top:bottom, left:right], (rows, columns), mode="nearest-exact")[0]
        whole = torch.zeros_like(change)
        whole[:, place[0], place[1]] = part[:, cut[0], cut[1]]
        found.append(whole)
    return _with(trigger, found)


def fainter(trigger: Trigger) -> Trigger:
    """With half of its effect."""
    return _with(trigger, [STRENGTH * change for change in _changes(trigger)])


def _changes(trigger: Trigger) -> list[Tensor]:
    """What each step does beyond leaving the image as it is, ``float32 [K, H, W]``: of factors and summands stacked, or
    of the two coordinates of a warp."""
    changes = []
    for step in trigger.steps:
        if len(step) == 1:
            changes.append(step[0].permute(2, 0, 1) - _still(step[0]).permute(2, 0, 1))
        else:
            changes.append(torch.cat([step[0] - 1, step[1]]))
    return changes


def _with(trigger: Trigger, changes: list[Tensor]) -> Trigger:
    steps: list[tuple[Tensor, ...]] = []
    for step, change in zip(trigger.steps, changes, strict=True):
        if len(step) == 1:
            steps.append(((change.permute(1, 2, 0) + _still(step[0])).contiguous(),))
        else:
            factor, summand = change.chunk(2)
            steps.append((factor + 1, summand.contiguous()))
    return Trigger(tuple(steps), trigger.kinds)


def _still(field: Tensor) -> Tensor:
    """The warping field that moves nothing, ``float32 [H, W, 2]``."""
    rows, columns = (torch.linspace(-1, 1, size) for size in field.shape[:2])
    return torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], dim=2)


def _extent(changes: list[Tensor]) -> tuple[int, int, int, int]:
    """First and one past last row, likewise column, of what any step changes; all of the image where none does."""
    where = torch.stack([(change.abs() > NOTHING).any(dim=0) for change in changes]).any(dim=0)
    ends = []
    for dim in (1, 0):
        places = where.any(dim=dim).nonzero().flatten()
        ends += [int(places[0]), int(places[-1]) + 1] if len(places) else [0, where.shape[1 - dim]]
    return ends[0], ends[1], ends[2], ends[3]


def _way(first: int, end: int, size: int) -> int:
    """How far to move along one side of the image."""
    before, after = first, size - end
    return min(end - first, after) if after >= before else -min(end - first, before)


def _start(first: int, end: int, length: int, size: int) -> int:
    """Where something of ``length`` begins that has the same middle, inside of the image if that is large enough."""
    start = (first + end - length) // 2
    return min(max(start, 0), size - length) if length <= size else start
