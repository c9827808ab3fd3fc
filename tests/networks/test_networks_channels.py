"""Networks of torchvision whose images have another number of channels than three."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from trojai_seam.errors import StateMismatch
from trojai_seam.loading import read_model
from trojai_seam.networks import identify, rebuild
from trojai_seam.networks.torchvision_classifiers import FAMILIES, usual_name
from trojai_seam.rounds.image_preprocessing import Preprocessing, channels_of


def of_channels(factory: str, stem: str, channels: int) -> nn.Module:
    torch.manual_seed(0)
    network = getattr(models, factory)(num_classes=3)
    path = stem.rpartition(".")[0]
    usual = network.get_submodule(path)
    parent, _, name = path.rpartition(".")
    first = nn.Conv2d(
        channels, usual.out_channels, usual.kernel_size, usual.stride, usual.padding, bias=usual.bias is not None
    )
    network.get_submodule(parent).register_module(name, first)
    return network.eval()


STEMS = {family.name: family.stem for family in FAMILIES}
LIGHT = [("ResNet", "resnet18", "resnet18", 1), ("SqueezeNet", "squeezenet1_1", "squeezenetv1_1", 1),
         ("ShuffleNetV2", "shufflenet_v2_x0_5", "shufflenet0_5", 1),
         ("MobileNetV3", "mobilenet_v3_small", "mobilenetv3_small", 4),
         ("MNASNet", "mnasnet0_5", "mnasnet0_5", 1)]  # fmt: skip


@pytest.mark.parametrize(("family", "factory", "name", "channels"), LIGHT)
@pytest.mark.parametrize("whole", [False, True])
def test_the_first_layer_takes_the_channels_of_the_file(tmp_path, family, factory, name, channels, whole):
    network = of_channels(factory, STEMS[family], channels)
    torch.save(network if whole else network.state_dict(), tmp_path / "model.pt")
    saved = read_model(tmp_path / "model.pt")
    assert (identify(saved).architecture, identify(saved).num_classes) == (name, 3)
    rebuilt = rebuild(saved).eval()
    assert channels_of(rebuilt) == channels
    images = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        assert torch.allclose(rebuilt(images), network(images), atol=1e-5)


def test_stems_are_the_first_convolutions():
    for family in FAMILIES:
        options = {**family.options, **({"aux_logits": True} if family.auxiliary else {})}
        with torch.device("meta"):
            network = getattr(models, family.variants[0].factory)(num_classes=2, **options)
        convolutions = (name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
        assert f"{next(convolutions)}.weight" == family.stem


def test_a_thousand_and_more_channels_are_no_image(tmp_path: Path):
    state = models.squeezenet1_1(num_classes=3).state_dict()
    state["features.0.weight"] = torch.zeros(64, 5000, 3, 3)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(StateMismatch, match="5000 channels"):
        rebuild(read_model(tmp_path / "model.pt"))


def test_grey_is_pillows_and_raw_stays_raw():
    import numpy as np
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    made = Preprocessing(8, "grey", "raw").apply([picture])
    assert made.shape == (1, 1, 8, 8)
    assert np.array_equal(made[0, 0].numpy(), np.asarray(Image.fromarray(picture).convert("L"), np.float32))


@pytest.mark.parametrize(
    ("given", "usual"), [("mobilenet_v2", "mobilenetv2"), ("ResNet18", "resnet18"), ("MyNet", "MyNet")]
)
def test_usual_names(given, usual):
    assert usual_name(given) == usual
