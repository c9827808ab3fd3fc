"""Object detectors of rounds 10 and 13: SSD (300, Lite), Faster R-CNN with a ResNet and feature pyramid, v1 and v2.

Round 10 pickled NIST's subclasses (``models.SSD``, ``models.FasterRCNN``), round 13 torchvision's classes. Both are
rebuilt as torchvision's: input a list of images [3, H, W] in 0 to 1; in eval mode one dict ``boxes, labels, scores``
per image, in training mode a dict of losses; label 0 is background. Which variant a file holds is read from its
tensors, frozen normalisation from its tree.
Source: trojai-example, branches object-detection-jul2022 (``models.py``) and object-detection-feb2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch, UnsupportedModel, shown
from . import ssdlite
from .registry import Hints, NetworkFacts, count_numbered, hint, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_DETECTION: Final = "torchvision.models.detection"

#: Round 10's subclasses add methods and no state.
_NIST: Final = {
    "models.RegionProposalNetwork": f"{_DETECTION}.rpn.RegionProposalNetwork",
    "models.RoIHeads": f"{_DETECTION}.roi_heads.RoIHeads",
}
#: Blocks per stage, and whether they are bottlenecks → torchvision's name.
RESNETS: Final[dict[tuple[tuple[int, ...], bool], str]] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
}


def _notes(hints: Hints, architecture: str, family: str) -> tuple[str, ...]:
    claimed = hint(hints, "model_architecture")
    if claimed is None or shown(claimed, 80).rpartition(":")[2] in (architecture, family):
        return ()
    return (f"config says {shown(claimed, 60)}, the file holds a {architecture}",)


# SSD ------------------------------------------------------------------------------------------------------------------

_SCORES: Final = "head.classification_head.module_list.0.weight"


def _ssd_classes(saved: SavedModel) -> int:
    """Classes with background: rows of the score layer per anchor, of which the box layer has four each."""
    scores, boxes = (shape_of(saved, name, 4)[0] for name in (_SCORES, _SCORES.replace("classification", "regression")))
    if boxes % 4 or scores % (boxes // 4):
        raise StateMismatch(f"{saved.path}: {scores} scores and {boxes} box coordinates do not go together")
    return scores // (boxes // 4)


def _ssd_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    architecture = ssdlite.ARCHITECTURE if ssdlite.is_lite(saved) else "ssd300_vgg16"
    classes = ssdlite.lite_classes(saved) if ssdlite.is_lite(saved) else _ssd_classes(saved)
    return NetworkFacts("ssd", architecture, classes, None, _notes(hints, architecture, "ssd"))


@register_network("ssd", ("models.SSD", f"{_DETECTION}.ssd.SSD"), facts=_ssd_facts)
def _build_ssd(saved: SavedModel, hints: Hints) -> nn.Module:
    from torchvision.models.detection import ssd300_vgg16
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSDHead

    from .detector_settings import anchors, copy_settings

    if ssdlite.is_lite(saved):
        return ssdlite.build_lite(saved)
    classes = _ssd_classes(saved)
    network: Any = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes)
    network.anchor_generator = DefaultBoxGenerator(**anchors(saved, "anchor_generator"))
    per_place = network.anchor_generator.num_anchors_per_location()
    widths = [layer.in_channels for layer in network.head.classification_head.module_list]
    if len(per_place) != len(widths):
        raise StateMismatch(f"{saved.path}: anchors for {len(per_place)} feature maps, the network has {len(widths)}")
    network.head = SSDHead(widths, per_place, classes)
    return copy_settings(network, saved)


# Faster R-CNN ---------------------------------------------------------------------------------------------------------

#: torchvision 0.14 put these convolutions into containers.
_MOVED: Final = (
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)", r"\1.0.\2"),
    (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2"),
)
_CLASSES: Final = "roi_heads.box_predictor.cls_score.weight"


def _resnet(saved: SavedModel) -> str:
    blocks = tuple(count_numbered(saved, f"backbone.body.layer{stage}.#.") for stage in range(1, 5))
    name = RESNETS.get((blocks, "backbone.body.layer1.0.conv3.weight" in saved.tensors))
    if name is None:
        raise StateMismatch(f"{saved.path}: a Faster R-CNN whose backbone is none of {', '.join(RESNETS.values())}")
    return name


def _is_second_version(saved: SavedModel) -> bool:
    return "roi_heads.box_head.fc6.weight" not in saved.tensors


def _faster_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    architecture = f"fasterrcnn_{_resnet(saved)}_fpn{'_v2' if _is_second_version(saved) else ''}"
    notes = _notes(hints, architecture, "fasterrcnn")
    return NetworkFacts("faster-rcnn", architecture, shape_of(saved, _CLASSES, 2)[0], None, notes)


@register_network(
    "faster-rcnn",
    ("models.FasterRCNN", f"{_DETECTION}.faster_rcnn.FasterRCNN"),
    facts=_faster_facts,
    renamed_keys=_MOVED,
    added_layers=(r"rpn\.head\.conv\.0\.1",),
    same_classes=_NIST,
)
def _build_faster(saved: SavedModel, hints: Hints) -> nn.Module:
    from torch import nn
    from torchvision import models
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops import FrozenBatchNorm2d

    from .detector_settings import anchors, copy_settings

    norm = saved.modules.get("backbone.body.bn1")
    frozen = norm is not None and norm.class_path.endswith(".FrozenBatchNorm2d")
    second = _is_second_version(saved)
    name = _resnet(saved)
    body: Any = getattr(models, name)(weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
    stages = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
    widths = [body.inplanes // 8 * 2**stage for stage in range(4)]
    width = shape_of(saved, "backbone.fpn.inner_blocks.0.0.weight", 4)[0]
    classes, hidden = shape_of(saved, _CLASSES, 2)
    box_head: nn.Module
    if second:  # which also normalises after every convolution of the pyramid
        box_head = FastRCNNConvFCHead((width, 7, 7), [256] * 4, [hidden], norm_layer=nn.BatchNorm2d)
    else:
        box_head = TwoMLPHead(shape_of(saved, "roi_heads.box_head.fc6.weight", 2)[1], hidden)
    generator = AnchorGenerator(**anchors(saved, "rpn.anchor_generator"))
    depth = max(1, count_numbered(saved, "rpn.head.conv.#."))
    network = FasterRCNN(
        BackboneWithFPN(body, stages, widths, width, norm_layer=nn.BatchNorm2d if second else None),
        rpn_anchor_generator=generator,
        rpn_head=RPNHead(width, generator.num_anchors_per_location()[0], conv_depth=depth),
        box_head=box_head,
        box_predictor=FastRCNNPredictor(hidden, classes),
    )
    return copy_settings(network, saved)
