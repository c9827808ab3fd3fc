"""Every registered builder refuses what it does not know: a foreign class anywhere, an unknown attribute."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from tests.made_scenes import detr, faster_rcnn
from tests.networks.pickles import saved
from tests.networks.test_networks_language_models import model as transformer
from trojai_seam.errors import UnsupportedModel
from trojai_seam.loading import SavedModel
from trojai_seam.loading.nodes import Global
from trojai_seam.networks import rebuilding
from trojai_seam.networks.comparison import compare_tree
from trojai_seam.networks.language_models import FAMILIES as TRANSFORMERS
from trojai_seam.networks.modules import FullyConnectedHead, LinearHead, NerLinear, RecurrentHead, SharedBatchNormNet
from trojai_seam.networks.registry import Network, find, registered
from trojai_seam.networks.torchvision_classifiers import FAMILIES

CPU = torch.device("cpu")


def layers(count: int, **more: nn.Module) -> nn.Module:
    network = nn.Module()
    for k in range(1, count + 1):
        network.add_module(f"fc{k}", nn.Linear(6, 6))
    for name, part in more.items():
        network.add_module(name, part)
    return network


def drebin() -> nn.Module:
    network = layers(4)
    network.act_func = torch.tanh
    return network


def classifier(family: Any) -> nn.Module:
    options = {"init_weights": False, "aux_logits": False} if family.auxiliary else {}
    return getattr(torchvision.models, family.variants[0].factory)(num_classes=3, **options)


def vision_transformer() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=32, patch_size=16, embed_dim=12, depth=2, num_heads=2, num_classes=3)


def ssd() -> nn.Module:
    return torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=3)


#: Builder → how a network is made and the class path that its file names (None: its own).
MAKERS: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "pdf-feed-forward": (lambda: layers(3), "archs.Net3r"),
    "pdf-feed-forward-dropout": (lambda: layers(3, dropout=nn.Dropout(0.1)), "archs.Net3tdrop"),
    "pdf-feed-forward-batchnorm": (lambda: SharedBatchNormNet((6, 6, 6, 6)), "archs.Net3tbatch"),
    "drebin": (drebin, "drebinnn.DrebinNet3"),
    "feed-forward": (
        lambda: nn.Sequential(OrderedDict(fc1=nn.Linear(6, 6), act1=nn.ReLU(), fc2=nn.Linear(6, 6))),
        None,
    ),
    **{f"torchvision-{family.name}": (lambda family=family: classifier(family), None) for family in FAMILIES},
    "timm-vit": (vision_transformer, None),
    "sentiment-linear": (lambda: LinearHead(6, 2), "model_factories.LinearModel"),
    "sentiment-fully-connected": (lambda: FullyConnectedHead((6, 6), 2, True), "model_factories.FCLinearModel"),
    "sentiment-recurrent": (
        lambda: RecurrentHead(nn.LSTM(6, 6, batch_first=True), 2),
        "model_factories.LstmLinearModel",
    ),
    **{
        f"{family.name}-{head}": (lambda prefix=family.prefix, head=head: transformer(prefix, head), None)
        for family in TRANSFORMERS
        for head in ("Model", "ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering")
    },
    "ner-linear": (lambda: NerLinear(transformer("Bert"), 32, 3), "model_factories.NerLinearModel"),
    "ssd": (ssd, None),
    "faster-rcnn": (lambda: faster_rcnn(3), None),
    "detr": (lambda: detr(3), None),
}


def test_no_builder_is_left_out() -> None:
    """Those that know classes; the others are told from bare state dicts alone, which name none."""
    ours = [network for network in registered() if network.build.__module__.startswith("trojai_seam.")]
    own = {network.name for network in ours if network.class_paths}
    assert own == MAKERS.keys()


def light(network: nn.Module) -> nn.Module:
    """Tensors of one number each, however large: the file is small, its shapes are right."""
    for part in network.modules():
        for group in (part._parameters, part._buffers):
            for name, tensor in group.items():
                if tensor is not None and (tensor.is_floating_point() or tensor.is_meta):
                    spread = torch.ones((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)
                    group[name] = nn.Parameter(spread) if isinstance(tensor, nn.Parameter) else spread
        if isinstance(part, nn.RNNBase):
            part._init_flat_weights()
    return network.eval()


def kinds(file: SavedModel) -> Iterator[str]:
    """One path for every class in every class."""
    seen = set()
    for path, node in file.modules.items():
        owner = file.modules.get(path.rpartition(".")[0])
        kind = (node.class_path, None if owner is None else owner.class_path)
        if path and kind not in seen:
            seen.add(kind)
            yield path


def opened(name: str, folder: Path) -> tuple[Network, SavedModel, nn.Module]:
    make, class_path = MAKERS[name]
    with torch.device("meta" if name in ("ssd", "torchvision-VGG", "torchvision-AlexNet") else "cpu"):
        network = make()
    file = saved(light(network), folder, class_path)
    found = find(file, {})
    assert found.name == name
    file = found.up_to_date(file)
    built, _ = rebuilding._without_memory(found, file, {}, CPU)
    return found, rebuilding._as_built(found, file, built), built


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_builder_does_not_know_is_refused(name: str, tmp_path: Path) -> None:
    network, file, built = opened(name, tmp_path)
    compare_tree(network, file, built)  # honest
    for path in kinds(file):
        node = file.modules[path]
        honest, kept = node.class_path, node.attributes
        library, _, leaf = honest.rpartition(".")
        for foreign in (f"our_blocks.{leaf}", f"{library}.Own{leaf}"):
            node.class_path = foreign
            with pytest.raises(UnsupportedModel, match=r"our_blocks|Own") as caught:
                compare_tree(network, file, built)
            assert "--networks FILE.py" in str(caught.value) or "in the file" in str(caught.value)
        node.class_path = honest
        node.attributes = {**kept, "output_factor": 2.0}
        with pytest.raises(UnsupportedModel, match="output_factor"):
            compare_tree(network, file, built)
        node.attributes = {**kept, "forward": Global("our_blocks", "forward")}
        with pytest.raises(UnsupportedModel, match="forward of its own"):
            compare_tree(network, file, built)
        node.attributes = kept
    root = file.modules[""]
    root.attributes = {**root.attributes, "output_factor": 2.0}
    with pytest.raises(UnsupportedModel, match="output_factor"):
        compare_tree(network, file, built)
