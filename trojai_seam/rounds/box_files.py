"""Side-cars of detection examples: lists of boxes, in the spellings of rounds 10 and 13.

R10 wrote COCO annotations (``bbox`` x, y, width, height; ``category_id``; flags ``poisoned`` and ``deleted``), R13
wrote ``{"bbox": {"x1", "y1", "x2", "y2"}, "label"}`` through jsonpickle. The classes of their generators
(``detection_data.Annotation`` with ``class_id`` and ``final_class_id``) are understood too, as jsonpickle writes them.
Sources: trojai-round-generation, branches object-detection-jul2022 and image-classification-sep2022
(``detection_data.py``, ``dataset.py``); for R13 what performers read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..errors import ExampleProblem, shown
from .example_files import sidecar
from .model_directory import unwrapped

Corners: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the stored image."""

LISTS = ("annotations", "_annotations", "boxes", "objects")
LABELS = ("label", "category_id", "final_class_id")
_ROUNDING = 1.0  # pixels: COCO's boxes may end half a pixel outside


class Box(NamedTuple):
    """One annotated object.

    Attributes:
        corners: inside the image.
        label: as the side-car says it: the attacker's in a triggered image.
        true_label: where the side-car tells it too.
        poisoned: whether the trigger is about it; None where side-cars do not tell.
        deleted: the attacker wants it to vanish.
    """

    corners: Corners
    label: int
    true_label: int | None = None
    poisoned: bool | None = None
    deleted: bool = False


class BoxReader:
    """Reads the side-cars of one model, and counts what it had to leave out or cut."""

    def __init__(self, patterns: Sequence[str], labels: range) -> None:
        """``labels`` are the classes that the network has, as side-cars count them."""
        self.patterns, self.labels = patterns, labels
        self._odd: Counter[str] = Counter()

    @property
    def notes(self) -> str | None:
        """What is said of it in the row."""
        words = {
            "crowd": "crowd annotations are left out",
            "unlabelled": "annotations without a label are left out",
            "empty": "boxes without area are left out",
            "cut": "boxes are cut at the edge of their image",
        }
        return "; ".join(f"{self._odd[kind]} {text}" for kind, text in words.items() if self._odd[kind]) or None

    def read(self, image: Path, height: int, width: int) -> list[Box]:
        """The boxes of one image; none is allowed.

        Raises:
            ExampleProblem: no side-car, or one that is no list of boxes; a class that the network lacks; a box that
                lies outside the image.
        """
        path, document = sidecar(image, self.patterns)
        try:
            found = [
                self._box(item, f"{path}: box {n}", height, width) for n, item in enumerate(_items(document, path))
            ]
        except RecursionError:
            raise ExampleProblem(f"{path}: JSON is nested too deeply") from None
        return [box for box in found if box is not None]

    def _box(self, item: Any, where: str, height: int, width: int) -> Box | None:
        if not isinstance(item, Mapping):
            raise ExampleProblem(f"{where}: expected an object with bbox and label, found {shown(repr(item), 60)}")
        if item.get("iscrowd") in (1, True):
            self._odd["crowd"] += 1
            return None
        given = next((item[key] for key in LABELS if item.get(key) is not None), None)
        if given is None:
            self._odd["unlabelled"] += 1
            return None
        label = self._label(given, where)
        true = item.get("class_id")
        corners = self._corners(item.get("bbox"), where, height, width)
        if corners is None:
            return None
        poisoned, deleted = item.get("poisoned"), item.get("deleted")
        return Box(
            corners,
            label,
            None if true is None else self._label(true, where),
            bool(poisoned) if isinstance(poisoned, (bool, int)) else None,
            deleted in (1, True),
        )

    def _label(self, value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
            raise ExampleProblem(f"{where}: expected a class number as label, found {shown(repr(value), 60)}")
        if int(value) not in self.labels:
            raise ExampleProblem(
                f"{where}: label {shown(value, 20)}, but the network has only classes "
                f"{self.labels.start} to {self.labels.stop - 1}"
            )
        return int(value)

    def _corners(self, value: Any, where: str, height: int, width: int) -> Corners | None:
        x0, y0, x1, y1 = _numbers(value, where)
        if x1 < x0 or y1 < y0:
            raise ExampleProblem(f"{where}: ends before it begins: {_told(x0, y0, x1, y1)}")
        if x1 <= 0 - _ROUNDING or y1 <= 0 - _ROUNDING or x0 >= width + _ROUNDING or y0 >= height + _ROUNDING:
            raise ExampleProblem(
                f"{where}: {_told(x0, y0, x1, y1)} lies outside the image of {width}×{height} pixels; does the "
                "side-car belong to it?"
            )
        cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if cut[2] - cut[0] <= 0 or cut[3] - cut[1] <= 0:
            self._odd["empty"] += 1
            return None
        if any(abs(a - b) > _ROUNDING for a, b in zip(cut, (x0, y0, x1, y1), strict=True)):
            self._odd["cut"] += 1
        return cut


def _items(document: Any, path: Path) -> list[Any]:
    """The list of boxes, which may be an attribute of a pickled object."""
    plain = unwrapped(document)
    if isinstance(plain, Mapping):
        plain = next((plain[key] for key in LISTS if isinstance(plain.get(key), list)), plain)
    if not isinstance(plain, list):
        raise ExampleProblem(f"{path}: expected a list of boxes, found {shown(repr(plain), 60)}")
    return plain


def _numbers(value: Any, where: str) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of corners by name, or of a list x, y, width, height."""
    named = isinstance(value, Mapping) and "x1" in value
    parts: Any = [value.get(key) for key in ("x1", "y1", "x2", "y2")] if named else value
    if (
        not isinstance(parts, list)
        or len(parts) != 4
        or not all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts)
    ):
        raise ExampleProblem(
            f"{where}: expected bbox as x1, y1, x2, y2 or as [x, y, width, height], found {shown(repr(value), 60)}"
        )
    try:
        numbers = [float(part) for part in parts]
    except OverflowError:
        numbers = [math.inf]
    if not all(math.isfinite(number) for number in numbers):
        raise ExampleProblem(f"{where}: bbox holds a number that is not finite: {shown(repr(value), 60)}")
    a, b, c, d = numbers
    return (a, b, c, d) if named else (a, b, a + c, b + d)


def _told(*corners: float) -> str:
    return "(" + ", ".join(f"{shown(round(corner, 1), 20)}" for corner in corners) + ")"
