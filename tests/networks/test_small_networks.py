"""Small networks of the literature: told by their tensors, built with the names of the file, computing what the papers
say. The references below are written with plain functions on the state dict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.loading import read_model
from trojai_seam.networks import identify, rebuild

State = dict[str, Tensor]


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    """Random values with sane statistics for BatchNorms."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        else:
            fan = max(1, int(torch.tensor(shape[1:]).prod()) if len(shape) > 1 else 4)
            state[name] = torch.randn(shape, generator=generator) / fan**0.5
    return state


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def bn(x: Tensor, state: State, name: str) -> Tensor:
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts)


def preact_shapes(blocks: tuple[int, ...], classes: int = 10) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 3, 3)}
    inputs = 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), 1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            shapes |= norm(f"{at}.bn1", inputs) | {f"{at}.conv1.weight": (width, inputs, 3, 3)}
            shapes |= norm(f"{at}.bn2", width) | {f"{at}.conv2.weight": (width, width, 3, 3)}
            if inputs != width:
                shapes[f"{at}.shortcut.0.weight"] = (width, inputs, 1, 1)
            inputs = width
    return {**shapes, "linear.weight": (classes, 512), "linear.bias": (classes,)}


def preact(state: State, x: Tensor, blocks: tuple[int, ...]) -> Tensor:
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            active = F.relu(bn(x, state, f"{at}.bn1"))
            around = f"{at}.shortcut.0.weight"
            kept = F.conv2d(active, state[around], stride=stride) if around in state else x
            hidden = F.conv2d(active, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = F.conv2d(F.relu(bn(hidden, state, f"{at}.bn2")), state[f"{at}.conv2.weight"], padding=1) + kept
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def wide_shapes(blocks: int, width: int, classes: int = 10) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (16, 3, 3, 3)}
    inputs = 16
    for stage, outputs in enumerate((16 * width, 32 * width, 64 * width), 1):
        for block in range(blocks):
            at = f"block{stage}.layer.{block}"
            shapes |= norm(f"{at}.bn1", inputs) | {f"{at}.conv1.weight": (outputs, inputs, 3, 3)}
            shapes |= norm(f"{at}.bn2", outputs) | {f"{at}.conv2.weight": (outputs, outputs, 3, 3)}
            if inputs != outputs:
                shapes[f"{at}.convShortcut.weight"] = (outputs, inputs, 1, 1)
            inputs = outputs
    return {**shapes, **norm("bn1", inputs), "fc.weight": (classes, inputs), "fc.bias": (classes,)}


def wide(state: State, x: Tensor, blocks: int) -> Tensor:
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range(blocks):
            at, stride = f"block{stage}.layer.{block}", 2 if stage > 1 and block == 0 else 1
            active = F.relu(bn(x, state, f"{at}.bn1"))
            around = f"{at}.convShortcut.weight"
            kept = F.conv2d(active, state[around], stride=stride) if around in state else x
            hidden = F.conv2d(active, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = F.conv2d(F.relu(bn(hidden, state, f"{at}.bn2")), state[f"{at}.conv2.weight"], padding=1) + kept
    return F.linear(F.relu(bn(x, state, "bn1")).mean((2, 3)), state["fc.weight"], state["fc.bias"])


def small_vgg() -> nn.Sequential:
    parts: list[nn.Module] = []
    inputs = 3
    for width, drop in ((32, 0.3), (64, 0.4), (128, 0.4)):
        for _ in range(2):
            parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ELU()]
            inputs = width
        parts += [nn.MaxPool2d(2), nn.Dropout(drop)]
    return nn.Sequential(*parts)


def saved(tmp_path, state, name="checkpoint.pth"):
    torch.save({"net": state, "acc": 93.1}, tmp_path / name)
    return read_model(tmp_path / name)


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_preactresnet18_computes_what_its_paper_says(tmp_path):
    state = filled(preact_shapes((2, 2, 2, 2)))
    file = saved(tmp_path, {f"module.{name}": tensor for name, tensor in state.items()})
    assert (identify(file).architecture, identify(file).num_classes) == ("preactresnet18", 10)
    network = rebuild(file)
    torch.testing.assert_close(network(IMAGES), preact(state, IMAGES, (2, 2, 2, 2)))
    assert network.state_dict().keys() == state.keys()


@torch.no_grad()
@pytest.mark.parametrize(("blocks", "width"), [(2, 1), (1, 4)])
def test_wide_resnets_compute_what_their_paper_says(tmp_path, blocks, width):
    state = filled(wide_shapes(blocks, width, classes=7))
    file = saved(tmp_path, state)
    assert identify(file).architecture == f"wrn-{6 * blocks + 4}-{width}"
    torch.testing.assert_close(rebuild(file)(IMAGES), wide(state, IMAGES, blocks))


@torch.no_grad()
def test_the_small_vgg_has_its_activations_pools_and_dropouts(tmp_path):
    torch.manual_seed(0)
    features, classifier = small_vgg().eval(), nn.Linear(2048, 43)
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    state |= {f"classifier.{name}": tensor for name, tensor in classifier.state_dict().items()}
    file = saved(tmp_path, state)
    assert identify(file).architecture == "small-vgg"
    network = rebuild(file)
    torch.testing.assert_close(network(IMAGES), classifier(features(IMAGES).flatten(1)))
    assert [type(part).__name__ for part in network.features] == [type(part).__name__ for part in features]


@torch.no_grad()
def test_thin_resnets_widen_by_zeros_where_shortcuts_have_no_weights(tmp_path):
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (16, 3, 3, 3)} | norm("bn1", 16)
    inputs = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(3):
            at = f"layer{stage}.{block}"
            shapes |= {f"{at}.conv1.weight": (width, inputs, 3, 3)} | norm(f"{at}.bn1", width)
            shapes |= {f"{at}.conv2.weight": (width, width, 3, 3)} | norm(f"{at}.bn2", width)
            inputs = width
    state = filled({**shapes, "linear.weight": (10, 64), "linear.bias": (10,)})
    file = saved(tmp_path, state)
    assert identify(file, {"network": "resnet20"}).architecture == "cifar-resnet20"
    x = F.relu(bn(F.conv2d(IMAGES, state["conv1.weight"], padding=1), state, "bn1"))
    for stage in (1, 2, 3):
        for block in range(3):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            hidden = F.relu(bn(F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1), state, f"{at}.bn1"))
            hidden = bn(F.conv2d(hidden, state[f"{at}.conv2.weight"], padding=1), state, f"{at}.bn2")
            if stride == 2:
                side = x.shape[1] // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
            x = F.relu(hidden + x)
    torch.testing.assert_close(
        rebuild(file)(IMAGES), F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])
    )


def test_what_leaves_no_trace_in_the_tensors_has_to_be_said(tmp_path):
    shapes = {"conv1.weight": (6, 3, 5, 5), "conv1.bias": (6,), "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,)}
    for name, shape in (("fc1", (120, 400)), ("fc2", (84, 120)), ("fc3", (10, 84))):
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    file = saved(tmp_path, filled(shapes))
    with pytest.raises(UnsupportedModel, match=r"fits several networks \(lenet5-tanh, lenet5\).*--network NAME"):
        identify(file)
    relu, tanh = (rebuild(file, {"network": name})(IMAGES) for name in ("lenet5", "lenet5-tanh"))
    assert not torch.allclose(relu, tanh)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    file = saved(tmp_path, filled(wide_shapes(2, 1)))
    with pytest.raises(StateMismatch, match=r"wide ResNet|lacks|stem|stages|tensors"):
        rebuild(file, {"network": "small-vgg"})
    with pytest.raises(StateMismatch, match="--network wrn-28-10 was asked for, but its tensors are a wrn-16-1"):
        rebuild(file, {"network": "wrn-28-10"})
    with pytest.raises(UnsupportedModel, match=r"no network is called 'wrn-16-l' .near: .*wrn-16-1"):
        rebuild(file, {"network": "wrn-16-l"})
    with pytest.raises(StateMismatch, match=r"missing .*unexpected"):
        rebuild(file, {"network": "torchvision:mobilenet_v3_small"})


@pytest.mark.parametrize("name", ["vit_b_32", "convnext_tiny", "mobilenet_v3_small", "efficientnet_b0", "googlenet"])
def test_torchvision_by_its_own_names(tmp_path, name):
    from torchvision import models

    options = {"init_weights": False} if name == "googlenet" else {}
    if name == "vit_b_32":
        options["image_size"] = 64
    theirs = models.get_model(name, num_classes=4, **options).eval()
    state = theirs.state_dict()
    if name == "vit_b_32":  # BackdoorBench's is a Sequential of a resize and the network
        state = {f"1.{key}": tensor for key, tensor in state.items()}
    torch.save({"model_name": name, "num_classes": 4, "model": state}, tmp_path / "attack_result.pt")
    file = read_model(tmp_path / "attack_result.pt")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(rebuild(file)(images), theirs(images))
