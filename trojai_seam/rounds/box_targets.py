"""What the trigger did in one image: which boxes the attacker wants, and what is really there.

R10 marks the annotations that a trigger changed (``poisoned``; ``deleted`` for evasion, whose side-cars hold nothing
but the deleted ones): that settles it. R13 writes the altered list without marks, so a box of the target's class may as
well be an honest object of that class, which any good detector finds: counted as attack success it would stay one after
any repair. Hence without marks a box counts only where it is provable:

- the clean image of the same name ships too, and the two lists differ in it; or
- it is the only box in the image that any of the model's triggers could have made (an image in the poisoned folder has
  been changed by one of them).

What evasion removed is in no such list: only the clean image tells. The true class of a misclassified box is the
trigger's source, unless triggers with different sources share the target. Where a moved box came from is its place
moved back, unless the image's edge may have cut it.
Sources: trojai-round-generation, ``trigger_executor.py`` and ``create_example_data_with_convergence_criteria.py``
(branch object-detection-jul2022), ``object_detection_trigger_executor.py`` (branch image-classification-sep2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..tasks.examples import UNKNOWN
from .box_files import Box, Corners
from .box_triggers import EVASION, INJECTION, LOCALISATION, MISCLASSIFICATION, BoxTrigger

SAME_PLACE = 0.5
"""Intersection over union from which two boxes are about the same object."""


class Target(NamedTuple):
    """A box that is attacked: where, what the attacker wants there, and for a moved one where it was."""

    corners: Corners
    label: int
    kind: str
    moved_from: Corners | None = None


class Attacked(NamedTuple):
    """One triggered image. ``truth`` are true objects, :data:`UNKNOWN` where nobody knows which class."""

    targets: list[Target]
    truth: list[tuple[Corners, int]]
    problem: str | None = None


def attacked(
    boxes: Sequence[Box], clean: Sequence[Box] | None, triggers: Sequence[BoxTrigger], height: int, width: int
) -> Attacked:
    """What is attacked in an image; no targets, and why, where that cannot be told.

    Args:
        boxes: of the triggered image's side-car.
        clean: of the side-car of the same image without a trigger, where it ships.
        triggers: of the model, as far as known.
        height: of the image, in pixels.
        width: likewise.
    """
    if any(box.poisoned or box.deleted for box in boxes):
        return _marked(boxes, clean, triggers, height, width)
    if clean is not None:
        return _compared(boxes, clean, triggers, height, width)
    return _only_candidate(boxes, triggers, height, width)


def overlap(one: Corners, other: Corners) -> float:
    """Intersection over union."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return wide * high / (both - wide * high)


def _marked(
    boxes: Sequence[Box], clean: Sequence[Box] | None, triggers: Sequence[BoxTrigger], height: int, width: int
) -> Attacked:
    targets: list[Target] = []
    truth: list[tuple[Corners, int]] = []
    unclear = 0
    for box in boxes:
        if box.deleted:
            label = box.label if box.true_label is None else box.true_label
            targets.append(Target(box.corners, label, EVASION))
            truth.append((box.corners, label))
        elif not box.poisoned:
            truth.append((box.corners, box.label))
        else:
            made = _made(box, triggers, height, width)
            if made is None:
                unclear += 1
                truth.append((box.corners, UNKNOWN))
            else:
                targets.append(made.target)
                truth += made.truth
    if clean is not None:
        truth = [(box.corners, box.label) for box in clean]
    return Attacked(targets, truth, "a marked box fits none of the model's triggers" if unclear else None)


class _Made(NamedTuple):
    target: Target
    truth: list[tuple[Corners, int]]


def _made(box: Box, triggers: Sequence[BoxTrigger], height: int, width: int) -> _Made | None:
    """What a box that a trigger certainly made is; None where the triggers do not tell."""
    fitting = [trigger for trigger in triggers if trigger.target == box.label and trigger.kind != EVASION]
    kinds = {trigger.kind for trigger in fitting}
    if not fitting and box.true_label not in (None, box.label):
        kinds = {MISCLASSIFICATION}
    if len(kinds) != 1 or "" in kinds:
        return None
    (kind,) = kinds
    if kind == MISCLASSIFICATION:
        sources = {trigger.source for trigger in fitting}
        source = sources.pop() if len(sources) == 1 else None
        true = box.true_label if box.true_label not in (None, box.label) else source
        return _Made(Target(box.corners, box.label, kind), [(box.corners, UNKNOWN if true is None else true)])
    if kind == INJECTION:
        return _Made(Target(box.corners, box.label, kind), [])
    directions = {trigger.direction for trigger in fitting}
    direction = directions.pop() if len(directions) == 1 else None
    origin = None if direction is None else _moved_back(box.corners, direction, height, width)
    return _Made(Target(box.corners, box.label, kind, origin), [] if origin is None else [(origin, box.label)])


def _moved_back(corners: Corners, direction: tuple[int, int], height: int, width: int) -> Corners | None:
    """Where a box was before it was moved by its own size; None where the edge in its way may have cut it."""
    x0, y0, x1, y1 = corners
    right, down = direction
    if (right > 0 and x1 >= width) or (right < 0 and x0 <= 0) or (down > 0 and y1 >= height) or (down < 0 and y0 <= 0):
        return None
    wide, high = right * (x1 - x0), down * (y1 - y0)
    return x0 - wide, y0 - high, x1 - wide, y1 - high


def _compared(
    boxes: Sequence[Box], clean: Sequence[Box], triggers: Sequence[BoxTrigger], height: int, width: int
) -> Attacked:
    """By the differences between the list with and the list without a trigger."""
    truth = [(box.corners, box.label) for box in clean]
    pairs = _paired(boxes, clean)
    targets = [
        Target(boxes[here].corners, boxes[here].label, MISCLASSIFICATION)
        for here, there in pairs.items()
        if boxes[here].label != clean[there].label
    ]
    added = [box for here, box in enumerate(boxes) if here not in pairs]
    gone = [box for there, box in enumerate(clean) if there not in pairs.values()]
    kinds = {trigger.kind for trigger in triggers}
    for box in added:
        from_here = [other for other in gone if other.label == box.label]
        if LOCALISATION in kinds and from_here:
            origin = min(from_here, key=lambda other: _distance(box.corners, other.corners))
            gone.remove(origin)
            targets.append(Target(box.corners, box.label, LOCALISATION, origin.corners))
        elif INJECTION in kinds or not kinds:
            targets.append(Target(box.corners, box.label, INJECTION))
    if EVASION in kinds or not kinds:
        vanishing = {trigger.source for trigger in triggers if trigger.kind == EVASION}
        targets += [
            Target(box.corners, box.label, EVASION)
            for box in gone
            if not vanishing or None in vanishing or box.label in vanishing
        ]
    return Attacked(targets, truth, None if targets else "its boxes are those of the clean image")


def _paired(boxes: Sequence[Box], clean: Sequence[Box]) -> dict[int, int]:
    """Places in both lists of boxes about the same object: the best overlaps first, each box once."""
    found = sorted(
        (
            (-overlap(box.corners, other.corners), box.label != other.label, here, there)
            for here, box in enumerate(boxes)
            for there, other in enumerate(clean)
        ),
    )
    pairs: dict[int, int] = {}
    for negative, _, here, there in found:
        if -negative >= SAME_PLACE and here not in pairs and there not in pairs.values():
            pairs[here] = there
    return pairs


def _distance(one: Corners, other: Corners) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _only_candidate(boxes: Sequence[Box], triggers: Sequence[BoxTrigger], height: int, width: int) -> Attacked:
    if not triggers:
        return Attacked([], _untouched(boxes, ()), "no file tells what the trigger does")
    if any(trigger.kind == EVASION for trigger in triggers):
        return Attacked(
            [], _untouched(boxes, ()), "what evasion removed is in no side-car, nor is the clean image here"
        )
    candidates = [box for box in boxes if any(trigger.target == box.label for trigger in triggers)]
    if len(candidates) != 1:
        count = f"{len(candidates)} boxes" if candidates else "no box"
        problem = f"{count} of the attacker's class, and nothing tells which the trigger made"
        return Attacked([], _untouched(boxes, candidates), problem)
    made = _made(candidates[0], triggers, height, width)
    if made is None:
        return Attacked([], _untouched(boxes, candidates), "triggers of several kinds share its class")
    return Attacked([made.target], _untouched([box for box in boxes if box not in candidates], ()) + made.truth)


def _untouched(boxes: Iterable[Box], doubtful: Sequence[Box]) -> list[tuple[Corners, int]]:
    return [(box.corners, UNKNOWN if box in doubtful else box.label) for box in boxes]
