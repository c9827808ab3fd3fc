"""What is known about the plain attributes of modules, class by class; everything else must be the same in both.

Four kinds of knowledge, each a table from today's class path (:func:`.class_names.today`): numbers that are taken from
the file, attributes that change no output, attributes that only old versions had, and attributes that old versions did
not have yet. The rules of a class hold for its subclasses. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ..loading.nodes import DictNode, Inert, SetNode
from .class_names import of_class
from .interval import Flag, Interval

#: Whether an attribute of old versions may have the value, given the rebuilt module.
Allowed: TypeAlias = Callable[[Inert, Any], bool]


class Derived:
    """Stands for a value that follows from others, which are compared."""


DERIVED: Final = Derived()


@dataclass(frozen=True)
class When:
    """Versions without the attribute computed as today's, if ``same`` holds for the rebuilt module."""

    same: Callable[[Any], bool]


@dataclass(frozen=True)
class Rules:
    """What is known about the attributes of one class.

    Attributes:
        follow: numbers that the file decides, and between what.
        free: names of attributes that change no output; ``_*`` stands for all that begin so.
        gone: attributes that today's class has no more, and which values of them it still computes.
        young: attributes that old versions lacked, and what those versions computed: a value that is then set,
            :data:`DERIVED`, or a :class:`When`.
        lazy: attributes that are None in a file until the first inputs came, and then follow from others.
    """

    follow: Mapping[str, Interval | Flag] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    gone: Mapping[str, Allowed] = field(default_factory=dict)
    young: Mapping[str, Any] = field(default_factory=dict)
    lazy: frozenset[str] = frozenset()


def anything(value: Inert, module: Any) -> bool:
    """It takes no part in the computation."""
    return True


def only(*values: object) -> Allowed:
    """One of these values."""
    return lambda value, module: any(type(value) is type(known) and value == known for known in values)


def like(name: str) -> Allowed:
    """What the attribute ``name`` of today's module says."""

    def same(value: Inert, module: Any) -> bool:
        return isinstance(value, (int, float, str)) and bool(value == getattr(module, name, None))

    return same


def empty(value: Inert, module: Any) -> bool:
    """None, false, or nothing in it."""
    held = value.items if isinstance(value, SetNode) else value.pairs if isinstance(value, DictNode) else value
    return held is None or held is False or (isinstance(held, (list, tuple)) and not held)


def _pads_zeros(value: Inert, conv: Any) -> bool:
    """Nothing else looks at the widths in another order. Until torch 1.4, circular padding was half as wide."""
    return bool(conv.padding_mode == "zeros")


def _scales_by_whole_numbers(upsample: Any) -> bool:
    """Until torch 1.5 the factor was taken from the sizes, which is the same unless it is broken."""
    factors = upsample.scale_factor if isinstance(upsample.scale_factor, tuple) else (upsample.scale_factor,)
    return all(factor is None or float(factor).is_integer() for factor in factors)


_EPS = Interval(0, 1, closed=False)
_SHARE = Interval(0, 1)
_BOUND = Interval(-1e6, 1e6)
_NORM = {"eps": _EPS, "momentum": Interval(0, 1, optional=True)}
_INPLACE = {"inplace": Flag()}  # what is added to its input afterwards adds to another one
_DROP = Rules(follow={"p": _SHARE, **_INPLACE})

_NN: Final = "torch.nn.modules"
_TV: Final = "torchvision"
_HF: Final = "transformers.models"


def _names(prefix: str, names: Iterable[str], rules: Rules) -> dict[str, Rules]:
    return {f"{prefix}.{name}": rules for name in names}


#: For every module, and for the helpers that are none.
_ALL = Rules(
    free=frozenset(
        {
            "training",  # evaluated in eval mode, trained in training mode
            "_is_hf_initialized",  # transformers 4.27 and later
            "_is_torch_compile",  # torch.compile leaves it on the network that it wraps
            "dump_patches",
            "_gradient_checkpointing_func",  # transformers 4.35 and later: the same in portions
        }
    )
)

_TORCH: Final[dict[str, Rules]] = {
    f"{_NN}.batchnorm._NormBase": Rules(follow=_NORM),
    f"{_NN}.batchnorm._BatchNorm": Rules(young={"track_running_stats": True}),  # torch 0.4
    f"{_NN}.normalization.LayerNorm": Rules(follow={"eps": _EPS}, young={"elementwise_affine": True}),
    f"{_NN}.normalization.GroupNorm": Rules(follow={"eps": _EPS}),
    **_names(
        f"{_NN}.dropout",
        ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"),
        _DROP,
    ),
    f"{_NN}.activation.ReLU": Rules(
        follow=_INPLACE,
        gone={"threshold": only(0, 0.0), "value": only(0, 0.0)},  # torch 0.4
    ),
    f"{_NN}.activation.LeakyReLU": Rules(follow={"negative_slope": _BOUND, **_INPLACE}),
    f"{_NN}.activation.ELU": Rules(follow={"alpha": _BOUND, **_INPLACE}),
    f"{_NN}.activation.CELU": Rules(follow={"alpha": _BOUND, **_INPLACE}),
    f"{_NN}.activation.Hardtanh": Rules(follow={"min_val": _BOUND, "max_val": _BOUND, **_INPLACE}),
    f"{_NN}.activation.Softplus": Rules(follow={"beta": _BOUND, "threshold": _BOUND}),
    f"{_NN}.activation.Threshold": Rules(follow={"threshold": _BOUND, "value": _BOUND, **_INPLACE}),
    **_names(f"{_NN}.activation", ("SELU", "SiLU", "Mish"), Rules(follow=_INPLACE)),
    **_names(  # torch 1.7
        f"{_NN}.activation", ("Hardswish", "Hardsigmoid"), Rules(follow=_INPLACE, young={"inplace": False})
    ),
    f"{_NN}.activation.GELU": Rules(young={"approximate": "none"}),  # torch 1.12
    f"{_NN}.activation.MultiheadAttention": Rules(
        follow={"dropout": _SHARE},
        young={"batch_first": False, "_qkv_same_embed_dim": True},  # torch 1.9, 1.2
    ),
    f"{_NN}.conv._ConvNd": Rules(
        gone={"_padding_repeated_twice": _pads_zeros},  # torch 1.4
        young={
            "padding_mode": "zeros",  # torch 1.1
            "_reversed_padding_repeated_twice": When(lambda conv: _pads_zeros(None, conv)),  # torch 1.5, see below
        },
    ),
    f"{_NN}.upsampling.Upsample": Rules(
        young={"recompute_scale_factor": When(_scales_by_whole_numbers)},  # torch 1.11
    ),
    f"{_NN}.rnn.RNNBase": Rules(
        follow={"dropout": _SHARE},
        gone={"_data_ptrs": anything, "_param_buf_size": anything},  # torch 0.4 to 1.3
        young={
            "proj_size": 0,  # torch 1.8
            "_flat_weights": DERIVED, "_flat_weights_names": DERIVED, "_flat_weight_refs": DERIVED,
            "_all_weights": DERIVED,
        },
    ),
    f"{_NN}.pooling._AvgPoolNd": Rules(young={"padding": 0, "ceil_mode": False, "count_include_pad": True}),
    f"{_NN}.pooling.AvgPool2d": Rules(young={"divisor_override": None}),  # torch 1.2
    f"{_NN}.pooling.AvgPool3d": Rules(young={"divisor_override": None}),
    f"{_NN}.sparse.Embedding": Rules(
        free=frozenset({"sparse", "scale_grad_by_freq"}),  # of gradients
    ),
    f"{_NN}.transformer.TransformerEncoderLayer": Rules(
        young={"norm_first": False, "activation_relu_or_gelu": DERIVED},  # torch 1.10, 1.12
    ),
    f"{_NN}.transformer.TransformerEncoder": Rules(
        free=frozenset({"enable_nested_tensor", "use_nested_tensor", "mask_check"})
    ),
}  # fmt: skip

_TORCHVISION: Final[dict[str, Rules]] = {
    f"{_TV}.ops.misc.FrozenBatchNorm2d": Rules(
        follow={"eps": Interval(0, 1)},  # round 10 has eps 0.0
        young={"eps": 0.0},  # torchvision 0.8
    ),
    f"{_TV}.ops.stochastic_depth.StochasticDepth": Rules(follow={"p": _SHARE}),
    f"{_TV}.ops.misc.Conv2dNormActivation": Rules(young={"out_channels": DERIVED}),  # torchvision 0.9
    f"{_TV}.models.densenet._DenseLayer": Rules(
        follow={"drop_rate": _SHARE},
        free=frozenset({"memory_efficient"}),
    ),
    f"{_TV}.models.densenet.DenseNet": Rules(free=frozenset({"memory_efficient"})),
    f"{_TV}.models.mobilenetv2.InvertedResidual": Rules(young={"out_channels": DERIVED, "_is_cn": DERIVED}),
    f"{_TV}.models.mobilenetv3.InvertedResidual": Rules(
        gone={"is_strided": anything},  # torchvision 0.9 and 0.10
        young={"out_channels": DERIVED, "_is_cn": DERIVED},
    ),
    f"{_TV}.models.resnet.ResNet": Rules(young={"_norm_layer": DERIVED, "groups": 1, "base_width": 64, "dilation": 1}),
    f"{_TV}.models.squeezenet.SqueezeNet": Rules(free=frozenset({"num_classes"})),
    # The layers that it made, whose parts are compared
    f"{_TV}.models.detection.generalized_rcnn.GeneralizedRCNN": Rules(free=frozenset({"_has_warned"})),
    f"{_TV}.models.detection.ssd.SSD": Rules(free=frozenset({"_has_warned"})),
    f"{_TV}.models.detection.transform.GeneralizedRCNNTransform": Rules(
        young={"size_divisible": 32, "_skip_resize": False, "fixed_size": None},
    ),
    f"{_TV}.models.detection.roi_heads.RoIHeads": Rules(young={"box_similarity": DERIVED}),
    f"{_TV}.models.detection.rpn.RegionProposalNetwork": Rules(
        young={"box_similarity": DERIVED, "score_thresh": 0.0}  # torchvision 0.9
    ),
    f"{_TV}.ops.poolers.MultiScaleRoIAlign": Rules(young={"canonical_scale": 224, "canonical_level": 4}),
    f"{_TV}.models.detection.anchor_utils.AnchorGenerator": Rules(
        young={"cell_anchors": DERIVED},
        lazy=frozenset({"cell_anchors"}),  # until torchvision 0.8
    ),
    f"{_TV}.models.mnasnet.MNASNet": Rules(
        free=frozenset({"num_classes"}),  # the rows of the head count
        young={"alpha": DERIVED},  # torchvision 0.5; in the widths
    ),
}

_TIMM: Final[dict[str, Rules]] = {
    "timm.layers.drop.DropPath": Rules(
        follow={"drop_prob": Interval(0, 1, optional=True)},
        young={"scale_by_keep": True},  # timm 0.6
    ),
    f"{_NN}.normalization.LayerNorm": Rules(free=frozenset({"_fast_norm"})),
    "timm.layers.layer_scale.LayerScale": Rules(free=frozenset({"init_values"}), follow=_INPLACE),
    "timm.layers.attention.Attention": Rules(
        free=frozenset({"fused_attn"}),
        young={"head_dim": DERIVED, "attn_dim": DERIVED},
    ),
    "timm.layers.patch_embed.PatchEmbed": Rules(
        gone={"patch_grid": like("grid_size")},
        young={
            "flatten": True, "output_fmt": "NCHW", "strict_img_size": True, "grid_size": DERIVED,
            "num_patches": DERIVED,
        },
    ),
    "timm.models.vision_transformer.ResPostBlock": Rules(free=frozenset({"init_values"})),
    "timm.models.vision_transformer.VisionTransformer": Rules(
        free=frozenset(
            {
                "num_classes",  # NIST replaced the head, whose rows count
                "grad_checkpointing", "pretrained_cfg", "default_cfg", "feature_info", "weight_init_mode", "fix_init",
                "head_hidden_size", "in_chans",
            }
        ),
        gone={  # timm 0.4 to 0.6
            "dist_token": empty, "head_dist": empty, "num_tokens": like("num_prefix_tokens"), "pre_logits": empty,
        },
        young={
            "global_pool": "token", "num_prefix_tokens": DERIVED, "has_class_token": DERIVED, "num_features": DERIVED,
            "embed_dim": DERIVED,
        },
    ),
}  # fmt: skip

_MODEL = Rules(
    free=frozenset(
        {
            "num_labels",  # for the loss; the rows of the head count
            "name_or_path",
            "warnings_issued",
            "generation_config",
            "gradient_checkpointing",
            "loss_type",
            "all_tied_weights_keys",
            "kernel_config",
            "_*",
            "model_tags",
            "hf_device_map",
            "model_parallel",
            "device_map",
            "is_gradient_checkpointing",
            "quantization_method",
            "is_quantized",
        }
    )
)
_ATTENTION = Rules(
    gone={
        "pruned_heads": empty,
        "position_embedding_type": only("absolute"),
        "output_attentions": anything,  # the outputs that it adds come after those that are used
        "keep_multihead_output": only(False),
        "require_contiguous_qkv": anything,
    },
    young={
        "config": DERIVED,
        "is_causal": DERIVED,
        "layer_idx": DERIVED,
        "scaling": DERIVED,
        "is_cross_attention": False,
        "is_decoder": False,
        "attention_head_size": DERIVED,
        "head_dim": DERIVED,
        "attention_dropout": DERIVED,
    },
)
_LAYER = Rules(
    free=frozenset({"chunk_size_feed_forward", "seq_len_dim", "gradient_checkpointing"}),  # the same in portions
    gone={
        "is_decoder": only(False),
        "add_cross_attention": only(False),
        "output_attentions": anything,
        "output_hidden_states": anything,
        "is_cross_attention": only(False),
    },
    young={"is_decoder": False, "add_cross_attention": False, "config": DERIVED},
)


def _transformer(family: str, prefix: str) -> dict[str, Rules]:
    """BERT and its relatives, whose classes are copies of each other."""
    place = f"{_HF}.{family}.modeling_{family}.{prefix}"
    return {
        **{f"{place}{name}": _ATTENTION for name in ("Attention", "SelfAttention")},
        **{f"{place}{name}": _LAYER for name in ("Layer", "Encoder")},
        f"{place}Embeddings": Rules(
            gone={"position_embedding_type": only("absolute")},
            young={"padding_idx": DERIVED},
        ),
    }  # fmt: skip


_TRANSFORMERS: Final[dict[str, Rules]] = {
    "transformers.modeling_utils.PreTrainedModel": _MODEL,
    **_transformer("bert", "Bert"),
    **_transformer("roberta", "Roberta"),
    **_transformer("electra", "Electra"),
    **_transformer("mobilebert", "MobileBert"),
    f"{_HF}.distilbert.modeling_distilbert.DistilBertSelfAttention": _ATTENTION,
    **_names(f"{_HF}.distilbert.modeling_distilbert", ("FFN", "TransformerBlock", "Transformer"), _LAYER),
    f"{_HF}.gpt2.modeling_gpt2.GPT2Attention": Rules(
        gone={**_ATTENTION.gone, "n_head": like("num_heads"), "n_ctx": anything, "scale": like("scale_attn_weights")},
        young={
            **_ATTENTION.young, "embed_dim": DERIVED, "num_heads": DERIVED, "scale_attn_weights": DERIVED,
            "split_size": DERIVED,
        },
    ),
    f"{_HF}.gpt2.modeling_gpt2.GPT2Model": Rules(young={"embed_dim": DERIVED}),  # transformers 4.6
    "transformers.pytorch_utils.Conv1D": Rules(young={"nx": DERIVED}),
}  # fmt: skip


def _merged(*rules: Rules) -> Rules:
    return Rules(
        {name: value for rule in rules for name, value in rule.follow.items()},
        frozenset().union(*(rule.free for rule in rules)),
        {name: value for rule in rules for name, value in rule.gone.items()},
        {name: value for rule in rules for name, value in rule.young.items()},
        frozenset().union(*(rule.lazy for rule in rules)),
    )


_OURS: Final = {"trojai_seam.networks.modules.NerLinear": Rules(free=frozenset({"num_labels"}))}
_TABLES: Final = (_OURS, _TORCH, _TORCHVISION, _TIMM, _TRANSFORMERS)


@lru_cache(maxsize=2048)
def rules_of(kind: type) -> Rules:
    """What is known about a class and its bases, the class itself first."""
    paths = list(dict.fromkeys(of_class(base) for base in reversed(kind.__mro__)))
    return _merged(_ALL, *(table[path] for path in paths for table in _TABLES if path in table))


#: Names that people put on a network to remember something, and that no class of ours has.
REMARKS: Final = frozenset(
    {
        "class_names", "classes", "class_to_idx", "idx_to_class", "label_names", "labels", "arch", "epoch", "epochs",
        "best_acc", "best_accuracy", "best_loss", "history", "optimizer_state", "model_name", "num_params",
    }
)  # fmt: skip
