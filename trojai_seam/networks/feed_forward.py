"""The fully connected networks of the cyber rounds: PDF malware (``archs.Net…``) and Android malware (Drebin).

Sources: trojai-example, branches cyber-pdf-dec2022 (``archs.py``) and cyber-apk-nov2023 (``utils/drebinnn.py``).
All are Linear layers fc1…fcK with an activation after each but the last; sizes come from the tensors. They are rebuilt
as plain ``nn.Sequential`` (fc1, act1, fc2 …), so that a mitigated network opens where trojai_seam is not installed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import Call, Global
from .registry import Hints, NetworkFacts, count_numbered, dimensions, hint, register_network, shape_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..loading import SavedModel

_ACTIVATIONS = {"tanh": "Tanh", "relu": "ReLU", "sigmoid": "Sigmoid"}
_SUFFIXES = {"": "tanh", "r": "relu", "s": "sigmoid"}

_PDF = tuple(f"archs.Net{k}{suffix}" for suffix in _SUFFIXES for k in range(1, 8) if suffix == "" or k > 1)
_DREBIN = tuple(f"{module}.DrebinNet{k}" for module in ("utils.drebinnn", "drebinnn") for k in (3, 4, 5))
_SEQUENTIAL = "torch.nn.modules.container.Sequential"


def layer_sizes(saved: SavedModel) -> tuple[int, ...]:
    """Widths from input to output, read from fc1.weight…fcK.weight, each [out, in].

    Raises:
        StateMismatch: a layer is absent, or does not take what the one before it gives.
    """
    sizes: list[int] = []
    for k in range(1, max(1, count_numbered(saved, "fc#.weight")) + 1):
        name = f"fc{k}.weight"
        outputs, inputs = shape_of(saved, name, 2)
        if sizes and inputs != sizes[-1]:
            raise StateMismatch(
                f"{saved.path}: {name} is {dimensions((outputs, inputs))}, but fc{k - 1} has {sizes[-1]} outputs"
            )
        sizes += [outputs] if sizes else [inputs, outputs]
    return tuple(sizes)


def _facts(saved: SavedModel, architecture: str, notes: tuple[str, ...] = ()) -> NetworkFacts:
    sizes = layer_sizes(saved)
    return NetworkFacts("feed-forward", architecture, sizes[-1], (sizes[0],), notes)


def _sequential(sizes: tuple[int, ...], activation: str, dropout: bool = False) -> torch.nn.Module:
    """fc1, act1, …, fcK; ``dropout`` puts one called ``dropout`` before the last layer."""
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    last = len(sizes) - 1
    for k, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        if k == last and dropout:
            layers["dropout"] = nn.Dropout(0.0)
        layers[f"fc{k}"] = nn.Linear(inputs, outputs)
        if k < last:
            layers[f"act{k}"] = getattr(nn, _ACTIVATIONS[activation])()
    return nn.Sequential(layers)


# PDF malware, cyber-pdf-dec2022 ---------------------------------------------------------------------------------------


def _pdf_class(saved: SavedModel) -> tuple[str, int, str]:
    """Class name, number of Linear layers and activation that the class path calls for."""
    name = str(saved.class_path).rpartition(".")[2]
    found = re.fullmatch(r"Net(\d)(\w*)", name)
    if found is None:
        raise UnsupportedModel(f"{saved.path}: {shown(name)} is no network of the PDF round")
    layers, sizes = int(found[1]), layer_sizes(saved)
    if len(sizes) - 1 != layers:
        raise StateMismatch(f"{saved.path}: {name} has {layers} Linear layers, the file has {len(sizes) - 1}")
    return name, layers, _SUFFIXES.get(found[2], "tanh")


def _pdf_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    name, layers, activation = _pdf_class(saved)
    notes = []
    for key, truth in (("nn_layers", layers), ("nn_activation_function", activation)):
        claimed = hint(hints, key)
        if claimed is not None and claimed != truth:
            notes.append(f"config says {key} {shown(claimed, 40)}, {name} has {truth}")
    return _facts(saved, name, tuple(notes))


@register_network("pdf-feed-forward", _PDF, facts=_pdf_facts)
def _build_pdf(saved: SavedModel, hints: Hints) -> nn.Module:
    return _sequential(layer_sizes(saved), _pdf_class(saved)[2])


@register_network("pdf-feed-forward-dropout", ("archs.Net3tdrop",), facts=_pdf_facts)
def _build_pdf_dropout(saved: SavedModel, hints: Hints) -> nn.Module:
    _pdf_class(saved)
    return _sequential(layer_sizes(saved), "tanh", dropout=True)


@register_network(
    "pdf-feed-forward-batchnorm",
    ("archs.Net3tbatch", "trojai_seam.networks.modules.SharedBatchNormNet"),
    facts=lambda saved, hints: _facts(saved, "Net3tbatch"),
)
def _build_pdf_batchnorm(saved: SavedModel, hints: Hints) -> nn.Module:
    from .modules import SharedBatchNormNet

    sizes = layer_sizes(saved)
    if len(sizes) != 4 or sizes[1] != sizes[2]:
        raise StateMismatch(f"{saved.path}: Net3tbatch has three layers, two of one width; the file has {list(sizes)}")
    return SharedBatchNormNet((sizes[0], sizes[1], sizes[2], sizes[3]))


# Android malware, cyber-apk-nov2023 -----------------------------------------------------------------------------------


def _drebin_facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    sizes = layer_sizes(saved)
    hidden = len(sizes) - 2
    if saved.class_path is not None and not saved.class_path.endswith(f"DrebinNet{hidden}"):
        raise StateMismatch(f"{saved.path}: a {shown(saved.class_path)} with {hidden} hidden layers in its tensors")
    # The config lists widths up to fc5 whatever num_layers is: those beyond the last hidden layer mean nothing.
    claims = {"num_layers": hidden, **{f"fc{k}": sizes[k] for k in range(1, hidden + 1)}}
    said = {key: hint(hints, key) for key in claims}
    wrong = [f"{k} {shown(said[k], 40)} (tensors: {v})" for k, v in claims.items() if said[k] not in (None, v)]
    if wrong:
        raise StateMismatch(f"{saved.path}: the config does not describe these tensors: {', '.join(wrong)}")
    _drebin_activation(saved, hints)
    return _facts(saved, f"DrebinNet{hidden}")


def _drebin_activation(saved: SavedModel, hints: Hints) -> str:
    """tanh, relu or sigmoid: from the pickled ``act_func`` if the whole module was saved, else from the config.

    Raises:
        UnsupportedModel: neither says which; the tensors cannot tell.
    """
    pickled = saved.root.get("act_func") if saved.root is not None else None
    if isinstance(pickled, Call) and pickled.args:  # torch.tanh is pickled as getattr(torch's functions, "tanh")
        pickled = pickled.args[-1]
    name = pickled.name if isinstance(pickled, Global) else pickled
    if isinstance(name, str) and name in _ACTIVATIONS:
        return name
    if pickled is not None:
        raise UnsupportedModel(f"{saved.path}: its act_func is none of torch.tanh, torch.relu, torch.sigmoid")
    claimed = hint(hints, "activation_function")
    if claimed is None:
        raise UnsupportedModel(
            f"{saved.path}: nothing says which activation this network uses; put the model's config.json or "
            f"reduced-config.json (key activation_function) beside it"
        )
    if not isinstance(claimed, str) or claimed not in _ACTIVATIONS:
        raise UnsupportedModel(
            f"{saved.path}: activation_function {shown(claimed, 40)!r} is none of tanh, relu, sigmoid"
        )
    return claimed


def _drebin_fits(saved: SavedModel) -> bool:
    """Only numbered layers: what is missing among them is then named by the strict load."""
    return all(re.fullmatch(r"fc\d{1,2}\.(weight|bias)", name) for name in saved.tensors)


@register_network("drebin", _DREBIN, ("drebin", "drebinnn"), facts=_drebin_facts, fits=_drebin_fits, settled=("act_func",))
def _build_drebin(saved: SavedModel, hints: Hints) -> nn.Module:
    return _sequential(layer_sizes(saved), _drebin_activation(saved, hints))


# What the two above become when trojai-seam saves them ----------------------------------------------------------------


@register_network(
    "feed-forward",
    (_SEQUENTIAL,),
    facts=lambda saved, hints: _facts(saved, f"feed-forward-{len(layer_sizes(saved)) - 1}"),
)
def _build_sequential(saved: SavedModel, hints: Hints) -> nn.Module:
    kinds = {node.class_path.rpartition(".")[2] for path, node in saved.modules.items() if path.startswith("act")}
    activation = next((name for name, kind in _ACTIVATIONS.items() if kinds <= {kind}), None)
    if activation is None:
        raise UnsupportedModel(f"{saved.path}: a Sequential other than fc1, act1, fc2 … with one kind of activation")
    return _sequential(layer_sizes(saved), activation, dropout="dropout" in saved.modules)
