"""Object detection: boxes with classes (NIST's rounds 10 and 13)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .box_attacks import Outcomes, outcomes, right_detections
from .box_matching import match
from .classification import random_classes
from .details import SIZES, BoxDetails
from .detector_calls import detections, training_loss
from .examples import ExampleSet
from .marks import AttackMarks, CleanMarks, Marks

SURE = 0.5
ANYWHERE = "uniform-anywhere"
"""Label sampling that draws boxes too: every one keeps its size and gets another place in its image."""


def foreign_boxes(predictions: Tensor, truth: ExampleSet) -> NDArray[np.int64]:
    """Per image the boxes said with a score of at least ``SURE`` whose class none of the images of ``truth`` holds.

    COCO's mAP is a mean over the classes that are there (`COCOeval` gives the others −1 and leaves them out), so that
    these boxes never lower it.

    Args:
        predictions: ``float32 [N, D, 6]``; see :meth:`Detection.outputs`.
        truth: of all images that the network is asked about.

    Returns:
        ``int64 [N]``.
    """
    held = torch.unique(truth.labels[..., 4])
    foreign = (
        (predictions[..., 5] >= SURE) & (predictions[..., 4] >= 0) & ~torch.isin(predictions[..., 4], held[held >= 0])
    )
    counts: NDArray[np.int64] = foreign.sum(dim=1).cpu().numpy()
    return counts


class Detection:
    """Labels ``float32 [N, M, 5]``: x0, y0, x1, y1 in pixels of the image, and the class as the network's head counts
    it; rows of class −100 pad. ``details`` must be :class:`BoxDetails`.

    ``num_classes`` is the width of the head, the one output that stands for no object included. Accuracy is COCO's mAP
    over IoU 0.50 to 0.95; beside it stands the precision at 0.50. Both are properties of all images together, so
    stop rules watch something cheaper: the F1 of boxes of the right class at IoU 0.5 and score 0.3.
    """

    name = "detection"
    places = True

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """``float32 [n, D, 6]``: x0, y0, x1, y1, class, score; see :func:`detections`. Without :data:`SIZES` among the
        inputs, images have no padding."""
        return detections(model, inputs["x"], _sizes(inputs))

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        return training_loss(model, inputs["x"], _sizes(inputs), labels)

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        """The same boxes with a random class each, which is never background; ``uniform-anywhere`` draws places too."""
        labels, details = truth.labels[order].clone(), _details(truth)
        real = labels[..., 4] >= 0
        # Classes without the background, counted from 0 without a gap.
        packed = labels[..., 4].long() - (labels[..., 4] > details.background).long()
        kind = "uniform" if sampling == ANYWHERE else sampling
        drawn = random_classes(packed.clamp(min=0), self.num_classes - 1, kind, generator)
        drawn = drawn + (drawn >= details.background).long()
        labels[..., 4] = torch.where(real, drawn.to(labels.dtype), labels[..., 4])
        if sampling == ANYWHERE:
            sides = labels[..., 2:4] - labels[..., :2]
            room = (details.sizes[order][:, None, [1, 0]] - sides).clamp(min=0)
            corner = torch.rand(room.shape, generator=generator) * room
            labels[..., :4] = torch.where(real[..., None], torch.cat([corner, corner + sides], -1), labels[..., :4])
        return labels

    def predictions(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        """The detections themselves."""
        return outputs

    def marks(self, predictions: Tensor, truth: ExampleSet) -> CleanMarks:
        """COCO's mAP; beside it ``ap50``, which is the first of its ten thresholds, and the boxes that neither sees."""
        matched = match(_numbers(predictions), _numbers(truth.labels))
        return CleanMarks(
            matched, {"ap50": matched.at_threshold(0)}, {"foreign_boxes": foreign_boxes(predictions, truth)}
        )

    def attack_marks(self, predictions: Tensor, truth: ExampleSet) -> AttackMarks:
        """Target boxes at which the attack shows, by its kind, and those at which the true answer is given: see
        :func:`outcomes`."""
        found = self._outcomes(predictions, truth)
        return AttackMarks(
            _marks([(one.hits, one.attacked) for one in found], len(truth)),
            _marks([(one.resisted, one.known) for one in found], len(truth)),
        )

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).flatten(1).all(dim=1)

    def strata(self, truth: ExampleSet) -> list[int]:
        """An image goes with the rarest class that it holds; −1 without any."""
        kinds = [{int(label) for label in row if label >= 0} for row in truth.labels[..., 4].tolist()]
        often = Counter(kind for row in kinds for kind in row)
        return [min(row, key=lambda kind: (often[kind], kind), default=-1) for row in kinds]

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        """F1 over all boxes: twice those found over those that are there plus those that were said, where only the
        best class is said of each place."""
        counts = np.array(
            [right_detections(*image) for image in zip(_numbers(predictions), _numbers(truth.labels), strict=True)]
        ).reshape(-1, 3)
        found, true, said = counts.sum(axis=0).tolist()
        return 2 * found / (true + said) if true + said else 0.0

    def chance(self, truth: ExampleSet) -> float:
        """As :meth:`guess`; a network that does not even know where objects are finds none."""
        return self.guess(truth)

    def guess(self, truth: ExampleSet) -> float:
        """Random classes at the right places, which is what forgetting teaches."""
        return 1.0 / max(1, self.num_classes - 1)

    def _outcomes(self, predictions: Tensor, truth: ExampleSet) -> list[Outcomes]:
        details = _details(truth)
        if truth.targets is None or details.kinds is None:
            return []
        moved = details.moved_from
        if moved is None:
            moved = torch.full((*details.kinds.shape, 4), torch.nan)
        parts = (
            _numbers(predictions),
            _numbers(truth.labels),
            _numbers(truth.targets),
            details.kinds.numpy(),
            _numbers(moved),
        )
        return [outcomes(*image) for image in zip(*parts, strict=True)]


def _details(examples: ExampleSet) -> BoxDetails:
    if not isinstance(examples.details, BoxDetails):
        raise TypeError("examples of detection need BoxDetails")
    return examples.details


def _sizes(inputs: Mapping[str, Tensor]) -> Tensor:
    images = inputs["x"]
    return inputs[SIZES] if SIZES in inputs else torch.tensor([images.shape[-2:]] * len(images))


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.double().numpy()


def _marks(rows: list[tuple[int, int]], count: int) -> Marks:
    if not rows:
        return Marks.nothing(count)
    points, counted = np.array(rows, np.int64).reshape(-1, 2).T
    return Marks(points.astype(np.float64), counted, graded=True)
