"""DETR of round 13: a ResNet of timm or of transformers, a transformer, one box per query.

Rebuilt as today's ``transformers.models.detr`` from checked numbers. Sizes come from the tensors; what leaves no trace
in them (heads, activation, dilation, dropout) from the layers, else from the pickled config. Input ``pixel_values``
[N, 3, H, W] in 0 to 1; ``logits`` [N, Q, C + 1], the last one "no object", and ``pred_boxes`` (centre, size) as shares
of the image. Layers have moved between versions 4.17 and 5 of the library, so which names hold is asked of the network
that the installed version builds.

Sources: trojai-example, branch object-detection-feb2023; huggingface/transformers, ``models/detr``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import DictNode, Global, Inert, Instance
from .detr_backbones import backbone_fields, backbone_prefix, follow_norms
from .interval import Interval
from .plain_values import ACTIVATIONS
from .registry import Hints, NetworkFacts, count_numbered, hint, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_HEAD: Final = "class_labels_classifier.weight"
_QUERIES: Final = "model.query_position_embeddings.weight"

#: One name and the other; each rule is there in both directions.
_MOVED: Final = (
    (r"^model\.backbone\.conv_encoder\.model(?=\.|$)", "model.backbone.model"),
    (r"^model\.backbone\.model(?=\.|$)", "model.backbone.conv_encoder.model"),
    (r"^model\.backbone\.position_embedding(?=\.|$)", "model.position_embedding"),
    (r"^model\.position_embedding(?=\.|$)", "model.backbone.position_embedding"),
    (r"(\.\w+_attn)\.out_proj(?=\.|$)", r"\1.o_proj"),
    (r"(\.\w+_attn)\.o_proj(?=\.|$)", r"\1.out_proj"),
    (r"(\.layers\.\d+)\.(fc1|fc2|activation_fn)(?=\.|$)", r"\1.mlp.\2"),
    (r"(\.layers\.\d+)\.mlp\.(fc1|fc2|activation_fn)(?=\.|$)", r"\1.\2"),
)
_SHARE: Final = Interval(0, 1)
_SHARES: Final = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
#: What the loss weighs; transformers 5 takes whole numbers only, but for the last one.
_WEIGHTS: Final = ("class_cost", "bbox_cost", "giou_cost", "bbox_loss_coefficient", "giou_loss_coefficient")
_EOS: Final = "eos_coefficient"


def _detr_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    claimed = hint(hints, "model_architecture")
    notes: tuple[str, ...] = ()
    if claimed is not None and not shown(claimed, 80).rpartition(":")[2].startswith("detr"):
        notes = (f"config says {shown(claimed, 60)}, the file holds a detr",)
    return NetworkFacts("detr", "detr", shape_of(saved, _HEAD, 2)[0], None, notes)


@register_network(
    "detr",
    ("transformers.models.detr.modeling_detr.DetrForObjectDetection",),
    facts=_detr_facts,
    moved_layers=_MOVED,
)
def _build_detr(saved: SavedModel, hints: Hints) -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection

    config = _config(saved)
    width = shape_of(saved, _HEAD, 2)
    fields: dict[str, Any] = {
        "num_labels": width[0] - 1,
        "d_model": width[1],
        "num_queries": shape_of(saved, _QUERIES, 2)[0],
        "activation_function": _activation(saved),
        "position_embedding_type": _position_embedding(saved),
        **backbone_fields(saved, config),
        **_loss_weights(config),
        **{name: _number(saved, config[name], name) for name in _SHARES if name in config},
    }
    for part in ("encoder", "decoder"):
        fields[f"{part}_layers"] = count_numbered(saved, f"model.{part}.layers.#.")
        fields[f"{part}_attention_heads"] = _heads(saved, config, part, width[1])
        fields[f"{part}_ffn_dim"] = _hidden(saved, part)
    network: nn.Module = DetrForObjectDetection(DetrConfig(**fields))
    follow_norms(network, saved)
    return network


def _config(saved: SavedModel) -> Mapping[str, Inert]:
    config = saved.root.get("config") if saved.root is not None else None
    if not isinstance(config, Instance) or not isinstance(config.state, DictNode):
        raise UnsupportedModel(f"{saved.path}: {shown(saved.class_path)} carries no config")
    return config.state.strings()


def _number(saved: SavedModel, value: Inert, name: str) -> float:
    if value is None or not _SHARE.admits(value):
        raise UnsupportedModel(f"{saved.path}: the config of {shown(saved.class_path)} has a {name} not from 0 to 1")
    return float(value)  # type: ignore[arg-type]  # the interval admits numbers only


def _loss_weights(config: Mapping[str, Inert]) -> dict[str, Any]:
    """Those that are what the library takes; the loss falls back on the paper's for others."""
    found: dict[str, Any] = {}
    for name in _WEIGHTS:
        value = config.get(name)
        if isinstance(value, (int, float)) and value in range(1001):
            found[name] = int(value)
    value = config.get(_EOS)
    if isinstance(value, float) and 0 <= value <= 1:
        found[_EOS] = value
    return found


def _heads(saved: SavedModel, config: Mapping[str, Inert], part: str, width: int) -> int:
    """Attention heads: they leave no trace in the tensors. What the layers carry is what computes."""
    carried: set[Inert] = set()
    for path, node in saved.modules.items():
        if re.fullmatch(rf"model\.{part}\.layers\.\d+\.\w+_attn", path):
            heads, size = node.get("num_heads"), node.get("head_dim")
            if heads is None and size is not None:  # transformers 5
                heads = width // size if type(size) is int and size > 0 and width % size == 0 else 0
            carried |= set() if heads is None else {heads if type(heads) is int else 0}
    heads = config.get(f"{part}_attention_heads") if not carried else carried.pop() if len(carried) == 1 else None
    if type(heads) is not int or heads < 1 or width % heads:
        raise UnsupportedModel(f"{saved.path}: no single number of {part} attention heads that divides {width}")
    return heads


def _hidden(saved: SavedModel, part: str) -> int:
    name = f"model.{part}.layers.0.fc1.weight"
    return shape_of(saved, name if name in saved.tensors else name.replace("fc1", "mlp.fc1"), 2)[0]


def _activation(saved: SavedModel) -> str:
    found: set[str] = set()
    for path, node in saved.modules.items():
        if re.fullmatch(r"model\.(en|de)coder\.layers\.\d+(\.mlp)?", path):
            value = node.children.get("activation_fn", node.get("activation_fn"))
            if value is not None:
                pickled = value.path if isinstance(value, Global) else getattr(value, "class_path", "nothing")
                found.add(ACTIVATIONS.get(pickled, ""))
    if len(found) != 1 or "" in found:
        raise UnsupportedModel(f"{saved.path}: no single activation function that is known")
    return found.pop()


def _position_embedding(saved: SavedModel) -> str:
    """``sine`` or ``learned``.

    Raises:
        UnsupportedModel: another one, or sines of other numbers than DETR's.
    """
    for path in ("model.position_embedding", "model.backbone.position_embedding"):
        node = saved.modules.get(path)
        if node is None:
            continue
        kind = node.class_path.rpartition(".")[2]
        if kind == "DetrLearnedPositionEmbedding":
            return "learned"
        scale = node.get("scale")
        turn = isinstance(scale, float) and abs(scale - 6.283185307179586) < 1e-9
        usual = turn and node.get("temperature") == 10000 and node.get("normalize") is True
        if kind == "DetrSinePositionEmbedding" and usual:
            return "sine"
        raise UnsupportedModel(f"{saved.path}: an unusual position embedding ({shown(kind, 60)})")
    raise StateMismatch(f"{saved.path}: a DETR without a position embedding below {backbone_prefix(saved)}")
