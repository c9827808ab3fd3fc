"""What changes no output is no reason to refuse, and what the file keeps is what computes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tests.made_scenes import faster_rcnn
from tests.networks.pickles import assert_same_outputs, bare, pictures, saved, shaken
from trojai_seam.errors import UnsupportedModel
from trojai_seam.networks import rebuild
from trojai_seam.networks.attribute_rules import _TABLES
from trojai_seam.networks.class_names import today
from trojai_seam.networks.modules import LinearHead, RecurrentHead

SMALL = {"architecture_family": "resnet18"}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return shaken(torchvision.models.resnet18(num_classes=3), pictures(32))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.longdouble])
def test_a_rate_drawn_by_numpy_is_its_number(kind: Any, tmp_path: Path) -> None:
    head = LinearHead(4, 2)
    head.dropout.p = kind(0.25)
    rebuilt = rebuild(saved(head, tmp_path, "model_factories.LinearModel"))
    assert type(rebuilt.dropout.p) is float
    assert rebuilt.dropout.p == 0.25


def test_sizes_counted_by_numpy_are_their_numbers(resnet: nn.Module, tmp_path: Path) -> None:
    resnet.conv1.stride, before = (np.int32(2), np.uint8(2)), resnet.conv1.stride
    resnet.bn1.affine = np.bool_(True)
    try:
        rebuilt = rebuild(saved(resnet, tmp_path))
    finally:
        resnet.conv1.stride, resnet.bn1.affine = before, True
    assert_same_outputs(resnet, rebuilt, pictures(32))
    rnn = nn.LSTM(6, 4, batch_first=True)
    # As torch before 2.1 kept what it was given; today's constructor refuses them.
    rnn.input_size, rnn.hidden_size, rnn.dropout = np.int64(6), np.int64(4), np.float64(0.0)
    assert rebuild(saved(RecurrentHead(rnn, 2), tmp_path, "model_factories.LstmLinearModel")).rnn.hidden_size == 4


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "compiled": torch.compile,  # type: ignore[dict-item]
    "averaged in parallel": lambda network: nn.DataParallel(AveragedModel(network)),
    "compiled average": lambda network: torch.compile(AveragedModel(network)),  # type: ignore[dict-item]
    "parallel, compiled": lambda network: nn.DataParallel(torch.compile(network)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_network_in_wrappers_of_training_is_the_network_itself(name: str, resnet: nn.Module, tmp_path: Path) -> None:
    wrapped = WRAPPERS[name](resnet)
    assert_same_outputs(resnet, rebuild(bare(wrapped.state_dict(), tmp_path), SMALL), pictures(32))
    assert_same_outputs(resnet, rebuild(saved(wrapped, tmp_path)), pictures(32))


def test_a_part_in_a_wrapper(tmp_path: Path) -> None:
    network = torchvision.models.squeezenet1_1(num_classes=3).eval()
    inner = network.features
    network.features = nn.DataParallel(inner)
    file, state = saved(network, tmp_path), network.state_dict()
    network.features = inner
    assert_same_outputs(network, rebuild(file), pictures(64))
    assert_same_outputs(network, rebuild(bare(state, tmp_path)), pictures(64))


def test_batches_that_were_not_counted(resnet: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in resnet.state_dict().items() if "num_batches" not in name}
    rebuilt = rebuild(bare(state, tmp_path), SMALL)
    assert int(rebuilt.bn1.num_batches_tracked) == 0
    assert_same_outputs(resnet, rebuilt, pictures(32))
    state.pop("bn1.running_mean")
    with pytest.raises(UnsupportedModel, match=r"missing bn1\.running_mean$"):
        rebuild(bare(state, tmp_path), SMALL)


def test_normalisation_over_several_processes(resnet: nn.Module, tmp_path: Path) -> None:
    several = nn.SyncBatchNorm.convert_sync_batchnorm(resnet)
    rebuilt = rebuild(saved(several, tmp_path))
    assert type(rebuilt.bn1) is nn.BatchNorm2d
    assert_same_outputs(resnet, rebuilt, pictures(32))


def test_stochastic_depth_keeps_its_rates_and_a_block_of_timm_its_kind(tmp_path: Path) -> None:
    from timm.models.vision_transformer import ResPostBlock, VisionTransformer

    for block in ({}, {"block_fn": ResPostBlock}):
        network = VisionTransformer(
            img_size=32, patch_size=16, embed_dim=12, depth=2, num_heads=2, num_classes=3, drop_path_rate=0.1, **block
        ).eval()
        nn.init.normal_(network.head.weight)
        rebuilt = rebuild(saved(network, tmp_path))
        assert rebuilt.blocks[1].drop_path1.drop_prob == pytest.approx(0.1)
        assert_same_outputs(network, rebuilt, pictures(32))


def test_anchors_of_the_file_are_what_computes(tmp_path: Path) -> None:
    network = faster_rcnn(3)
    generator: Any = network.rpn.anchor_generator
    generator.sizes = tuple((size * 2,) for (size,) in generator.sizes)  # without effect: cell_anchors are made once
    rebuilt = rebuild(saved(network.eval(), tmp_path))
    for ours, theirs in zip(rebuilt.rpn.anchor_generator.cell_anchors, generator.cell_anchors, strict=True):
        assert torch.equal(ours, theirs)


def test_a_frozen_normalisation_without_eps_had_none(tmp_path: Path) -> None:
    from torchvision.ops import FrozenBatchNorm2d

    network = faster_rcnn(3, norm=FrozenBatchNorm2d)
    for part in network.modules():
        if isinstance(part, FrozenBatchNorm2d):
            del part.eps
    rebuilt = rebuild(saved(network.eval(), tmp_path))
    assert rebuilt.backbone.body.bn1.eps == 0.0


def test_every_class_in_the_tables_has_its_name_of_today() -> None:
    for table in _TABLES:
        assert [path for path in table if today(path) != path] == []


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("torchvision.models.mobilenet.ConvBNReLU", "torchvision.ops.misc.Conv2dNormActivation"),
        ("timm.models.vision_transformer.Attention", "timm.layers.attention.Attention"),
        ("transformers.modeling_gpt2.Block", "transformers.models.gpt2.modeling_gpt2.GPT2Block"),
        (
            "transformers.models.bert.modeling_bert.BertSdpaSelfAttention",
            "transformers.models.bert.modeling_bert.BertSelfAttention",
        ),
        ("our_blocks.Conv2d", "our_blocks.Conv2d"),
    ],
)
def test_names_over_the_years(then: str, now: str) -> None:
    assert today(then) == now


def test_parts_in_another_order(tmp_path: Path) -> None:
    head = nn.Sequential(OrderedDict(fc1=nn.Linear(4, 4), act1=nn.ReLU(), fc2=nn.Linear(4, 2)))
    head._modules["act1"] = head._modules.pop("act1")  # now the last
    with pytest.raises(UnsupportedModel, match="another order"):
        rebuild(saved(head, tmp_path))
