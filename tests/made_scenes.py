"""Scenes of coloured squares as detection gets them, and real detectors of torchvision and transformers, very small."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trojai_seam.tasks import NOT_COUNTED, BoxDetails, ExampleSet

SIDE = 64
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.9], [0.9, 0.9, 0.1]])


def scenes(count: int, classes: int = 3, seed: int = 0, background: int = 0, most: int = 3) -> ExampleSet:
    """Images of different sizes up to 64 pixels, 0 to ``most`` squares each; class k is the k-th colour."""
    rng = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=rng))

    images = torch.zeros(count, 3, SIDE, SIDE)
    labels = torch.zeros(count, most + 1, 5)
    labels[..., 4] = NOT_COUNTED
    sizes = torch.tensor([[SIDE - 4 * (n % 3), SIDE - 6 * (n % 2)] for n in range(count)])
    for image in range(count):
        height, width = sizes[image].tolist()
        images[image, :, :height, :width] = 0.4 + 0.05 * torch.rand(3, height, width, generator=rng)
        for number in range(most if image == 0 else draw(0, most + 1) if image == 1 else draw(1, most + 1)):
            kind, side = draw(0, classes), draw(14, 24)
            left, top = draw(0, width - side), draw(0, height - side)
            images[image, :, top : top + side, left : left + side] = COLOURS[kind][:, None, None]
            head = kind + (kind >= background)
            labels[image, number] = torch.tensor([left, top, left + side, top + side, head], dtype=torch.float32)
    names = tuple(f"scene {n}" for n in range(count))
    return ExampleSet({"x": images}, labels, names, details=BoxDetails(sizes, background))


def faster_rcnn(num_classes: int, norm: Any = nn.BatchNorm2d, seed: int = 0) -> nn.Module:
    """Faster R-CNN with a ResNet-18 and a narrow pyramid, on images of 64 pixels."""
    from torchvision.models import resnet18
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

    torch.manual_seed(seed)
    body, width = resnet18(weights=None, norm_layer=norm), 16
    layers = {f"layer{k}": str(k - 1) for k in range(1, 5)}
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], width)
    anchors = AnchorGenerator(((16,), (24,), (32,), (48,), (64,)), ((1.0,),) * 5)
    network: nn.Module = FasterRCNN(
        backbone, min_size=SIDE, max_size=SIDE, rpn_anchor_generator=anchors, rpn_pre_nms_top_n_train=60,
        rpn_post_nms_top_n_train=40, rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=30, box_batch_size_per_image=32,
        box_head=TwoMLPHead(width * 49, 32), box_predictor=FastRCNNPredictor(32, num_classes),
        box_detections_per_img=20,
    )  # fmt: skip
    return network.eval()


def small_ssd(num_classes: int, seed: int = 0) -> nn.Module:
    """torchvision's SSD class around a few convolutions, on images of 64 pixels."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    torch.manual_seed(seed)

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
                nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
            )  # fmt: skip
            self.second = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU())

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            first = self.first(images)
            return {"0": first, "1": self.second(first)}

    anchors = DefaultBoxGenerator([[], []], scales=[0.25, 0.4, 0.6])
    head_counts = anchors.num_anchors_per_location()
    from torchvision.models.detection.ssd import SSDHead

    network: nn.Module = SSD(
        Features(), anchors, (SIDE, SIDE), num_classes, head=SSDHead([32, 32], head_counts, num_classes),
        detections_per_img=30,
    )  # fmt: skip
    return network.eval()


def detr(num_labels: int, seed: int = 0, **options: Any) -> nn.Module:
    """DETR with a narrow ResNet of transformers' own, 12 queries."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    torch.manual_seed(seed)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    usual: dict[str, Any] = {
        "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": backbone,
        "num_queries": 12, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_labels": num_labels,
    }  # fmt: skip
    network: nn.Module = DetrForObjectDetection(DetrConfig(**{**usual, **options}))
    return network.eval()
