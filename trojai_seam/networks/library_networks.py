"""Any classifier of torchvision or timm by the library's own name: ``torchvision:convnext_tiny``, ``timm:resnet26``.

BackdoorBench's vision transformers are torchvision's behind a resize to 224 pixels, so their names begin with ``1.``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import StateMismatch, UnsupportedModel, shown
from .registry import NETWORK, Hints, NetworkFacts, class_count_notes, register_network

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_BEHIND_RESIZE = "1."


def _head(saved: SavedModel) -> tuple[str, int]:
    """The last tensor with rows: libraries define the head last.

    Raises:
        StateMismatch: there is none.
    """
    rows = [(name, saved.shape(name)[0]) for name in saved.tensors if saved.shape(name)]
    rows = [(name, count) for name, count in rows if not name.endswith(("running_mean", "running_var"))]
    if not rows:
        raise StateMismatch(f"{saved.path}: no tensor that could be the head")
    return rows[-1]


def _channels(saved: SavedModel) -> int:
    """Channels of the image: what the first convolution takes."""
    return next((saved.shape(name)[1] for name in saved.tensors if len(saved.shape(name)) == 4), 3)


def _asked(hints: Hints) -> str:
    return str(hints.get(NETWORK, "")).partition(":")[2]


def _facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    where, classes = _head(saved)
    return NetworkFacts(_asked(hints), _asked(hints), classes, None, class_count_notes(hints, classes, where))


@register_network("torchvision:", state_dict_names=("torchvision:NAME",), facts=_facts)
def _torchvision(saved: SavedModel, hints: Hints) -> nn.Module:
    from torchvision import models

    name = _asked(hints)
    if name not in models.list_models(models):
        raise UnsupportedModel(f"torchvision has no classifier called {shown(name, 80)!r}")
    network: nn.Module = models.get_model(name, weights=None, num_classes=_head(saved)[1])
    return network


@register_network("timm:", state_dict_names=("timm:NAME",), facts=_facts)
def _timm(saved: SavedModel, hints: Hints) -> nn.Module:
    import timm

    name = _asked(hints)
    if not timm.is_model(name):
        raise UnsupportedModel(f"timm has no classifier called {shown(name, 80)!r}")
    options: dict[str, Any] = {"num_classes": _head(saved)[1], "in_chans": _channels(saved)}
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    return network


_TRANSFORMERS = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32")
_WIDTHS = {(768, 16): "vit_b_16", (768, 32): "vit_b_32", (1024, 16): "vit_l_16", (1024, 32): "vit_l_32"}


def _vit_name(saved: SavedModel) -> str:
    prefix = _prefix(saved)
    weight = f"{prefix}conv_proj.weight"
    shape = saved.shape(weight) if weight in saved.tensors else ()
    name = _WIDTHS.get((shape[0], shape[2])) if len(shape) == 4 else None
    if name is None:
        raise StateMismatch(f"{saved.path}: its tensors are those of none of torchvision's {', '.join(_TRANSFORMERS)}")
    return name


def _prefix(saved: SavedModel) -> str:
    return _BEHIND_RESIZE if f"{_BEHIND_RESIZE}class_token" in saved.tensors else ""


def _fits_vit(saved: SavedModel) -> bool:
    try:
        return bool(_vit_name(saved)) and f"{_prefix(saved)}encoder.pos_embedding" in saved.tensors
    except StateMismatch:
        return False


def _vit_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    name, (where, classes) = _vit_name(saved), _head(saved)
    return NetworkFacts(name, name, classes, None, class_count_notes(hints, classes, where))


@register_network("torchvision-ViT", state_dict_names=_TRANSFORMERS, facts=_vit_facts, fits=_fits_vit)
def _vit(saved: SavedModel, hints: Hints) -> nn.Module:
    from torch import nn
    from torchvision import models, transforms

    name = _vit_name(saved)
    patch, positions = int(name.rpartition("_")[2]), saved.shape(f"{_prefix(saved)}encoder.pos_embedding")[1]
    side = round((positions - 1) ** 0.5) * patch
    network: nn.Module = models.get_model(name, weights=None, num_classes=_head(saved)[1], image_size=side)
    if _prefix(saved):
        return nn.Sequential(transforms.Resize((side, side), antialias=True), network)
    return network


_CONVNEXTS = {(3, 9, 96): "convnext_tiny", (3, 27, 96): "convnext_small"}
_CONVNEXTS |= {(3, 27, 128): "convnext_base", (3, 27, 192): "convnext_large"}


def _convnext_name(saved: SavedModel) -> str:
    from .registry import count_numbered

    shape = saved.shape("features.0.0.weight") if "features.0.0.weight" in saved.tensors else (0,)
    found = (count_numbered(saved, "features.1.#."), count_numbered(saved, "features.5.#."), shape[0])
    name = _CONVNEXTS.get(found) if "features.1.0.layer_scale" in saved.tensors else None
    if name is None:
        raise StateMismatch(f"{saved.path}: its tensors are those of none of torchvision's ConvNeXts")
    return name


def _fits_convnext(saved: SavedModel) -> bool:
    try:
        return bool(_convnext_name(saved))
    except StateMismatch:
        return False


def _convnext_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    name, (where, classes) = _convnext_name(saved), _head(saved)
    return NetworkFacts(name, name, classes, None, class_count_notes(hints, classes, where))


@register_network(
    "torchvision-ConvNeXt", state_dict_names=tuple(_CONVNEXTS.values()), facts=_convnext_facts, fits=_fits_convnext
)
def _convnext(saved: SavedModel, hints: Hints) -> nn.Module:
    from torchvision import models

    network: nn.Module = models.get_model(_convnext_name(saved), weights=None, num_classes=_head(saved)[1])
    return network
