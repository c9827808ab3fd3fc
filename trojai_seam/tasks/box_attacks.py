"""What a triggered image does to a detector, box by box: is the attacker's answer there, is the true one?

Measured at one score and one IoU, as a user of the detector would see it. NIST accepted its models by average precision
on the altered annotations instead (trojai-round-generation, ``package_round_metadata.py``): no success per box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .details import ATTACKS

SCORE = 0.3
"""Detections below it do not count: for attacks, and for the accuracy that stop rules watch."""
OVERLAP = 0.5
"""IoU from which a detection is one of a box."""
_MISCLASSIFICATION, _EVASION, _INJECTION, _LOCALISATION = range(len(ATTACKS))

Boxes = NDArray[np.float64]


class Outcomes(NamedTuple):
    """Target boxes of one image that count (for ``resisted``: whose true answer is known), and those that succeed."""

    attacked: int
    hits: int
    known: int
    resisted: int


def outcomes(said: Boxes, true: Boxes, targets: Boxes, kinds: NDArray[np.int64], moved_from: Boxes) -> Outcomes:
    """What became of the attacks on one image.

    ====================  =====================================  ==========================================
    kind                  hit                                    resisted
    ====================  =====================================  ==========================================
    misclassification     the target class is found at the box   the true class is found at the box
    evasion               the source class is not found there    it is
    injection             the target class is found at the box   it is not
    localisation          the class is found at the moved box,   the class is found where it really is,
                          and not where it really is             and not at the moved box
    ====================  =====================================  ==========================================

    A misclassified box whose true class is the target proves nothing and does not count, nor does an injected one where
    an object of that class is, nor a move to where the object is already.

    Args:
        said: ``[D, 6]``, detections with class and score.
        true: ``[M, 5]``, true boxes with their class; below 0 where it is unknown.
        targets: ``[K, 5]``, boxes with the class that the attack is about; below 0 in rows that pad.
        kinds: ``[K]``, places in ``ATTACKS``.
        moved_from: ``[K, 4]``, NaN where unknown.
    """
    said = said[np.isfinite(said).all(axis=1) & (said[:, 5] >= SCORE)]
    attacked = hits = known = resisted = 0
    for target, kind, origin in zip(targets, kinds, moved_from, strict=True):
        if target[4] < 0 or kind < 0:
            continue
        box, label = target[:4], int(target[4])
        there = _found(said, box, label)
        if kind == _LOCALISATION:
            if np.array_equal(box, origin):
                continue
            hit, kept = _moved(said, box, origin, label)
        elif kind == _MISCLASSIFICATION:
            truth = _true_class(true, box)
            if truth == label:
                continue
            hit, kept = there, None if truth < 0 else _found(said, box, truth)
        else:
            if kind == _INJECTION and _found(true, box, label):
                continue
            hit = there if kind == _INJECTION else not there
            kept = not hit
        attacked += 1
        hits += hit
        known += kept is not None
        resisted += bool(kept)
    return Outcomes(attacked, hits, known, resisted)


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Intersection over union of every box of ``first [A, 4+]`` with every one of ``second [B, 4+]``: ``[A, B]``."""
    a, b = first[:, None], second[None]
    sides = np.minimum(a[..., 2:4], b[..., 2:4]) - np.maximum(a[..., :2], b[..., :2])
    common = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:4] - boxes[..., :2]).clip(min=0).prod(axis=-1) for boxes in (a, b)]
    union = areas[0] + areas[1] - common
    shares: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def right_detections(said: Boxes, true: Boxes) -> tuple[int, int, int]:
    """(objects found, objects, detections) of one image: best scores first, each finds the free object of its class
    that it overlaps most.

    Of one place only the class with the best score counts: else a network that names every class everywhere, as after
    forgetting with three classes, would find all objects.

    Args:
        said: ``[D, 6]``; what is below :data:`SCORE` does not count.
        true: ``[M, 5]``; classes below 0 do not count.
    """
    said = said[np.isfinite(said).all(axis=1) & (said[:, 5] >= SCORE)]
    said = said[np.argsort(-said[:, 5], kind="stable")]
    rivals = (overlaps(said, said) >= OVERLAP) & (said[:, None, 4] != said[None, :, 4])
    kept: list[int] = []
    for number in range(len(said)):
        if not rivals[number, kept].any():
            kept.append(number)
    said, true = said[kept], true[true[:, 4] >= 0]
    shares = np.where(said[:, None, 4] == true[None, :, 4], overlaps(said, true), 0.0)
    found = 0
    for number in range(len(said) if len(true) else 0):
        best = int(shares[number].argmax())
        if shares[number, best] >= OVERLAP:
            found += 1
            shares[:, best] = 0.0
    return found, len(true), len(said)


def _found(said: Boxes, box: Boxes, label: int) -> bool:
    mine = said[said[:, 4] == label]
    return bool((overlaps(mine, box[None]) >= OVERLAP).any())


def _moved(said: Boxes, box: Boxes, origin: Boxes, label: int) -> tuple[bool, bool | None]:
    """A short move leaves both places within reach of one detection: it stands for the one that it overlaps more."""
    mine = said[said[:, 4] == label]
    at_box = overlaps(mine, box[None])[:, 0]
    if np.isnan(origin).any():
        return bool((at_box >= OVERLAP).any()), None
    at_origin = overlaps(mine, origin[None])[:, 0]
    moved = bool(((at_box >= OVERLAP) & (at_box > at_origin)).any())
    stayed = bool(((at_origin >= OVERLAP) & (at_origin >= at_box)).any())
    return moved and not stayed, stayed and not moved


def _true_class(true: Boxes, box: Boxes) -> int:
    """Of the true box that overlaps ``box`` most, if enough; −1 if nothing does."""
    shares = overlaps(true, box[None])[:, 0]
    if not len(shares) or shares.max() < OVERLAP:
        return -1
    return int(true[int(shares.argmax()), 4])
