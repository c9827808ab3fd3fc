"""Small networks of the literature saved whole, under the class paths of the repositories that publish them."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from tests.networks.test_small_networks import IMAGES, filled, preact, preact_shapes, wide, wide_shapes
from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.loading import read_model
from trojai_seam.networks import rebuild

REPOSITORIES = ("models.preact_resnet.PreActResNet", "models.preact_resnet.PreActBlock", "models.wresnet.WideResNet",
                "models.wresnet.NetworkBlock", "models.wresnet.BasicBlock")  # fmt: skip


@pytest.fixture
def published(monkeypatch):
    """Classes without code, as pickles name them; what they compute is nobody's business here."""
    kinds = {}
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    for path in REPOSITORIES:
        module, _, name = path.rpartition(".")
        if module not in sys.modules:
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        kinds[name] = type(name, (nn.Module,), {"__module__": module})
        setattr(sys.modules[module], name, kinds[name])
    return kinds


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def preactivated(kinds, state):
    network = kinds["PreActResNet"]()
    network.in_planes, network.conv1 = 512, conv(3, 64, 3)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        blocks = []
        for number in range(2):
            block, stride = kinds["PreActBlock"](), 2 if stage > 1 and not number else 1
            block.ind, block.bn1, block.conv1 = None, nn.BatchNorm2d(inputs), conv(inputs, width, 3, stride)
            block.bn2, block.conv2 = nn.BatchNorm2d(width), conv(width, width, 3)
            if inputs != width:
                block.shortcut = nn.Sequential(conv(inputs, width, 1, stride))
            blocks.append(block)
            inputs = width
        network.add_module(f"layer{stage}", nn.Sequential(*blocks))
    network.avgpool, network.linear = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(512, 10)
    network.load_state_dict(state)
    return network


def wide_one(kinds, state):
    network = kinds["WideResNet"]()
    network.nChannels, network.conv1 = 64, conv(3, 16, 3)
    inputs = 16
    for stage, width in enumerate((16, 32, 64), 1):
        holder, blocks = kinds["NetworkBlock"](), []
        for number in range(2):
            block, stride = kinds["BasicBlock"](), 2 if stage > 1 and not number else 1
            block.bn1, block.relu1 = nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)
            block.conv1 = conv(inputs, width, 3, stride)
            block.bn2, block.relu2, block.conv2 = nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv(width, width, 3)
            block.droprate, block.equalInOut = 0.0, inputs == width
            block.convShortcut = None if inputs == width else conv(inputs, width, 1, stride)
            blocks.append(block)
            inputs = width
        holder.layer = nn.Sequential(*blocks)
        network.add_module(f"block{stage}", holder)
    network.bn1, network.relu, network.fc = nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.Linear(64, 10)
    network.load_state_dict(state)
    return network


NETWORKS = {
    "preactresnet18": (preactivated, filled(preact_shapes((2, 2, 2, 2))), lambda s: preact(s, IMAGES, (2, 2, 2, 2))),
    "wrn-16-1": (wide_one, filled(wide_shapes(2, 1)), lambda s: wide(s, IMAGES, 2)),
}


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_module_of_their_own_class_is_what_its_owner_says(published, tmp_path, name):
    make, state, reference = NETWORKS[name]
    torch.save(make(published, state), tmp_path / "model.pt")
    file = read_model(tmp_path / "model.pt")
    with pytest.raises(UnsupportedModel, match=r"no network is registered for models\..*--network"):
        rebuild(file)
    torch.testing.assert_close(rebuild(file, {"network": name})(IMAGES), reference(state))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda n: setattr(n.layer2[0].conv1, "stride", (1, 1)), "conv1.*stride"),
        (lambda n: setattr(n.layer1[0], "scale", 0.5), "attribute scale"),
        (lambda n: setattr(n.layer1[0], "forward", torch.tanh), "forward of its own"),
        (lambda n: n.layer1[0].add_module("act", nn.Tanh()), r"layer1\.0\.act is a .*Tanh in the file"),
        (lambda n: n.layer1[0].add_module("act", nn.GELU()), r"layer1\.0\.act is a .*GELU in the file"),
        (lambda n: setattr(n, "avgpool", nn.AdaptiveAvgPool2d((2, 1))), "avgpool is a .*in the file"),
        (lambda n: setattr(n, "avgpool", nn.AdaptiveMaxPool2d(1)), "avgpool is a .*in the file"),
        (lambda n: n.layer1[0].register_forward_hook(torch.tanh), "forward_hooks of its own"),
    ],
)
def test_what_is_said_must_fit(published, tmp_path, change, told):
    make, state, _ = NETWORKS["preactresnet18"]
    network = make(published, state)
    change(network)
    torch.save(network, tmp_path / "model.pt")
    with pytest.raises((StateMismatch, UnsupportedModel), match=told):
        rebuild(read_model(tmp_path / "model.pt"), {"network": "preactresnet18"})
