"""Average precision of detectors as COCO defines it, of any choice and weighting of images.

Which detection finds which object is decided image by image by ``pycocotools``, the evaluation code of COCO itself.
The curve over all images is our own: ``pycocotools`` knows no weights, and an interval needs ten thousand weightings.
With equal weights the figure is COCO's (Lin et al., "Microsoft COCO", ECCV 2014; cocodataset.org/#detection-eval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from .marks import Places

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU from 0.50 to 0.95; mAP is the mean over them."""
MOST_DETECTIONS = 100
"""Of one class in one image, as in COCO."""
_RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS = 4_000_000  # weights times detections at a time: 32 MB


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Detections of N images, matched with C classes of objects at T thresholds of IoU; best scores first.

    The figure (``share``) is the mean over thresholds and over the classes that have an object of the average
    precision: precision, made monotone, at 101 values of recall. It is a property of all images together: every false
    detection of one image stands before or behind those of all others.

    Attributes:
        image: ``int64 [D]``, the image of every detection.
        label: ``int64 [D]``, its class, as a place in the columns of ``objects``.
        score: ``float64 [D]``.
        found: ``bool [D, T]``, whether it finds an object.
        objects: ``int64 [N, C]``, objects of every class in every image.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    found: NDArray[np.bool_]
    objects: NDArray[np.int64]
    graded: ClassVar[bool] = True
    draw_count: ClassVar[int] = 2_000
    """A fifth of what ratios get: every one is a pass over all detections."""

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def units(self) -> int:
        return int(self.objects.sum())

    @property
    def successes(self) -> float:
        return (self.share or 0.0) * self.units

    @property
    def share(self) -> float | None:
        if not self.units:
            return None
        return float(self._precision(np.ones((1, len(self))))[0])

    def at(self, indices: Places) -> MatchedBoxes:
        return self.over_folds([(self, indices)])

    def at_threshold(self, number: int) -> MatchedBoxes:
        """At one of the T thresholds only: each is matched by itself."""
        return replace(self, found=self.found[:, number : number + 1])

    def counting(self) -> MatchedBoxes:
        """All: an image without objects can still be full of false detections."""
        return self

    def draws(self, weights: NDArray[np.float64], pseudo: Sequence[float]) -> NDArray[np.float64]:
        real, made_up = weights[:, : len(self)], weights[:, len(self) :]
        right = self._precision(real) * real.sum(axis=1) + made_up @ np.array(pseudo)
        drawn: NDArray[np.float64] = right / weights.sum(axis=1)
        return drawn

    def over_folds(self, parts: Sequence[tuple[Any, Places]]) -> MatchedBoxes:
        """Detections of all folds in one list; an image for which several speak is there once for each of them."""
        used = np.unique(np.concatenate([places for _, places in parts])).astype(np.int64)
        position = np.full(len(self), -1)
        position[used] = np.arange(len(used))
        objects = np.zeros((len(used), self.objects.shape[1]), np.int64)
        chosen: list[tuple[NDArray[Any], ...]] = []
        for boxes, places in parts:
            spoken = np.isin(boxes.image, places)
            image = position[boxes.image[spoken]]
            chosen.append((image, boxes.label[spoken], boxes.score[spoken], boxes.found[spoken]))
            objects[position[places]] += self.objects[places]
        image, label, score, found = (np.concatenate(column) for column in zip(*chosen, strict=True))
        # As pycocotools orders equal scores: by image.
        order = np.lexsort((np.arange(len(score)), image, -score))
        return MatchedBoxes(image[order], label[order], score[order], found[order], objects)

    def _precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``float64 [W]`` for weights of the images ``[W, N]``."""
        rows = max(1, _CELLS // max(1, len(self.score)))
        return np.concatenate([self._some(weights[k : k + rows]) for k in range(0, len(weights), rows)])

    def _some(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        classes = np.flatnonzero(self.objects.sum(axis=0))
        total = np.zeros(len(weights))
        for number in classes:
            mine = self.label == number
            total += _class_precision(weights, self.image[mine], self.found[mine], self.objects[:, number])
        return total / len(classes) if len(classes) else total


def _class_precision(
    weights: NDArray[np.float64], image: NDArray[np.int64], found: NDArray[np.bool_], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Average precision of one class, mean over thresholds: ``float64 [W]``."""
    last = np.flatnonzero(found.any(axis=1))
    if not len(last):
        return np.zeros(len(weights))
    image, found = image[: last[-1] + 1], found[: last[-1] + 1]
    weight = weights[:, image]
    said = np.cumsum(weight, axis=1)
    wanted = weights @ objects
    total = np.zeros(len(weights))
    for right in found.T:
        places = np.flatnonzero(right)
        if not len(places):
            continue
        # Precision rises at right detections only, so its maximum over all that follow is reached at one of them.
        gained = np.cumsum(weight[:, places], axis=1)
        precision = gained / np.maximum(said[:, places], 1e-300)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # Sums of the same weights in another order differ by a rounding error; it must not cost a recall of 1.0.
        everything = gained > wanted[:, None] * (1 - 1e-12)
        recall = np.where(everything, 1.0, gained / wanted[:, None])
        steps = np.searchsorted(_RECALLS, recall, side="right")
        share = np.diff(steps, axis=1, prepend=0)
        total += (share * precision).sum(axis=1) / len(_RECALLS)
    mean: NDArray[np.float64] = total / found.shape[1]
    return mean


def match(
    detections: NDArray[np.float64], objects: NDArray[np.float64], thresholds: Sequence[float] = COCO_THRESHOLDS
) -> MatchedBoxes:
    """Which detections find which objects.

    Args:
        detections: ``[N, D, 6]``: x0, y0, x1, y1, class, score; rows with score 0 or anything non-finite do not count.
        objects: ``[N, M, 5]``: x0, y0, x1, y1, class; rows with a negative class do not count.
        thresholds: T smallest values of IoU.
    """
    classes = sorted({int(label) for label in objects[..., 4].ravel() if label >= 0})
    judge = COCOeval(iouType="bbox")
    judge.params.imgIds, judge.params.catIds = list(range(len(objects))), classes
    judge.params.iouThrs, judge.params.maxDets = np.array(thresholds), [MOST_DETECTIONS]
    counts = np.zeros((len(objects), len(classes)), np.int64)
    images, labels, scores, found = [], [], [], [np.zeros((0, len(thresholds)), bool)]
    usable = np.isfinite(detections).all(axis=2) & (detections[..., 5] > 0)
    for image in range(len(objects)):
        said, true = detections[image][usable[image]], objects[image]
        for number, label in enumerate(classes):
            here, wanted = said[said[:, 4] == label], true[true[:, 4] == label]
            counts[image, number] = len(wanted)
            if len(here) == 0:
                continue
            judge._gts[image, label] = [_entry(place + 1, box) for place, box in enumerate(wanted)]
            judge._dts[image, label] = [_entry(place + 1, box) for place, box in enumerate(here)]
            judge.ious[image, label] = judge.computeIoU(image, label)
            result = judge.evaluateImg(image, label, [0, 1e10], MOST_DETECTIONS)
            matched = np.asarray(result["dtMatches"]).T > 0
            images += [image] * len(matched)
            labels += [number] * len(matched)
            scores += list(result["dtScores"])
            found.append(matched)
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    return MatchedBoxes(
        np.array(images, np.int64)[order],
        np.array(labels, np.int64)[order],
        np.array(scores, np.float64)[order],
        np.concatenate(found)[order],
        counts,
    )


def _entry(number: int, box: NDArray[np.float64]) -> dict[str, Any]:
    """As COCO's files have it; number 0 would mean "not matched" to pycocotools."""
    x0, y0, x1, y1 = (float(side) for side in box[:4])
    entry = {"id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "ignore": 0}
    return entry if len(box) == 5 else {**entry, "score": float(box[5])}
