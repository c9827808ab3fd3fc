"""Detectors: period files give the recorded boxes; what the tree carries beside the weights is checked and followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection import FasterRCNN, ssd300_vgg16
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead
from torchvision.ops import FrozenBatchNorm2d

from tests.networks import pickles
from trojai_seam.errors import RefusedArchive, StateMismatch, UnsupportedModel
from trojai_seam.loading import ModuleNode, SavedModel, read_model
from trojai_seam.loading.nodes import DictNode, Inert
from trojai_seam.networks import identify, rebuild
from trojai_seam.synthesis.detector_networks import make_detector

PERIOD = {
    "r10-ssd300_vgg16": ("ssd300_vgg16", 91),
    "r10-fasterrcnn_resnet50_fpn": ("fasterrcnn_resnet50_fpn", 91),
    "r13-ssd300_vgg16": ("ssd300_vgg16", 13),
    "r13-fasterrcnn_resnet50_fpn_v2": ("fasterrcnn_resnet50_fpn_v2", 21),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PERIOD)
def test_period_detector_gives_recorded_boxes(name: str, era_model: Callable[[str], Path]) -> None:
    folder = era_model(name)
    golden = json.loads((folder / "golden.json").read_text())
    saved = read_model(folder / "model.pt")
    facts = identify(saved, json.loads((folder / "config.json").read_text()))
    assert (facts.architecture, facts.num_classes, facts.notes) == (*PERIOD[name], ())
    c, h, w = np.meshgrid(*(np.arange(k) for k in golden["input"]["shape"]), indexing="ij")
    pixels = ((13 * h * h + 7 * w * w + 3 * h * w + c * (101 * h + 57 * w + 31)) % 251) / 250
    with torch.no_grad():
        (found,) = rebuild(saved)([torch.from_numpy(pixels.astype(np.float32))])
    assert found["labels"].tolist() == golden["expected"]["labels"]
    for field in ("boxes", "scores"):
        recorded = torch.tensor(golden["expected"][field])
        assert (found[field] - recorded).abs().max() <= 1e-4 * recorded.abs().max(), field


@pytest.fixture(scope="module")
def faster() -> nn.Module:
    """A small-sized Faster R-CNN with unusual settings everywhere."""
    generator = torch.Generator().manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d)
    anchors = AnchorGenerator(((16,), (24,), (48,), (80,), (128,)), ((0.5, 2.0),) * 5)
    made = FasterRCNN(
        backbone, 7, min_size=96, max_size=128, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.4, 0.3],
        rpn_anchor_generator=anchors, rpn_pre_nms_top_n_test=50, rpn_post_nms_top_n_test=30, rpn_nms_thresh=0.6,
        box_score_thresh=0.1, box_nms_thresh=0.4, box_detections_per_img=11, bbox_reg_weights=(5.0, 5.0, 2.0, 2.0),
        box_batch_size_per_image=64, rpn_fg_iou_thresh=0.65,
    )  # fmt: skip
    for part in made.modules():
        if isinstance(part, FrozenBatchNorm2d):
            part.eps = 0.0
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return made.eval()


def detections(network: nn.Module) -> list[dict[str, torch.Tensor]]:
    images = torch.rand(2, 3, 80, 100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network([images[0], images[1][:, :60]])  # type: ignore[no-any-return]


def assert_same(expected: nn.Module, found: nn.Module) -> None:
    want, got = detections(expected), detections(found)
    assert sum(len(image["boxes"]) for image in want) > 4
    for a, b in zip(want, got, strict=True):
        assert a["labels"].tolist() == b["labels"].tolist()
        assert torch.allclose(a["boxes"], b["boxes"], atol=1e-3)
        assert torch.allclose(a["scores"], b["scores"], atol=1e-5)


@pytest.mark.parametrize("class_path", [None, "models.FasterRCNN"])
def test_settings_come_from_the_file(class_path: str | None, faster: nn.Module, tmp_path: Path) -> None:
    saved = pickles.saved(faster, tmp_path, class_path)
    assert identify(saved).architecture == "fasterrcnn_resnet18_fpn"
    found: Any = rebuild(saved)
    assert_same(faster, found)
    assert found.rpn.fg_bg_sampler.batch_size_per_image == 256
    assert found.roi_heads.fg_bg_sampler.batch_size_per_image == 64
    assert found.rpn.proposal_matcher.high_threshold == 0.65
    assert found.transform.image_mean == [0.1, 0.2, 0.3]


def test_detector_trains(faster: nn.Module, tmp_path: Path) -> None:
    found = rebuild(pickles.saved(faster, tmp_path)).train()
    target = {"boxes": torch.tensor([[10.0, 12.0, 50.0, 60.0]]), "labels": torch.tensor([3])}
    losses = found([torch.rand(3, 80, 100)], [target])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert found.get_parameter("roi_heads.box_predictor.cls_score.weight").grad.abs().max() > 0


def test_layers_of_torchvision_0_12_under_their_old_names(faster: nn.Module, tmp_path: Path) -> None:
    """Convolutions that torchvision 0.14 put into containers."""
    saved: Any = pickles.saved(faster, tmp_path)
    holders = ("backbone.fpn.inner_blocks.0", "backbone.fpn.layer_blocks.0", "rpn.head.conv")
    inner = {f"{holders[0]}.0": holders[0], f"{holders[1]}.0": holders[1], f"{holders[2]}.0.0": holders[2]}
    saved.modules = {path: node for path, node in saved.modules.items() if path not in holders}
    older = saved.renamed(
        {f"{new}.{leaf}": f"{old}.{leaf}" for new, old in inner.items() for leaf in ("weight", "bias")}
    )
    assert all(older.modules[path].class_path.endswith("Conv2d") for path in holders)
    assert "rpn.head.conv.weight" in older.tensors
    assert_same(faster, rebuild(older))


def test_one_layer_under_two_names_is_refused(faster: nn.Module, tmp_path: Path) -> None:
    saved: Any = pickles.saved(faster, tmp_path)
    saved.tensors = {**saved.tensors, "rpn.head.conv.weight": saved.tensors["rpn.head.conv.0.0.weight"]}
    with pytest.raises(RefusedArchive, match="under its old and its new name"):
        identify(saved)


def test_ssd_with_its_own_thresholds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made: Any = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=5, score_thresh=0.12, nms_thresh=0.3)
    made.detections_per_img = 9
    made.anchor_generator.clip = False
    saved = pickles.saved(made.eval(), tmp_path, "models.SSD")
    facts = identify(saved, {"model_architecture": "fasterrcnn"})
    assert (facts.architecture, facts.num_classes) == ("ssd300_vgg16", 5)
    assert facts.notes == ("config says fasterrcnn, the file holds a ssd300_vgg16",)
    assert_same(made, rebuild(saved))


@pytest.mark.parametrize(
    ("name", "class_path"),
    [
        ("fasterrcnn_resnet18_fpn", "torchvision.models.detection.faster_rcnn.FasterRCNN"),  # narrow pyramid and head
        ("ssdlite320_mobilenet_v3_large", "torchvision.models.detection.ssd.SSD"),
    ],
)
def test_small_relatives_of_the_rounds_detectors(name: str, class_path: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = make_detector(name, 6, 96).eval()
    saved = pickles.saved(made, tmp_path)
    facts = identify(saved, {"model_architecture": f"object_detection:{name}"})
    assert (saved.class_path, facts.architecture, facts.num_classes, facts.notes) == (class_path, name, 6, ())
    assert_same(made, rebuild(saved))


def test_ssdlite_with_the_whole_tail_of_a_pretrained_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    features: Any = mobilenet_v3_large(weights=None, norm_layer=norm).features
    made: Any = make_detector("ssdlite320_mobilenet_v3_large", 6, 96)
    made.backbone = SSDLiteFeatureExtractorMobileNet(features, 13, norm)
    made.head = SSDLiteHead([672, 960, 512, 256, 256, 128], [6] * 6, 6, norm)
    assert_same(made.eval(), rebuild(pickles.saved(made, tmp_path)))


def other(saved: SavedModel, path: str, **values: Inert) -> SavedModel:
    node: ModuleNode = saved.modules[path]
    node.attributes = {**node.attributes, **values}
    return saved


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("transform", {"min_size": (10**9,)}, "transform.min_size is no whole number from 1 to 4096"),
        ("transform", {"max_size": -1}, "transform.max_size is no whole number"),
        ("transform", {"image_std": [0.0, 1.0, 1.0]}, "transform.image_std is no number from"),
        ("transform", {"image_mean": [0.1, 0.2]}, "transform.image_mean is not 3 to 3 values"),
        ("transform", {"image_mean": [float("nan")] * 3}, "transform.image_mean is no number"),
        ("rpn", {"nms_thresh": 7.0}, "rpn.nms_thresh is no number from 0 to 1"),
        ("rpn", {"_pre_nms_top_n": DictNode()}, "rpn._pre_nms_top_n is no whole number"),
        ("rpn", {"_pre_nms_top_n": 5}, "not a number for training and one for testing"),
        ("rpn", {"box_coder": "os.system"}, "rpn.box_coder is not one of torchvision's"),
        ("roi_heads", {"detections_per_img": True}, "roi_heads.detections_per_img is no whole number"),
        ("rpn.anchor_generator", {"sizes": ((32,),)}, "do not fit each other"),
        ("rpn.anchor_generator", {"sizes": (("x",),) * 5}, "sizes is no number"),
        ("rpn.anchor_generator", {"aspect_ratios": 3}, "aspect_ratios is not 1 to 16 values"),
    ],
)
def test_setting_that_cannot_be_is_one_clear_line(
    path: str, values: dict[str, Inert], message: str, faster: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        rebuild(other(pickles.saved(faster, tmp_path), path, **values))
    assert message in str(caught.value)


def test_other_backbone_is_refused(faster: nn.Module, tmp_path: Path) -> None:
    saved: Any = pickles.saved(faster, tmp_path)
    saved.tensors = {name: ref for name, ref in saved.tensors.items() if ".layer4.1." not in name}
    with pytest.raises(StateMismatch, match="backbone is none of resnet18"):
        identify(saved)


def test_foreign_module_inside_is_refused(faster: nn.Module, tmp_path: Path) -> None:
    saved: Any = pickles.saved(faster, tmp_path)
    saved.modules["rpn.head"].class_path = "elsewhere.Head"
    with pytest.raises(UnsupportedModel, match=r"holds elsewhere\.Head at rpn\.head, where .*--networks FILE\.py"):
        rebuild(saved)
