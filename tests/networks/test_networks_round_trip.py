"""Every architecture, saved whole by today's libraries and rebuilt: same name, same class count, same outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.networks.pickles import assert_same_outputs, bare, pictures, saved, shaken
from trojai_seam.networks import identify, rebuild
from trojai_seam.networks.torchvision_classifiers import FAMILIES

LARGE = {"densenet161", "densenet201", "wideresnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d"}
LARGE |= {v.name for f in FAMILIES if f.name in ("VGG", "AlexNet") for v in f.variants} - {"vgg11bn"}
CASES = [
    pytest.param(family, variant, marks=[pytest.mark.slow] if variant.name in LARGE else [], id=variant.name)
    for family in FAMILIES
    for variant in family.variants
]
NAMES_OF_ROUND_2 = [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "googlenet", "inceptionv3", "densenet121",
    "densenet161", "densenet169", "densenet201", "squeezenetv1_0", "squeezenetv1_1", "wideresnet50",
    "wideresnet101", "mobilenetv2", "shufflenet1_0", "shufflenet1_5", "shufflenet2_0", "vgg11bn", "vgg13bn",
    "vgg16bn", "vgg19bn",
]  # fmt: skip


def test_all_names_of_round_2_are_known() -> None:
    assert set(NAMES_OF_ROUND_2) <= {variant.name for family in FAMILIES for variant in family.variants}


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_torchvision(family, variant, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if family.auxiliary else {}
    inputs = pictures(96 if variant.name == "inceptionv3" else 64)
    original = shaken(getattr(torchvision.models, variant.factory)(num_classes=7, **options), inputs)
    nn.init.normal_(original.get_parameter(family.head))  # a head of default size hides differences below
    file = saved(original, tmp_path)
    facts = identify(file, {"model_architecture": f"classification:{variant.factory}", "NUMBER_CLASSES": 7})
    assert (facts.architecture, facts.num_classes, facts.notes) == (variant.name, 7, ())
    network = rebuild(file)
    assert_same_outputs(original, network, inputs)
    assert not any(p.is_meta for p in [*network.parameters(), *network.buffers()])


@pytest.mark.parametrize("factory", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("transform", [False, True])
def test_auxiliary_heads_and_transform_input_are_honoured(factory: str, transform: bool, tmp_path: Path) -> None:
    make = getattr(torchvision.models, factory)
    original = shaken(make(num_classes=5, init_weights=False, aux_logits=True, transform_input=transform), pictures(96))
    network = rebuild(saved(original, tmp_path))
    assert (network.aux_logits, network.transform_input) == (True, transform)
    assert_same_outputs(original, network, pictures(96))


@pytest.mark.parametrize("size", [64, 96])
def test_vision_transformer(size: int, tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    original = VisionTransformer(img_size=size, patch_size=32, embed_dim=48, depth=2, num_heads=4, num_classes=9)
    original.head = nn.Linear(48, 7)  # as NIST did; num_classes still says 9
    nn.init.normal_(original.pos_embed)
    original.pos_drop.p = 0.25
    original.patch_embed.output_fmt = "NCHW"  # an enum of newer timm, which the reader refuses; equal to its text
    file = saved(original.eval(), tmp_path)
    facts = identify(file)
    assert (facts.num_classes, facts.input_shape, facts.architecture) == (7, (3, size, size), "vit_48_patch32_224")
    network = rebuild(file)
    assert network.pos_drop.p == 0.25
    assert_same_outputs(original, network, pictures(size))


def test_bare_state_dict_of_a_known_architecture(tmp_path: Path) -> None:
    original = shaken(torchvision.models.resnet18(num_classes=4), pictures(64))
    file = bare(original.state_dict(), tmp_path)
    assert identify(file).architecture == "resnet18"
    assert_same_outputs(original, rebuild(file), pictures(64))


def test_config_that_contradicts_the_tensors_is_a_note(tmp_path: Path) -> None:
    file = saved(torchvision.models.resnet18(num_classes=4), tmp_path)
    facts = identify(file, {"MODEL_ARCHITECTURE": "resnet50", "number_classes": 10})
    assert facts.architecture == "resnet18"
    assert facts.notes == (
        "config says 10 classes, fc.weight has 4",
        "config says resnet50, the tensors are a resnet18",
    )
