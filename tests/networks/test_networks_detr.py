"""DETR: what the tree carries beside the weights is followed, old names of layers are found, mistakes are one line.

Files of transformers 4.17, 4.23 and 4.37 with recorded outputs were rebuilt under 4.44, 4.57 and 5.23 by hand; here the
installed version writes the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.made_scenes import detr
from tests.networks import pickles
from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.loading import SavedModel
from trojai_seam.loading.nodes import Global
from trojai_seam.networks import identify, rebuild


def lively(network: nn.Module) -> nn.Module:
    """Answers that depend on the image."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if hasattr(part, "running_var"):
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            part.weight.data.uniform_(0.8, 1.2, generator=generator)
    for name, parameter in network.named_parameters():
        if "model.backbone" not in name and parameter.ndim > 1:
            parameter.data.mul_(8)  # the library's own start is so near to 0 that all queries answer alike
    return network.eval()


def ask(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    images = (
        torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
        * torch.tensor([0.3, 1.0])[:, None, None, None]
    )
    mask = torch.ones(2, 64, 96, dtype=torch.long)
    mask[1, :, 70:] = 0
    with torch.no_grad():
        said = network(pixel_values=images, pixel_mask=mask)
    return said.logits, said.pred_boxes


def assert_same(expected: nn.Module, found: nn.Module) -> None:
    for want, got in zip(ask(expected), ask(found), strict=True):
        assert torch.allclose(want, got, atol=1e-5)
        assert (want[0] - want[1]).abs().max() > 1e-3


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "learned places": {"position_embedding_type": "learned"},
    "gelu and heads": {"activation_function": "gelu", "encoder_attention_heads": 4, "decoder_attention_heads": 8},
    "auxiliary loss": {"auxiliary_loss": True, "class_cost": 3, "eos_coefficient": 0.2, "dropout": 0.3},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant: str, tmp_path: Path) -> None:
    made = lively(detr(5, **VARIANTS[variant]))
    saved = pickles.saved(made, tmp_path)
    facts = identify(saved, {"model_architecture": "object_detection:detr"})
    assert (facts.architecture, facts.num_classes, facts.notes) == ("detr", 6, ())
    assert identify(saved, {"model_architecture": "ssd"}).notes == ("config says ssd, the file holds a detr",)
    found: Any = rebuild(saved)
    assert_same(made, found)
    if variant == "auxiliary loss":
        assert (found.config.class_cost, found.config.eos_coefficient, found.config.dropout) == (3, 0.2, 0.3)
    assert all(p.requires_grad for p in found.parameters())


@pytest.mark.parametrize("backbone", ["resnet18", "resnet26"])
def test_backbone_of_timm(backbone: str, tmp_path: Path) -> None:
    """Not only the four ResNets of the paper."""
    made = lively(timm_detr(backbone))
    found = rebuild(pickles.saved(made, tmp_path))
    assert_same(made, found)


def timm_detr(backbone: str, **options: Any) -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection

    torch.manual_seed(0)
    network: nn.Module = DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=True, use_pretrained_backbone=False, backbone=backbone, num_queries=6, d_model=32,
            encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, num_labels=3, **options,
        )
    )  # fmt: skip
    return network


#: From today's names to those of transformers 4.17 to 4.57, or the other way round.
OTHER_NAMES = (
    ("model.backbone.model.", "model.backbone.conv_encoder.model."),
    ("model.position_embedding.", "model.backbone.position_embedding."),
    (".o_proj.", ".out_proj."),
    (".mlp.fc", ".fc"),
)


def in_another_version(saved: SavedModel) -> SavedModel:
    """The same file with the names of the version that is not installed."""
    modern = any(name.startswith("model.backbone.model.") for name in saved.tensors)
    if not modern:
        pytest.skip("the installed transformers has the old names itself")

    def other(name: str) -> str:
        name += "."
        for new, old in OTHER_NAMES:
            name = name.replace(new, old)
        return name[:-1]

    tensors = {name: other(name) for name in saved.tensors if other(name) != name}
    modules = {path: other(path) for path in saved.modules if path and other(path) != path}
    return saved.renamed(tensors, modules)


@pytest.mark.parametrize("places", ["sine", "learned"])
def test_layers_under_the_names_of_older_versions(places: str, tmp_path: Path) -> None:
    made = lively(detr(5, position_embedding_type=places))
    older = in_another_version(pickles.saved(made, tmp_path))
    assert "model.encoder.layers.0.fc1.weight" in older.tensors
    assert "model.backbone.conv_encoder.model" in older.modules
    assert identify(older).num_classes == 6
    assert_same(made, rebuild(older))


def test_normalisation_that_was_not_frozen_stays_so(tmp_path: Path) -> None:
    """Old versions did not look into the Sequential of ``downsample``."""
    made: Any = timm_detr("resnet18")
    where = next(name for name, _ in made.named_modules() if name.endswith("layer2.0.downsample.1"))
    made.set_submodule(where, nn.BatchNorm2d(128))
    made = lively(made)
    found = rebuild(pickles.saved(made, tmp_path))
    assert isinstance(found.get_submodule(where), nn.BatchNorm2d)
    assert f"{where}.num_batches_tracked" in found.state_dict()
    assert_same(made, found)


def test_number_of_heads_is_followed(tmp_path: Path) -> None:
    """It leaves no trace in the tensors; what the layers carry is believed, not the config."""
    made: Any = lively(detr(5))
    made.config.encoder_attention_heads = 16
    found: Any = rebuild(pickles.saved(made, tmp_path))
    assert found.config.encoder_attention_heads == 2
    assert_same(made, found)


def changed(saved: SavedModel, path: str, **values: Any) -> SavedModel:
    node = saved.modules[path]
    node.attributes = {**node.attributes, **values}
    return saved


def of_config(saved: SavedModel, name: str, value: Any) -> SavedModel:
    config: Any = saved.root.get("config") if saved.root is not None else None
    config.state.pairs[:] = [(key, value if key == name else old) for key, old in config.state.pairs]
    return saved


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return detr(5)


def test_what_cannot_be_is_one_clear_line(plain: nn.Module, tmp_path: Path) -> None:
    def refused(saved: SavedModel, message: str, kind: type[Exception] = UnsupportedModel) -> None:
        with pytest.raises(kind, match=message) as caught:
            rebuild(saved)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)

    def fresh() -> Any:
        return pickles.saved(plain, tmp_path)

    attention, place = "model.encoder.layers.0.self_attn", "model.position_embedding"
    if place not in fresh().modules:
        place = "model.backbone.position_embedding"
    refused(changed(fresh(), attention, head_dim=7, num_heads=None), "no single number of encoder attention heads")
    refused(changed(fresh(), place, temperature=20), "unusual position embedding")
    refused(changed(fresh(), place, normalize=False), "unusual position embedding")
    refused(of_config(fresh(), "dropout", 7.0), "has a dropout not from 0 to 1")
    refused(of_config(fresh(), "dropout", "os.system"), "has a dropout not from 0 to 1")
    saved = fresh()
    saved.modules["bbox_predictor"].class_path = "elsewhere.Head"
    refused(saved, r"holds elsewhere\.Head at bbox_predictor")
    saved = fresh()
    saved.root.attributes = {k: v for k, v in saved.root.attributes.items() if k != "config"}
    refused(saved, "carries no config")
    saved = fresh()
    for path, node in saved.modules.items():
        if "activation_fn" in node.children:
            node.children = {k: v for k, v in node.children.items() if k != "activation_fn"}
            node.attributes = {**node.attributes, "activation_fn": Global("os", "system")}
            assert path.startswith("model.")
    refused(saved, "no single activation function that is known")
    saved = fresh()
    saved.tensors = {n: t for n, t in saved.tensors.items() if not n.startswith("model.backbone.")}
    refused(saved, "without the layers of a backbone", StateMismatch)
    saved = fresh()
    saved.tensors = {n: t for n, t in saved.tensors.items() if "bbox_predictor.layers.2" not in n}
    refused(saved, r"missing bbox_predictor\.layers\.2", StateMismatch)
