"""What a pickled transformer says about itself, checked: sizes from tensors, the rest from its config and its layers.

Six families of huggingface/transformers, as rounds 5 to 9 and QA 2023 contain them. A config field that leaves a trace
in the tensors is not believed but measured. One that leaves none (attention heads, epsilons, activation) is bounded,
and where the layers carry it too, they decide. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import StateMismatch, UnsupportedModel, listed, shown
from ..loading.nodes import DictNode, Global, Inert, Instance, SetNode
from .class_names import today
from .plain_values import ACTIVATIONS
from .registry import count_numbered, shape_of

if TYPE_CHECKING:
    from ..loading import SavedModel

Sizes: TypeAlias = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Family:
    """One kind of transformer.

    Attributes:
        name: as in ``transformers.models.NAME``.
        prefix: begins its class names.
        body: the attribute that holds the base model where there is a head.
        sizes: config field → tensor of the base model, and the dimension that tells it.
        layers: name pattern whose ``#`` counts the layers, and the config field for their number.
        heads: config field for the number of attention heads, then what layers called it over the years.
        query: the tensor whose first dimension the heads share, or the last one if it is GPT-2's.
        activation: config field, the module that holds the function (end of its path), and its name there.
        shares: config fields from 0 to 1.
        epsilon: config field of the layer norms' constant; None if it is fixed.
        flags: config fields that are true or false, with what layers called them.
        poolable: whether the base model can be made without its pooler.
    """

    name: str
    prefix: str
    body: str
    sizes: Sizes
    layers: tuple[str, str]
    heads: tuple[str, ...]
    query: str
    activation: tuple[str, str, str]
    shares: tuple[str, ...]
    epsilon: str | None
    flags: Mapping[str, tuple[str, ...]]
    poolable: bool = False


_EMBEDDINGS: Final[Sizes] = {
    "vocab_size": ("embeddings.word_embeddings.weight", 0),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
}
_ENCODER: Final[Sizes] = {
    **_EMBEDDINGS,
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "hidden_size": ("encoder.layer.0.output.dense.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
}


def _encoder(name: str, prefix: str, more: Sizes, flags: tuple[str, ...] = (), poolable: bool = True) -> Family:
    """BERT and its close relatives."""
    return Family(
        name, prefix, name, {**_ENCODER, **more}, ("encoder.layer.#.", "num_hidden_layers"),
        heads=("num_attention_heads",),
        query="encoder.layer.0.attention.self.query.weight",
        activation=("hidden_act", ".intermediate", "intermediate_act_fn"),
        shares=("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
        epsilon="layer_norm_eps",
        flags={flag: (flag,) for flag in flags},
        poolable=poolable,
    )  # fmt: skip


_WORDS: Final = ("embeddings.word_embeddings.weight", 1)
FAMILIES: Final = (
    _encoder("bert", "Bert", {}),
    _encoder("roberta", "Roberta", {}),
    _encoder("electra", "Electra", {"embedding_size": _WORDS}, poolable=False),
    _encoder(
        "mobilebert",
        "MobileBert",
        {"hidden_size": ("embeddings.position_embeddings.weight", 1), "embedding_size": _WORDS},
        ("trigram_input", "use_bottleneck", "use_bottleneck_attention", "key_query_shared_bottleneck"),
    ),
    Family(
        "distilbert", "DistilBert", "distilbert",
        {**_EMBEDDINGS, "dim": _WORDS, "hidden_dim": ("transformer.layer.0.ffn.lin1.weight", 0)},
        ("transformer.layer.#.", "n_layers"),
        heads=("n_heads",),
        query="transformer.layer.0.attention.q_lin.weight",
        activation=("activation", ".ffn", "activation"),
        shares=("dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout"),
        epsilon=None,
        flags={},
    ),
    Family(
        "gpt2", "GPT2", "transformer",
        {
            "vocab_size": ("wte.weight", 0), "n_embd": ("wte.weight", 1), "n_positions": ("wpe.weight", 0),
            "n_inner": ("h.0.mlp.c_fc.weight", 1),
        },
        ("h.#.", "n_layer"),
        heads=("n_head", "num_heads"),
        query="h.0.attn.c_proj.weight",
        activation=("activation_function", ".mlp", "act"),
        shares=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        epsilon="layer_norm_epsilon",
        flags={
            "scale_attn_weights": ("scale_attn_weights", "scale"),
            "scale_attn_by_inverse_layer_idx": ("scale_attn_by_inverse_layer_idx",),
            "reorder_and_upcast_attn": ("reorder_and_upcast_attn",),
        },
    ),
)  # fmt: skip


@dataclass(frozen=True)
class LanguageConfig:
    """Checked constructor arguments of one transformer.

    ``pooled`` is whether the base model has a pooler; None where its class gives no choice.
    """

    fields: Mapping[str, Any]
    pooled: bool | None


def read_config(saved: SavedModel, family: Family, inner: str) -> LanguageConfig:
    """The config of the base model at module path ``inner`` (``""`` for the root).

    Raises:
        UnsupportedModel: no config, a value out of range, or something that today's transformers does not compute.
        StateMismatch: the tensors do not fit the family.
    """
    reader = _Reader(saved, family, inner)
    fields: dict[str, Any] = {}
    for name, (tensor, dimension) in family.sizes.items():
        fields[name] = reader.shape(tensor)[dimension]
    pattern, count = family.layers
    fields[count] = count_numbered(saved, reader.prefix + pattern)
    if family.name == "mobilebert":
        fields |= _bottleneck(reader)
    width = reader.shape(family.query)[-1 if family.name == "gpt2" else 0]
    fields[family.heads[0]] = reader.heads(width)
    for name in family.shares:
        fields |= reader.number(name, 1.0, optional=name == "classifier_dropout", closed=True)
    if family.epsilon is not None:
        fields |= reader.number(family.epsilon, 1.0)
    for name, names in family.flags.items():
        fields |= reader.flag(name, names)
    fields |= reader.activation(*family.activation)
    fields |= {name: reader.token(name, fields["vocab_size"]) for name in _TOKENS}
    if family.name == "roberta" and fields["pad_token_id"] is None:
        raise UnsupportedModel(f"{saved.path}: a RoBERTa without a pad_token_id, from which it counts positions")
    reader.refuse_unusual()
    pooled = f"{reader.prefix}pooler" in saved.modules if family.poolable else None
    return LanguageConfig(fields, pooled)


_TOKENS: Final = ("pad_token_id", "bos_token_id", "eos_token_id")


def _bottleneck(reader: _Reader) -> dict[str, Any]:
    saved = reader.saved
    fields: dict[str, Any] = {
        "num_feedforward_networks": 1 + count_numbered(saved, f"{reader.prefix}encoder.layer.0.ffn.#."),
        "normalization_type": _normalization(reader),
    }
    if f"{reader.prefix}encoder.layer.0.bottleneck.input.dense.weight" in saved.tensors:
        fields["intra_bottleneck_size"] = reader.shape("encoder.layer.0.bottleneck.input.dense.weight")[0]
    pooler = saved.modules.get(f"{reader.prefix}pooler")
    if pooler is not None:
        fields["classifier_activation"] = "dense" in pooler.children
    return fields


def _normalization(reader: _Reader) -> str:
    node = reader.saved.modules.get(f"{reader.prefix}embeddings.LayerNorm")
    kind = "" if node is None else node.class_path.rpartition(".")[2]
    try:
        return {"NoNorm": "no_norm", "LayerNorm": "layer_norm"}[kind]
    except KeyError:
        raise StateMismatch(f"{reader.saved.path}: a MobileBERT whose embeddings have no LayerNorm or NoNorm") from None


class _Reader:
    """The base model of one file: its tensors, config and layers."""

    def __init__(self, saved: SavedModel, family: Family, inner: str) -> None:
        self.saved, self.family = saved, family
        self.prefix = f"{inner}." if inner else ""
        node = saved.modules.get(inner)
        config = node.get("config") if node is not None else None
        if not isinstance(config, Instance) or not isinstance(config.state, DictNode):
            raise UnsupportedModel(f"{saved.path}: {shown(saved.class_path)} carries no config")
        self.config: Mapping[str, Inert] = config.state.strings()

    def shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self.saved, self.prefix + name, 2)

    def carried(self, names: tuple[str, ...]) -> Inert:
        """The one value that layers have for an attribute; None if none has it."""
        found: list[Inert] = []
        for path, node in self.saved.modules.items():
            if path.startswith(self.prefix):
                found += [node.attributes[name] for name in names if name in node.attributes]
        if any(type(value) not in (bool, int, str) or value != found[0] for value in found):
            raise UnsupportedModel(f"{self.saved.path}: its layers differ in {names[0]}")
        return found[0] if found else None

    def both(self, name: str) -> tuple[Inert, Inert]:
        """What the config says and what the layers carry."""
        return self.config.get(name), self.carried((name,))

    def heads(self, width: int) -> int:
        carried = self.carried(self.family.heads)
        heads = self.config.get(self.family.heads[0]) if carried is None else carried
        if type(heads) is not int or heads < 1 or width % heads:
            raise UnsupportedModel(f"{self.saved.path}: no single number of attention heads that divides {width}")
        return heads

    def flag(self, name: str, names: tuple[str, ...]) -> dict[str, bool]:
        """What the layers carry. A config may hold fields that its library did not know, and so did not follow."""
        value = self.carried(names)
        if value is None:
            return {}
        return {name: self._checked(name, value, lambda v: isinstance(v, bool), "neither true nor false")}

    def number(self, name: str, high: float, optional: bool = False, closed: bool = False) -> dict[str, Any]:
        """``{}`` if the config has no such field."""
        if name not in self.config or (optional and self.config[name] is None):
            return {}

        def fits(value: Any) -> bool:
            real = isinstance(value, (int, float)) and not isinstance(value, bool)
            return real and (0 <= value <= high if closed else 0 < value < high)

        problem = f"no number {'from' if closed else 'between'} 0 {'to' if closed else 'and'} {high:g}"
        return {name: self._checked(name, self.config[name], fits, problem)}

    def token(self, name: str, vocabulary: int) -> int | None:
        value = self.config.get(name)
        if name != "pad_token_id" and not (type(value) is int and 0 <= value < vocabulary):
            return None  # only text generation would use it
        checked: int | None = self._checked(
            name, value, lambda v: v is None or (type(v) is int and 0 <= v < vocabulary), "no row of the vocabulary"
        )
        return checked

    def activation(self, field: str, module: str, attribute: str) -> dict[str, str]:
        found: set[str] = set()
        for path, node in self.saved.modules.items():
            if path.endswith(module) and path.startswith(self.prefix):
                value = node.children.get(attribute, node.get(attribute))
                pickled = value.path if isinstance(value, Global) else getattr(value, "class_path", "nothing")
                found.add(ACTIVATIONS.get(pickled, f"?{pickled}"))
        if len(found) != 1 or next(iter(found)).startswith("?"):
            what = listed(sorted(name.lstrip("?") for name in found)) or "nothing"
            raise UnsupportedModel(f"{self.saved.path}: no single activation function that is known, but {what}")
        return {field: found.pop()}

    def refuse_unusual(self) -> None:
        """What changes the computation and is not built here, or not by today's transformers."""
        where = f"{self.saved.path}: {shown(self.saved.class_path)}"
        for kind in self.both("position_embedding_type"):
            if kind not in (None, "absolute"):
                raise UnsupportedModel(f"{where} with position_embedding_type {_text(kind)}, not absolute")
        for name in ("is_decoder", "add_cross_attention"):
            if any(value not in (None, False) for value in self.both(name)):
                raise UnsupportedModel(f"{where} is used as a decoder ({name}), which no round does")
        for path, node in self.saved.modules.items():
            pruned = node.get("pruned_heads")
            if isinstance(pruned, SetNode) and pruned.items:
                raise UnsupportedModel(f"{where} with pruned attention heads")

    def _checked(self, name: str, value: Inert, fits: Callable[[Any], bool], problem: str) -> Any:
        if not fits(value):
            where = f"{self.saved.path}: the config of {shown(self.saved.class_path)}"
            raise UnsupportedModel(f"{where} has {name} {_text(value)}, {problem}")
        return value


def _text(value: Inert) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge integer"
    return shown(value, 40) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
