"""Vision transformers of timm (round 11: ``vit_base_patch32_224`` at 256 pixels), rebuilt by today's timm.

Everything comes from tensors and tree, but not the pickled ``num_classes``: NIST replaced the head and left it 1000.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch, UnsupportedModel, shown
from .registry import (
    TEACH,
    Hints,
    NetworkFacts,
    class_count_notes,
    count_numbered,
    dimensions,
    hint,
    register_network,
    shape_of,
)

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_BLOCKS: Final = ("Block", "ResPostBlock")
_ACTIVATIONS: Final = ("GELU", "ReLU", "SiLU", "Tanh")
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}


def _image_size(saved: SavedModel) -> tuple[int, int]:
    """Height and width in pixels: the pickled size, which must give as many patches as there are positions.

    Raises:
        StateMismatch: it does not; or no size was pickled and the positions form no square.
    """
    positions = shape_of(saved, "pos_embed", 3)[1]
    _, _, height, width = shape_of(saved, "patch_embed.proj.weight", 4)
    patches = positions - (1 if "cls_token" in saved.tensors and not _attribute(saved, "no_embed_class", bool) else 0)
    node = saved.modules.get("patch_embed")
    size = node.get("img_size") if node is not None else None
    if size is None:
        side = math.isqrt(max(patches, 0))
        size = (side * height, side * width)
    if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(type(n) is int and 0 < n < 2**16 for n in size)):
        raise UnsupportedModel(f"{saved.path}: patch_embed.img_size is no pair of pixel counts")
    if (size[0] // height) * (size[1] // width) != patches:
        raise StateMismatch(
            f"{saved.path}: pos_embed has {positions} positions, but {dimensions(size)} pixels in patches of "
            f"{dimensions((height, width))} need {(size[0] // height) * (size[1] // width)} and one for the class token"
        )
    return size[0], size[1]


def _attribute(saved: SavedModel, name: str, kind: type) -> Any:
    """A plain attribute of the pickled network; None where that timm version had none.

    Raises:
        UnsupportedModel: it is of another type.
    """
    value = saved.root.get(name) if saved.root is not None else None
    if value is not None and type(value) is not kind:
        raise UnsupportedModel(f"{saved.path}: attribute {name} of {shown(saved.class_path)} is no {kind.__name__}")
    return value


def _heads(saved: SavedModel, width: int) -> int:
    """Attention heads: only the tree knows.

    Raises:
        UnsupportedModel: it does not say, the blocks differ, or the width cannot be split so.
    """
    found = {
        value if type(value) is int else None
        for path, node in saved.modules.items()
        if re.fullmatch(r"blocks\.\d+\.attn", path)
        for value in [node.get("num_heads")]
    }
    heads = found.pop() if len(found) == 1 else None
    if heads is None or heads < 1 or width % heads:
        raise UnsupportedModel(f"{saved.path}: no single number of attention heads that divides {width}")
    return heads


def _facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    width, channels, patch, _ = shape_of(saved, "patch_embed.proj.weight", 4)
    height_pixels, width_pixels = _image_size(saved)
    classes = shape_of(saved, "head.weight", 2)[0]
    _heads(saved, width)
    # The name's 224 is timm's default size, not this file's: the rounds' configs keep it at 256 pixels.
    architecture = f"vit_{_SIZES.get(width, width)}_patch{patch}_224"
    notes = class_count_notes(hints, classes, "head.weight")
    claimed = hint(hints, "model_architecture")
    if claimed is not None and shown(claimed, 80).rpartition(":")[2] != architecture:
        notes += (f"config says {shown(claimed, 60)}, the tensors are a {architecture}",)
    return NetworkFacts("vit", architecture, classes, (channels, height_pixels, width_pixels), notes)


def _block(saved: SavedModel) -> Any:
    """timm's block, or its variant with the normalisation behind; any other is built as the first and then refused."""
    from timm.models import vision_transformer

    node = saved.modules.get("blocks.0")
    name = "" if node is None else node.class_path.removeprefix("timm.models.vision_transformer.")
    return getattr(vision_transformer, name if name in _BLOCKS else "Block")


def _activation(saved: SavedModel) -> Any:
    """The class of the activation in the first block; the comparison sees to the others."""
    from torch import nn

    node = saved.modules.get("blocks.0.mlp.act")
    name = "" if node is None else node.class_path.removeprefix("torch.nn.modules.activation.")
    return getattr(nn, name if name in _ACTIVATIONS else "GELU")


#: Until timm 0.5, one layer was used twice.
_SPLIT: Final = (
    (r"(blocks\.\d+)\.drop_path", (r"\1.drop_path1", r"\1.drop_path2")),
    (r"(blocks\.\d+)\.mlp\.drop", (r"\1.mlp.drop1", r"\1.mlp.drop2")),
)


@register_network("timm-vit", ("timm.models.vision_transformer.VisionTransformer",), facts=_facts, split_layers=_SPLIT)
def _build(saved: SavedModel, hints: Hints) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    keys = saved.tensors
    width, channels, height, patch_width = shape_of(saved, "patch_embed.proj.weight", 4)
    pool = _attribute(saved, "global_pool", str)
    if pool == "avg" and "fc_norm" not in saved.modules:  # timm before 0.6 does not know the attribute
        raise UnsupportedModel(
            f"{saved.path}: global_pool {pool} in a version of timm that did not look at it; {TEACH}"
        )
    if pool not in (None, "token", "avg"):
        raise UnsupportedModel(f"{saved.path}: a vision transformer with {shown(pool, 40)!r} pooling")
    network: nn.Module = VisionTransformer(
        img_size=_image_size(saved),
        patch_size=(height, patch_width),
        in_chans=channels,
        num_classes=shape_of(saved, "head.weight", 2)[0],
        global_pool=pool or "token",
        embed_dim=width,
        depth=max(1, count_numbered(saved, "blocks.#.")),
        num_heads=_heads(saved, width),
        mlp_ratio=shape_of(saved, "blocks.0.mlp.fc1.weight", 2)[0] / width,
        qkv_bias="blocks.0.attn.qkv.bias" in keys,
        qk_norm="blocks.0.attn.q_norm.weight" in keys,
        init_values=1e-5 if "blocks.0.ls1.gamma" in keys else None,
        class_token="cls_token" in keys,
        no_embed_class=bool(_attribute(saved, "no_embed_class", bool)),
        pre_norm="norm_pre.weight" in keys,
        fc_norm="fc_norm.weight" in keys,
        pool_include_prefix=bool(_attribute(saved, "pool_include_prefix", bool)),
        reg_tokens=shape_of(saved, "reg_token", 3)[1] if "reg_token" in keys else 0,
        block_fn=_block(saved),
        act_layer=_activation(saved),
        weight_init="skip",
    )
    return network
