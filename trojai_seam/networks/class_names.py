"""Class paths as libraries spelt them over the years, and the one name that stands for all spellings.

Two classes are the same if :func:`today` gives the same name. An entry is here only where the classes compute the same
from the same attributes and tensors; each says in which versions the name changed. Needs no torch.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple


class Renamed(NamedTuple):
    """A pattern (whole class path), what it became, and when."""

    pattern: str
    now: str
    versions: str


_FAMILIES: Final = "bert|roberta|electra|mobilebert|distilbert|gpt2"
_PREFIXES: Final = "Bert|Roberta|Electra|MobileBert|DistilBert|GPT2|Detr"
_CONV_NORM: Final = "torchvision.ops.misc.Conv2dNormActivation"

RENAMED: Final = (
    # torch
    Renamed(
        r"torch\.nn\.modules\.linear\.(_LinearWithBias|NonDynamicallyQuantizableLinear)",
        "torch.nn.modules.linear.Linear",
        "output layer of MultiheadAttention: Linear to torch 1.5, _LinearWithBias to 1.8; only quantisation tells them",
    ),
    # torchvision
    Renamed(r"torchvision\.models\.mobilenet\.(\w+)", r"torchvision.models.mobilenetv2.\1", "torchvision 0.9"),
    Renamed(
        r"torchvision\.models\.(mobilenetv2|mobilenet)\.(ConvBNReLU|ConvBNActivation|_DeprecatedConvBNAct)",
        _CONV_NORM,
        "ConvBNReLU to torchvision 0.8, ConvBNActivation to 0.10, then the one of torchvision.ops",
    ),
    Renamed(r"torchvision\.ops\.misc\.ConvNormActivation", _CONV_NORM, "torchvision 0.12"),
    Renamed(
        r"torchvision\.models\.mobilenetv3\.SqueezeExcitation",
        "torchvision.ops.misc.SqueezeExcitation",
        "torchvision 0.11; before, its Hardsigmoid was a function",
    ),
    Renamed(
        r"torchvision\.ops\.misc\.(Conv2d|ConvTranspose2d)",
        r"torch.nn.modules.conv.\1",
        "torchvision 0.3 to 0.13: torch's, which could not do with empty inputs yet",
    ),
    Renamed(r"torchvision\.ops\.misc\.BatchNorm2d", "torch.nn.modules.batchnorm.BatchNorm2d", "torchvision 0.3 to 0.13"),
    Renamed(
        r"torchvision\.models\.detection\.rpn\.AnchorGenerator",
        "torchvision.models.detection.anchor_utils.AnchorGenerator",
        "torchvision 0.8",
    ),
    # timm
    Renamed(r"timm\.models\.layers\.(\w+)\.(\w+)", r"timm.layers.\1.\2", "timm 0.8"),
    Renamed(r"timm\.models\.vision_transformer\.Attention", "timm.layers.attention.Attention", "timm 1.0.17"),
    Renamed(r"timm\.models\.vision_transformer\.LayerScale", "timm.layers.layer_scale.LayerScale", "timm 1.0.17"),
    Renamed(r"timm\.models\.vision_transformer\.Mlp", "timm.layers.mlp.Mlp", "timm 0.4.5"),
    Renamed(r"timm\.models\.vision_transformer\.PatchEmbed", "timm.layers.patch_embed.PatchEmbed", "timm 0.4.5"),
    Renamed(
        r"timm\.layers\.norm\.LayerNorm",
        "torch.nn.modules.normalization.LayerNorm",
        "torch's until timm 1.0.13; differs in low precision only",
    ),
    # transformers
    Renamed(rf"transformers\.modeling_({_FAMILIES})\.(\w+)", r"transformers.models.\1.modeling_\1.\2", "transformers 4.0"),
    Renamed(r"transformers\.modeling_utils\.Conv1D", "transformers.pytorch_utils.Conv1D", "transformers 4.20"),
    Renamed(
        rf"(transformers\.models\.\w+\.modeling_\w+\.)({_PREFIXES})(?:Sdpa|FlashAttention2|Flash)(Self)?(Attention|)",
        r"\1\2\3Attention",
        "transformers 4.31 to 4.48: one class for each way of computing the same attention",
    ),
    Renamed(
        r"(transformers\.models\.gpt2\.modeling_gpt2\.)(Attention|Block|MLP)", r"\1GPT2\2", "transformers 4.5"
    ),
    Renamed(
        r"(transformers\.models\.distilbert\.modeling_distilbert\.)(?:MultiHeadSelfAttention|DistilBertAttention)",
        r"\1DistilBertSelfAttention",
        "transformers 5.0",
    ),
    Renamed(
        r"(transformers\.models\.detr\.modeling_detr\.)DetrTimmConvEncoder", r"\1DetrConvEncoder", "transformers 4.26"
    ),
    Renamed(r"transformers\.activations\.PytorchGELUTanh", "transformers.activations.GELUTanh", "transformers 4.53"),
)  # fmt: skip
INHERITED: Final = (
    Renamed(
        r"transformers\.modeling_bert\.Bert(Encoder|Layer|Attention|SelfAttention|SelfOutput|Intermediate|Output|Pooler)",
        r"transformers\.models\.(roberta|electra)\.modeling_\1\.(Roberta|Electra){}",
        "transformers 3: RoBERTa and ELECTRA were made of BERT's layers, which they copied in 4.0",
    ),
)
"""Classes (pattern, as pickled) that stand in networks where today's have copies of their own (pattern, with the group
of the first filled in)."""
_RULES: Final = tuple((re.compile(rule.pattern), rule.now) for rule in RENAMED)
_MOST_STEPS: Final = 4


@lru_cache(maxsize=4096)
def today(class_path: str) -> str:
    """The name that the class has now, or that stands for all classes that compute the same."""
    for _ in range(_MOST_STEPS):
        before = class_path
        for pattern, now in _RULES:
            if (found := pattern.fullmatch(class_path)) is not None:
                class_path = found.expand(now)
        if class_path == before:
            break
    return class_path


@lru_cache(maxsize=4096)
def is_copy(class_path: str, copied: str) -> bool:
    """Whether today's class ``copied`` is a copy of the one in the file; see :data:`INHERITED`."""
    for rule in INHERITED:
        found = re.fullmatch(rule.pattern, class_path)
        if found is not None and re.fullmatch(rule.now.replace("{}", found[1]), copied):
            return True
    return False


def of_class(kind: type) -> str:
    """:func:`today` of a class at hand."""
    return today(f"{kind.__module__}.{kind.__qualname__}")
