"""The convolutional networks below DETR: a ResNet of timm's, or transformers' own, told from the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import DictNode, Inert, Instance
from .detectors import RESNETS
from .registry import count_numbered, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

#: Where the backbone is: until transformers 5, and since.
_PREFIXES: Final = ("model.backbone.conv_encoder.model.", "model.backbone.model.")
_TIMM_NAME: Final = re.compile(r"(wide_|se)?res(net|next)[a-z0-9_]{1,40}")
_HIDDEN_ACTIVATIONS: Final = ("relu", "gelu", "selu", "gelu_new")
_STRIDES: Final = ("first_stage", "bottleneck")
_STAGES: Final = 8


def backbone_prefix(saved: SavedModel) -> str:
    """The beginning of the backbone's names.

    Raises:
        StateMismatch: there is none.
    """
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in saved.tensors):
            return prefix
    raise StateMismatch(f"{saved.path}: a DETR without the layers of a backbone ({' or '.join(_PREFIXES)})")


def backbone_fields(saved: SavedModel, config: Mapping[str, Inert]) -> dict[str, Any]:
    """What ``DetrConfig`` needs for the same backbone, without a download.

    Raises:
        UnsupportedModel, StateMismatch: it is no ResNet of a known kind.
    """
    prefix = backbone_prefix(saved)
    if f"{prefix}embedder.embedder.convolution.weight" in saved.tensors:
        own = _own_resnet(saved, prefix)
        nothing = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
        return {**nothing, "backbone_config": own}
    channels = shape_of(saved, _first_convolution(saved, prefix), 4)[1]
    return {
        "use_timm_backbone": True,
        "use_pretrained_backbone": False,
        "backbone": _timm_name(saved, prefix, config),
        "dilation": config.get("dilation") is True,
        "num_channels": channels,
    }


def follow_norms(network: nn.Module, saved: SavedModel) -> None:
    """Old versions froze some normalisation layers and left others (inside ``downsample``) as they were: each layer of
    ``network`` becomes of the kind that it has in the file."""
    from torch import nn

    prefix = backbone_prefix(saved)
    own = next(p for p in _PREFIXES if any(path.startswith(p) for path, _ in network.named_modules()))
    for path, module in list(network.named_modules()):
        node = saved.modules.get(path.replace(own, prefix, 1)) if path.startswith(own) else None
        if node is None or type(module).__name__ != "DetrFrozenBatchNorm2d":
            continue
        if node.class_path == "torch.nn.modules.batchnorm.BatchNorm2d":
            features: Any = module.running_mean
            network.set_submodule(path, nn.BatchNorm2d(len(features)))


def _first_convolution(saved: SavedModel, prefix: str) -> str:
    """Of a stem of one convolution or of three."""
    names = [name for name in saved.tensors if name.startswith(f"{prefix}conv1.") and name.endswith("weight")]
    return names[0] if names else f"{prefix}conv1.weight"


def _timm_name(saved: SavedModel, prefix: str, config: Mapping[str, Inert]) -> str:
    """The name in the config if timm knows a ResNet by it, else that of the plain ResNet with these blocks."""
    import timm

    claimed = config.get("backbone")
    if not isinstance(claimed, str):
        nested = config.get("backbone_config")
        state = nested.state.strings() if isinstance(nested, Instance) and isinstance(nested.state, DictNode) else {}
        claimed = state.get("backbone")
    if isinstance(claimed, str) and _TIMM_NAME.fullmatch(claimed) and timm.is_model(claimed):
        return claimed
    blocks = tuple(count_numbered(saved, f"{prefix}layer{stage}.#.") for stage in range(1, 5))
    name = RESNETS.get((blocks, f"{prefix}layer1.0.conv3.weight" in saved.tensors))
    if name is None:
        raise UnsupportedModel(f"{saved.path}: a DETR whose backbone is no known ResNet ({shown(claimed, 60)})")
    return name


def _own_resnet(saved: SavedModel, prefix: str) -> Any:
    """A ``ResNetConfig``: sizes from the tensors, strides and activation from the pickled config."""
    from transformers import ResNetConfig

    node = saved.modules.get(prefix[:-1])
    pickled = node.get("config") if node is not None else None
    if not isinstance(pickled, Instance) or not isinstance(pickled.state, DictNode):
        raise UnsupportedModel(f"{saved.path}: its backbone carries no config")
    said: Mapping[str, Inert] = pickled.state.strings()
    stages = count_numbered(saved, f"{prefix}encoder.stages.#.")
    if not 1 <= stages <= _STAGES:
        raise StateMismatch(f"{saved.path}: a backbone of {stages} stages, expected 1 to {_STAGES}")
    stage = f"{prefix}encoder.stages.{{}}.layers."
    depths = [count_numbered(saved, f"{stage.format(k)}#.") for k in range(stages)]
    bottleneck = f"{stage.format(0)}0.layer.2.convolution.weight" in saved.tensors
    last = "2" if bottleneck else "1"
    wide = [shape_of(saved, f"{stage.format(k)}0.layer.{last}.convolution.weight", 4)[0] for k in range(stages)]
    stem = shape_of(saved, f"{prefix}embedder.embedder.convolution.weight", 4)
    activation = said.get("hidden_act")
    if activation not in _HIDDEN_ACTIVATIONS:
        raise UnsupportedModel(f"{saved.path}: its backbone has the activation {shown(activation, 40)}")
    names = [f"stage{k + 1}" for k in range(stages)]
    told = said.get("_out_features", said.get("out_features"))
    used = [name for name in names if isinstance(told, (list, tuple)) and name in told]
    options: dict[str, Any] = {f"downsample_in_{part}": said.get(f"downsample_in_{part}") is True for part in _STRIDES}
    return ResNetConfig(
        num_channels=stem[1],
        embedding_size=stem[0],
        hidden_sizes=wide,
        depths=depths,
        layer_type="bottleneck" if bottleneck else "basic",
        hidden_act=activation,
        **{**options, "out_features": used or names[-1:]},
    )
