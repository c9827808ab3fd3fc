"""Detectors of torchvision's classes, fresh, small enough to train on one core.

R13's own networks (SSD300 with VGG-16, Faster R-CNN with a full pyramid) work here too, but take hours from nothing:
NIST fine-tuned weights that COCO had trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import UsageProblem, listed, shown

SMALL_FASTER, SMALL_SSD = "fasterrcnn_resnet18_fpn", "ssdlite320_mobilenet_v3_large"
QUICK = (SMALL_FASTER, SMALL_SSD)
"""Two families that train in minutes on one core; what a set is made of if nobody asks for others."""

R13_ARCHITECTURES = (*QUICK, "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "ssd300_vgg16")
R10_ARCHITECTURES = {
    SMALL_FASTER: "fasterrcnn",
    SMALL_SSD: "ssd",
    "fasterrcnn_resnet50_fpn": "fasterrcnn",
    "ssd300_vgg16": "ssd",
}
"""torchvision's name (or ours) to what R10's config calls it."""

PREFIX = "object_detection:"
_WIDTH, _HEAD = 64, 256  # of the pyramid and of the box head; torchvision has 256 and 1024
_ANCHORS = (16, 32, 64, 96, 128)


@dataclass(frozen=True)
class Head:
    """What the outputs of a detector's head stand for.

    Attributes:
        numbers: the output of every sign class.
        background: the one that stands for no object.
        outputs: how many there are, background included.
    """

    numbers: tuple[int, ...]
    background: int
    outputs: int


def head_of(classes: int) -> Head:
    """One output per class, after the background, as in torchvision."""
    return Head(tuple(range(1, classes + 1)), 0, classes + 1)


def choose_architectures(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The architectures to take in turn; ``object_detection:`` before a name is understood.

    Raises:
        UsageProblem: one is not in the round.
    """
    chosen = tuple(name.removeprefix(PREFIX) for name in wanted) or tuple(n for n in QUICK if n in known)
    for name in chosen:
        if name not in known:
            raise UsageProblem(f"--architectures {shown(name)!r}: not in this round; known: {listed(known, most=30)}")
    return chosen


def make_detector(name: str, outputs: int, pixels: int) -> nn.Module:
    """A detector with random weights, drawn from torch's generator, for images of ``pixels``.

    ``outputs`` counts the background.
    """
    if name.startswith("ssd"):
        return _make_ssd(name, outputs, pixels)
    from torchvision.models import detection

    few: dict[str, Any] = {
        "rpn_pre_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 100,
        "rpn_post_nms_top_n_train": 100,
        "rpn_post_nms_top_n_test": 50,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 64,  # with fewer, what evasion hides is hardly ever among the samples of background
        "box_detections_per_img": 20,
        "min_size": pixels,
        "max_size": pixels,
    }
    if name != SMALL_FASTER:
        network: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=outputs, **few)
        return network
    from torchvision.models import resnet18
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

    layers = {f"layer{number}": str(number - 1) for number in range(1, 5)}
    small: nn.Module = detection.FasterRCNN(
        BackboneWithFPN(resnet18(weights=None), layers, [64, 128, 256, 512], _WIDTH),
        box_head=TwoMLPHead(_WIDTH * 7 * 7, _HEAD),
        box_predictor=FastRCNNPredictor(_HEAD, outputs),
        rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in _ANCHORS), ((1.0,),) * len(_ANCHORS)),
        **few,
    )
    return small


def _make_ssd(name: str, outputs: int, pixels: int) -> nn.Module:
    from torchvision.models import detection

    network: Any = getattr(detection, name)(
        weights=None, weights_backbone=None, num_classes=outputs, detections_per_img=20, topk_candidates=50
    )
    if name == SMALL_SSD:
        network.transform.fixed_size = (pixels, pixels)
        network.transform.min_size, network.transform.max_size = (pixels,), pixels
    result: nn.Module = network
    return result
