"""Tensors or facts that do not fit are refused by name; numbers that vary are honoured."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.networks.pickles import assert_same_outputs, bare, pictures, saved, shaken
from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.networks import identify, rebuild


@pytest.fixture
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return shaken(torchvision.models.resnet18(num_classes=7), pictures(64))


def test_all_differences_of_the_tensors_are_named_on_one_line(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.fc.bias = None
    resnet.layer1[0].register_buffer("payload", torch.zeros(3))
    resnet.layer2[0].bn1.running_mean = torch.zeros(65)
    with pytest.raises(StateMismatch) as caught:
        rebuild(saved(resnet, tmp_path))
    line = str(caught.value)
    assert "\n" not in line
    assert str(tmp_path / "model.pt") in line
    assert "missing fc.bias;" in line
    assert "unexpected layer1.0.payload;" in line
    assert "wrong shape layer2.0.bn1.running_mean (file 65, network 128)" in line


def test_long_lists_are_cut(resnet: nn.Module, tmp_path: Path) -> None:
    for k in range(50):
        resnet.register_buffer(f"extra{k}", torch.zeros(1))
    with pytest.raises(StateMismatch, match="and 42 more"):
        rebuild(saved(resnet, tmp_path))


@pytest.mark.parametrize("use", [identify, rebuild])
def test_unknown_member_of_a_family_says_how_the_nearest_differs(use, resnet: nn.Module, tmp_path: Path) -> None:
    resnet.layer3.append(resnet.layer3[1])
    with pytest.raises(StateMismatch, match=r"nearest resnet18, but layer3\.#\. counts 3 instead of 2"):
        use(saved(resnet, tmp_path))


def test_head_without_a_weight(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.fc = nn.Identity()
    with pytest.raises(StateMismatch, match=r"lacks the tensor fc\.weight"):
        identify(saved(resnet, tmp_path))


def doubled(module: nn.Module, inputs: object, outputs: torch.Tensor) -> torch.Tensor:
    return outputs * 2


def halved(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor / 2 for tensor in inputs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.register_forward_hook(doubled), "the network was saved with forward_hooks"),
        (lambda m: m.layer1[0].register_forward_pre_hook(halved), r"layer1\.0 was saved with forward_pre_hooks"),
        (lambda m: setattr(m.layer2, "forward", doubled), "layer2 was saved with forward of its own"),
    ],
)
def test_hooks_that_change_the_outputs_are_not_dropped_silently(
    change, says: str, resnet: nn.Module, tmp_path: Path
) -> None:
    change(resnet)
    with pytest.raises(StateMismatch, match=says):
        rebuild(saved(resnet, tmp_path))


def test_layers_in_another_order_are_refused(tmp_path: Path) -> None:
    network = torchvision.models.vgg11_bn(num_classes=3)
    parts = dict(network.features.named_children())
    norm = parts.pop("1")
    network.features = nn.Sequential(OrderedDict({"0": parts.pop("0"), "2": parts.pop("2"), "1": norm, **parts}))
    with pytest.raises(StateMismatch, match="features has its parts in another order"):
        rebuild(saved(network, tmp_path))


@pytest.mark.parametrize("whole", [True, False], ids=["module", "state dict"])
def test_a_network_in_data_parallel_is_the_network_itself(whole: bool, resnet: nn.Module, tmp_path: Path) -> None:
    wrapped = nn.DataParallel(resnet)
    file = saved(wrapped, tmp_path) if whole else bare(wrapped.state_dict(), tmp_path)
    rebuilt = rebuild(file, {"architecture_family": "resnet18"})
    assert type(rebuilt) is torchvision.models.ResNet
    assert_same_outputs(resnet, rebuilt, pictures(64))


def test_the_default_dtype_of_the_process_does_not_matter(resnet: nn.Module, tmp_path: Path) -> None:
    file = saved(resnet, tmp_path)
    torch.set_default_dtype(torch.float64)
    try:
        rebuilt = rebuild(file)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in rebuilt.state_dict().values()} == {torch.float32, torch.int64}
    assert_same_outputs(resnet, rebuilt, pictures(64))


def test_integers_where_weights_belong(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.fc.weight = nn.Parameter(torch.ones(7, 512, dtype=torch.int64), requires_grad=False)
    with pytest.raises(StateMismatch, match=r"fc\.weight holds torch\.int64"):
        rebuild(saved(resnet, tmp_path))


def test_half_precision_becomes_float32(resnet: nn.Module, tmp_path: Path) -> None:
    network = rebuild(saved(resnet.half(), tmp_path))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert_same_outputs(resnet.float(), network, pictures(64))


def test_batchnorm_numbers_are_honoured(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.bn1.eps, resnet.bn1.momentum = 0.3, 0.02
    resnet.layer1[0].bn1.momentum = None
    network = rebuild(saved(resnet, tmp_path))
    assert (network.bn1.eps, network.bn1.momentum, network.layer1[0].bn1.momentum) == (0.3, 0.02, None)
    assert_same_outputs(resnet, network, pictures(64))


@pytest.mark.parametrize("eps", [0.0, -1e-5, 1.0, float("nan"), float("inf"), 10**400, True, "1e-5", None, [1e-5]])
def test_batchnorm_eps_out_of_range(eps: object, resnet: nn.Module, tmp_path: Path) -> None:
    resnet.layer2[0].bn1.eps = eps
    with pytest.raises(UnsupportedModel, match=r"layer2\.0\.bn1: BatchNorm2d with eps = .* between 0 and 1"):
        rebuild(saved(resnet, tmp_path))


def test_dropout_out_of_range(tmp_path: Path) -> None:
    network = torchvision.models.squeezenet1_1(num_classes=3)
    network.classifier[0].p = 7.0
    with pytest.raises(UnsupportedModel, match=r"classifier\.0: Dropout with p = 7\.0, which is no number from 0 to 1"):
        rebuild(saved(network, tmp_path))


def test_densenet_drop_rate_is_honoured_and_checked(tmp_path: Path) -> None:
    network = torchvision.models.densenet121(num_classes=3, drop_rate=0.2)
    assert rebuild(saved(network, tmp_path)).features.denseblock1.denselayer1.drop_rate == 0.2
    network.features.denseblock2.denselayer3.drop_rate = 2
    with pytest.raises(UnsupportedModel, match=r"denseblock2\.denselayer3: _DenseLayer with drop_rate = 2"):
        rebuild(saved(network, tmp_path))


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("layer2.0.conv1", "stride", (1, 1)),
        ("conv1", "padding", (0, 0)),
        ("layer3.0.conv2", "dilation", (2, 2)),
        ("layer1.0.conv1", "padding_mode", "circular"),
        ("maxpool", "kernel_size", 2),
        ("maxpool", "ceil_mode", True),
        ("avgpool", "output_size", (2, 2)),
        ("bn1", "track_running_stats", False),
    ],
)
def test_same_tensors_but_another_geometry(path: str, name: str, value: object, resnet, tmp_path: Path) -> None:
    setattr(resnet.get_submodule(path), name, value)
    with pytest.raises(StateMismatch, match=rf"{path}: \w+ has {name} "):
        rebuild(saved(resnet, tmp_path))


def test_a_single_number_stands_for_every_dimension(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.maxpool.kernel_size, resnet.avgpool.output_size = (3, 3), 1
    rebuild(saved(resnet, tmp_path))


def test_another_activation(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.layer1[0].relu = nn.Tanh()
    with pytest.raises(StateMismatch, match=r"layer1\.0\.relu is a Tanh in the file, a ReLU in the network"):
        rebuild(saved(resnet, tmp_path))


def test_a_part_put_into_a_sequential(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.layer1.add_module("2", nn.Sigmoid())
    with pytest.raises(StateMismatch, match=r"layer1 has 2 besides"):
        rebuild(saved(resnet, tmp_path))


def test_transform_input_must_be_a_truth_value(tmp_path: Path) -> None:
    network = torchvision.models.googlenet(num_classes=3, init_weights=False, aux_logits=False)
    network.transform_input = "yes"
    with pytest.raises(UnsupportedModel, match="does not say whether transform_input is on"):
        identify(saved(network, tmp_path))


def test_googlenet_as_a_bare_state_dict_is_refused(tmp_path: Path) -> None:
    network = torchvision.models.googlenet(num_classes=3, init_weights=False, aux_logits=False)
    with pytest.raises(UnsupportedModel, match=r"fits no registered network.*--networks FILE\.py"):
        rebuild(bare(network.state_dict(), tmp_path))


def test_transformer_without_a_head_count(tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(img_size=64, patch_size=32, embed_dim=48, depth=2, num_heads=4, num_classes=3)
    network.blocks[1].attn.num_heads = 6
    network.patch_embed.output_fmt = "NCHW"
    with pytest.raises(UnsupportedModel, match="no single number of attention heads"):
        identify(saved(network, tmp_path))


def test_remarks_stay_behind(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.class_names = ["cat", "dog"]
    network = rebuild(saved(resnet.train(), tmp_path))
    assert not hasattr(network, "class_names")
    assert not network.training
    assert not network._forward_hooks


def test_rebuilding_leaves_the_random_numbers_alone(resnet: nn.Module, tmp_path: Path) -> None:
    file = saved(resnet, tmp_path)
    state = torch.get_rng_state()
    rebuild(file)
    assert torch.equal(torch.get_rng_state(), state)


def test_two_rebuilds_share_no_memory(resnet: nn.Module, tmp_path: Path) -> None:
    file = saved(resnet, tmp_path)
    one, two = rebuild(file), rebuild(file)
    one.fc.weight.data.zero_()
    assert two.fc.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda m: setattr(m.layer1[0], "downsample", nn.Sequential(nn.ReLU(), nn.Tanh())),
            r"layer1\.0\.downsample\.0 is a torch\.nn\.modules\.activation\.ReLU in the file, nothing in the network",
        ),
        (lambda m: setattr(m, "relu", nn.Sequential(nn.ReLU(), nn.Tanh())), "relu is a Sequential in the file, a ReLU"),
        (lambda m: vars(m).update(_forward_impl=torch.relu), "the network was saved with forward_impl of its own"),
        (lambda m: vars(m.layer2[0].bn1).update(train=torch.relu), r"layer2\.0\.bn1 was saved with train of its own"),
    ],
    ids=["part", "replaced part", "method", "method of a layer"],
)
def test_what_computes_in_the_file_alone_is_not_dropped_silently(
    change, says: str, resnet: nn.Module, tmp_path: Path
) -> None:
    change(resnet)
    with pytest.raises(StateMismatch, match=says):
        rebuild(saved(resnet, tmp_path))


def test_what_computes_nothing_may_be_in_the_file_alone(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.layer1[0].downsample = nn.Sequential(nn.Identity(), nn.Dropout(0.5))
    resnet.criterion = nn.CrossEntropyLoss()
    assert_same_outputs(resnet.eval(), rebuild(saved(resnet, tmp_path)), pictures(64))


def test_thousands_of_named_layers_are_not_built(tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(img_size=32, patch_size=16, embed_dim=12, depth=1, num_heads=2, num_classes=3)
    network.blocks.extend(nn.PReLU() for _ in range(2000))
    with pytest.raises(StateMismatch, match=r"2001 layers called blocks\.#\., more than 500"):
        rebuild(saved(network, tmp_path))
