"""The architectures of the image rounds, fresh, by the constructors that NIST used."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import UsageProblem, listed, shown

R2_ARCHITECTURES = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "resnet101": "resnet101",
    "resnet152": "resnet152", "googlenet": "googlenet", "inceptionv3": "inception_v3", "densenet121": "densenet121",
    "densenet161": "densenet161", "densenet169": "densenet169", "densenet201": "densenet201",
    "squeezenetv1_0": "squeezenet1_0", "squeezenetv1_1": "squeezenet1_1", "wideresnet50": "wide_resnet50_2",
    "wideresnet101": "wide_resnet101_2", "mobilenetv2": "mobilenet_v2", "shufflenet1_0": "shufflenet_v2_x1_0",
    "shufflenet1_5": "shufflenet_v2_x1_5", "shufflenet2_0": "shufflenet_v2_x2_0", "vgg11bn": "vgg11_bn",
    "vgg13bn": "vgg13_bn", "vgg16bn": "vgg16_bn", "vgg19bn": "vgg19_bn",
}  # fmt: skip
"""Config name to torchvision's function."""

_NOT_IN_R4 = {"resnet152", "densenet161", "densenet169", "densenet201", "wideresnet101", "vgg16bn", "vgg19bn"}
R4_ARCHITECTURES = {name: factory for name, factory in R2_ARCHITECTURES.items() if name not in _NOT_IN_R4}
VIT = "classification:vit_base_patch32_224"
R11_ARCHITECTURES = {
    "classification:resnet50": "resnet50",
    "classification:mobilenet_v2": "mobilenet_v2",
    VIT: "vit",
}
QUICK = ("resnet18", "squeezenetv1_1", "mobilenetv2", "shufflenet1_0")
"""Four that train in minutes on one core; what a set is made of if nobody asks for others."""

_INCEPTION_PIXELS, _LEAST_PIXELS = 75, 32  # below, some layer has no pixel left
_VIT_GRID, _VIT_PATCH, _VIT_AT_FULL_SIZE = 8, 32, 224  # 256 pixels in patches of 32 are a grid of 8


def choose_architectures(wanted: tuple[str, ...], known: dict[str, str], pixels: int) -> tuple[str, ...]:
    """The architectures to take in turn, checked against the round's list and the image size.

    ``resnet50`` is understood where the round says ``classification:resnet50``.

    Raises:
        UsageProblem: one is not in the round, or does not work on images of ``pixels``.
    """
    chosen = []
    for name in wanted or [name for name in QUICK if name in known] or list(known):
        full = name if name in known else f"classification:{name}"
        if full not in known:
            raise UsageProblem(f"--architectures {shown(name)!r}: not in this round; known: {listed(known, most=30)}")
        if pixels < (least := least_pixels(full)):
            raise UsageProblem(f"{name} needs images of {least} pixels or more; --image-size is {pixels}")
        step = _VIT_PATCH if pixels >= _VIT_AT_FULL_SIZE else _VIT_GRID
        if full == VIT and pixels % step:
            raise UsageProblem(f"{name} needs an --image-size that is a multiple of {step}, not {pixels}")
        chosen.append(full)
    return tuple(chosen)


def least_pixels(architecture: str) -> int:
    """The smallest image that the architecture works on."""
    return _INCEPTION_PIXELS if architecture == "inceptionv3" else _LEAST_PIXELS


def make_network(factory: str, classes: int, pixels: int) -> nn.Module:
    """A network with random weights, drawn from torch's generator."""
    if factory == "vit":
        return _make_vit(classes, pixels)
    from torchvision import models

    options: dict[str, Any] = {}
    if factory in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    network: nn.Module = getattr(models, factory)(num_classes=classes, **options)
    return network


def _make_vit(classes: int, pixels: int) -> nn.Module:
    """ViT-B/32 from 224 pixels on. Below, as many patches (8 by 8) but smaller, and less width and depth."""
    from timm.models.vision_transformer import VisionTransformer

    full = pixels >= _VIT_AT_FULL_SIZE
    network: nn.Module = VisionTransformer(
        img_size=pixels,
        patch_size=_VIT_PATCH if full else pixels // _VIT_GRID,
        num_classes=classes,
        embed_dim=768 if full else 128,
        depth=12 if full else 4,
        num_heads=12 if full else 4,
    )
    return network
