"""SSDLite320 with MobileNetV3: torchvision's small SSD, of the same class as SSD300, with other layers inside.

Its normalisation layers have an eps of their own, and the last stages are halved ("reduced tail") where the backbone
was not pretrained: both are read from the file.
Source: torchvision, ``models/detection/ssdlite.py``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch
from .detector_settings import anchors, copy_settings
from .registry import count_numbered, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

ARCHITECTURE: Final = "ssdlite320_mobilenet_v3_large"
_SCORES: Final = "head.classification_head.module_list.0.1.weight"
_WIDE_TAIL: Final = 960  # channels before the extra blocks; half of it with the reduced tail


def is_lite(saved: SavedModel) -> bool:
    """Whether a ``torchvision.models.detection.ssd.SSD`` is this one: its head convolves depthwise first."""
    return _SCORES in saved.tensors


def lite_classes(saved: SavedModel) -> int:
    """Outputs of the head, background included: scores per anchor, of which the box layer has four numbers each.

    Raises:
        StateMismatch: scores and boxes do not go together.
    """
    scores, boxes = (shape_of(saved, name, 4)[0] for name in (_SCORES, _SCORES.replace("classification", "regression")))
    if boxes % 4 or boxes == 0 or scores % (boxes // 4):
        raise StateMismatch(f"{saved.path}: {scores} scores and {boxes} box coordinates do not go together")
    return scores // (boxes // 4)


def build_lite(saved: SavedModel) -> nn.Module:
    """The network in ``saved``, with arbitrary weights.

    Raises:
        StateMismatch: it has not one set of anchors per feature map.
        UnsupportedModel: its settings are out of range.
    """
    from torch import nn
    from torchvision.models import mobilenet_v3_large
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD
    from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    last = count_numbered(saved, "backbone.features.1.#.") - 1
    tail = shape_of(saved, f"backbone.features.1.{last}.0.weight", 4)[0]
    features: Any = mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=tail != _WIDE_TAIL).features
    strided = [place for place, block in enumerate(features) if getattr(block, "_is_cn", False)]
    extractor = SSDLiteFeatureExtractorMobileNet(features, strided[-1], norm)
    generator = DefaultBoxGenerator(**anchors(saved, "anchor_generator"))
    per_place = generator.num_anchors_per_location()
    maps = count_numbered(saved, "head.classification_head.module_list.#.")
    if len(per_place) != maps:
        raise StateMismatch(f"{saved.path}: anchors for {len(per_place)} feature maps, the network has {maps}")
    widths = [shape_of(saved, _SCORES.replace(".0.1.", f".{place}.1."), 4)[1] for place in range(maps)]
    classes = lite_classes(saved)
    network: nn.Module = SSD(
        extractor, generator, (320, 320), classes, head=SSDLiteHead(widths, per_place, classes, norm)
    )
    return copy_settings(network, saved)
