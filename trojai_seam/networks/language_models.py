"""The transformers of the text rounds, rebuilt by today's ``transformers`` library from a checked config.

Base models are the frozen embeddings of rounds 5 and 6; heads for token classification, question answering and
sequence classification are rounds 8, 9 and QA 2023; ``model_factories.NerLinearModel`` of round 7 puts a Linear layer
of its own on a base model. Nothing asks a hub. Attention runs as the installed library prefers (SDPA where it can).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import DictNode, Instance
from .class_names import today
from .language_configs import FAMILIES, Family, LanguageConfig, read_config
from .registry import Hints, NetworkFacts, class_count_notes, hint, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_WRAPPER: Final = "model_factories.NerLinearModel"
_INNER: Final = "transformer"

#: Head → the tensors, one of which has a row per output.
_HEADS: Final = {
    "Model": (),
    "ForTokenClassification": ("classifier.weight",),
    "ForSequenceClassification": ("classifier.out_proj.weight", "classifier.weight", "score.weight"),
    "ForQuestionAnswering": ("qa_outputs.weight",),
}
#: Buffers that old versions saved and today's compute.
_LEGACY: Final = (
    r"(.*\.)?embeddings\.(position_ids|token_type_ids)",
    r"(.*\.)?h\.\d+\.attn\.(bias|masked_bias)",
)


def _outputs(saved: SavedModel, head: str) -> int | None:
    """Rows of the head; None for a base model."""
    if not _HEADS[head]:
        return None
    name = next((name for name in _HEADS[head] if name in saved.tensors), _HEADS[head][-1])
    rows = shape_of(saved, name, 2)[0]
    if head == "ForQuestionAnswering" and rows != 2:
        raise StateMismatch(f"{saved.path}: {name} has {rows} rows, not one for the start and one for the end")
    return rows


def _family_facts(saved: SavedModel, hints: Hints, family: Family, head: str) -> NetworkFacts:
    read_config(saved, family, "" if head == "Model" else family.body)
    outputs = _outputs(saved, head)
    architecture, notes = _architecture(hints, family, f"{family.prefix}{head}")
    if outputs is not None and head != "ForQuestionAnswering":
        notes += class_count_notes(hints, outputs, "the head")
    return NetworkFacts(family.name, architecture, outputs, None, notes)


def _architecture(hints: Hints, family: Family, class_name: str) -> tuple[str, tuple[str, ...]]:
    """The config's name (``"deepset/roberta-base-squad2"``) if it is of this family, else the class name and a note."""
    claimed = hint(hints, "model_architecture")
    if not isinstance(claimed, str):
        return class_name, ()
    named = claimed.lower().replace("-", "")
    # The longer names first: "bert" is a part of most of them.
    known = sorted((f.name for f in FAMILIES), key=len, reverse=True)
    if next((name for name in known if name in named), None) == family.name:
        return shown(claimed, 80), ()
    return class_name, (f"config says {shown(claimed, 60)}, the file holds a {class_name}",)


def _build(saved: SavedModel, family: Family, head: str) -> nn.Module:
    config = read_config(saved, family, "" if head == "Model" else family.body)
    return _constructed(saved, family, head, config)


def _constructed(saved: SavedModel, family: Family, head: str, config: LanguageConfig) -> nn.Module:
    name = f"transformers.models.{family.name}"
    configuration: Any = import_module(f"{name}.configuration_{family.name}")
    modeling: Any = import_module(f"{name}.modeling_{family.name}")
    fields = dict(config.fields)
    outputs = _outputs(saved, head)
    if outputs is not None:
        fields |= {"num_labels": outputs} | _labels(saved, outputs)
    if family.name == "gpt2":
        fields["use_cache"] = False  # nothing generates text here
        if fields.get("scale_attn_weights") is False or fields.get("scale_attn_by_inverse_layer_idx"):
            fields["attn_implementation"] = "eager"  # SDPA of transformers 4.44 to 4.57 does not look at these
    made = getattr(configuration, f"{family.prefix}Config")(**fields)
    model_class = getattr(modeling, f"{family.prefix}{head}", None)
    if model_class is None:
        raise UnsupportedModel(f"{saved.path}: the installed transformers has no {family.prefix}{head}")
    pooled = {"add_pooling_layer": config.pooled} if head == "Model" and config.pooled is not None else {}
    network: nn.Module = model_class(made, **pooled)
    _settle(network)
    return network


def _labels(saved: SavedModel, outputs: int) -> dict[str, Any]:
    """The names of the outputs, if the config has one for each."""
    config = saved.root.get("config") if saved.root is not None else None
    table = config.get("id2label") if isinstance(config, Instance) else None
    if not isinstance(table, DictNode) or len(table) != outputs:
        return {}
    names = {key: value for key, value in table.pairs if type(key) is int and isinstance(value, str)}
    if sorted(names) != list(range(outputs)) or any(len(name) > 200 for name in names.values()):
        return {}
    return {"id2label": names, "label2id": {name: key for key, name in names.items()}}


def _settle(network: nn.Module) -> None:
    """Give the buffers outside the state dict real values, also where everything else is made without memory."""
    import torch

    for module in network.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if not buffer.is_meta or name not in ("position_ids", "token_type_ids"):
                continue
            length = buffer.shape[-1]
            row = torch.arange(length, device="cpu") if name == "position_ids" else torch.zeros(length, device="cpu")
            module.register_buffer(name, row.long().expand(tuple(buffer.shape)), persistent=False)


#: A pooler that transformers 3 made for heads that do not look at it.
_UNUSED_POOLER: Final = (r".*\.pooler\.dense\.(weight|bias)",)


def _register(family: Family, head: str) -> None:
    pooled = head == "Model" or (head == "ForSequenceClassification" and family.name in ("bert", "mobilebert"))
    class_path = f"transformers.models.{family.name}.modeling_{family.name}.{family.prefix}{head}"
    register_network(
        f"{family.name}-{head}",
        (class_path,),
        facts=lambda saved, hints: _family_facts(saved, hints, family, head),
        ignored_keys=_LEGACY if pooled else _LEGACY + _UNUSED_POOLER,
    )(lambda saved, hints: _build(saved, family, head))


for _family in FAMILIES:
    for _head in _HEADS:
        _register(_family, _head)


# Round 7 --------------------------------------------------------------------------------------------------------------


def _wrapped(saved: SavedModel) -> Family:
    """The family of the base model inside NIST's wrapper."""
    node = saved.modules.get(_INNER)
    path = "nothing" if node is None else today(node.class_path)
    for family in FAMILIES:
        if path == f"transformers.models.{family.name}.modeling_{family.name}.{family.prefix}Model":
            return family
    raise UnsupportedModel(f"{saved.path}: {shown(saved.class_path)} around {shown(path, 100)}, which is not known")


def _wrapper_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    family = _wrapped(saved)
    read_config(saved, family, _INNER)
    outputs = shape_of(saved, "classifier.weight", 2)[0]
    notes = class_count_notes(hints, outputs, "classifier.weight")
    claimed = hint(hints, "embedding")
    if isinstance(claimed, str) and claimed.lower().replace("-", "") != family.name:
        notes += (f"config says embedding {shown(claimed, 40)}, the file holds a {family.prefix}Model",)
    return NetworkFacts("ner-linear", "NerLinear", outputs, None, notes)


@register_network(
    "ner-linear",
    (_WRAPPER, "trojai_seam.networks.modules.NerLinear"),
    facts=_wrapper_facts,
    ignored_keys=_LEGACY,
)
def _build_wrapper(saved: SavedModel, hints: Hints) -> nn.Module:
    from .modules import NerLinear

    family = _wrapped(saved)
    base = _constructed(saved, family, "Model", read_config(saved, family, _INNER))
    classes, width = shape_of(saved, "classifier.weight", 2)
    ignored = saved.root.get("ignore_index") if saved.root is not None else None
    if ignored not in (None, -100):
        raise UnsupportedModel(f"{saved.path}: ignore_index is not -100, as everywhere in round 7")
    return NerLinear(base, width, classes)
