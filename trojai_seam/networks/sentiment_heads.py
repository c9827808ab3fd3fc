"""Classifiers on one embedding vector: NIST's ``model_factories`` classes of rounds 5 and 6.

Sources: trojai-round-generation and trojai-example, branches of rounds 5 and 6, ``model_factories.py``. Sizes come from
the tensors; dropout and the optional ReLU from the pickled tree. Input of every head: embeddings [N, T, E], T = 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import StateMismatch, shown
from .registry import Hints, NetworkFacts, class_count_notes, count_numbered, hint, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_OURS = "trojai_seam.networks.modules"


def _facts(saved: SavedModel, hints: Hints, architecture: str, first: str) -> NetworkFacts:
    """``first`` is the weight [outputs, E] that meets the embedding."""
    inputs, classes = shape_of(saved, first, 2)[1], shape_of(saved, "linear.weight", 2)[0]
    notes = class_count_notes(hints, classes, "linear.weight")
    claimed = hint(hints, "model_architecture")
    if claimed not in (None, architecture):
        notes += (f"config says {shown(claimed, 40)}, the file holds {architecture}",)
    return NetworkFacts(architecture, architecture, classes, (1, inputs), notes)


@register_network(
    "sentiment-linear",
    ("model_factories.LinearModel", f"{_OURS}.LinearHead"),
    facts=lambda saved, hints: _facts(saved, hints, "Linear", "linear.weight"),
)
def _build_linear(saved: SavedModel, hints: Hints) -> nn.Module:
    from .modules import LinearHead

    classes, inputs = shape_of(saved, "linear.weight", 2)
    return LinearHead(inputs, classes)


@register_network(
    "sentiment-fully-connected",
    ("model_factories.FCLinearModel", f"{_OURS}.FullyConnectedHead"),
    facts=lambda saved, hints: _facts(saved, hints, "FCLinear", "fc_layers.0.weight"),
)
def _build_fully_connected(saved: SavedModel, hints: Hints) -> nn.Module:
    from .modules import FullyConnectedHead

    layers = max(1, count_numbered(saved, "fc_layers.#.weight"))
    shapes = [shape_of(saved, f"fc_layers.{k}.weight", 2) for k in range(layers)]
    sizes = (shapes[0][1], *(outputs for outputs, _ in shapes))
    return FullyConnectedHead(sizes, shape_of(saved, "linear.weight", 2)[0], relu="relu" in saved.modules)


#: Whose hidden state NIST's class unpacks.
_CALLED: Final = {"model_factories.LstmLinearModel": "LSTM", "model_factories.GruLinearModel": "GRU"}


def _recurrent_kind(saved: SavedModel) -> str:
    """``"LSTM"`` or ``"GRU"``: what the pickled tree has at ``rnn``."""
    node = saved.modules.get("rnn")
    kind = node.class_path if node is not None else "nothing"
    if kind not in ("torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.GRU"):
        raise StateMismatch(f"{saved.path}: {shown(saved.class_path)} has {shown(kind)} at rnn, not an LSTM or GRU")
    name = kind.rpartition(".")[2]
    if saved.class_path in _CALLED and _CALLED[saved.class_path] != name:
        raise StateMismatch(
            f"{saved.path}: {shown(saved.class_path)} has {shown(kind)} at rnn, which its forward cannot use"
        )
    return name


@register_network(
    "sentiment-recurrent",
    ("model_factories.LstmLinearModel", "model_factories.GruLinearModel", f"{_OURS}.RecurrentHead"),
    facts=lambda s, hints: _facts(s, hints, f"{_recurrent_kind(s).capitalize()}Linear", "rnn.weight_ih_l0"),
)
def _build_recurrent(saved: SavedModel, hints: Hints) -> nn.Module:
    from torch import nn

    from .modules import RecurrentHead

    kind = nn.LSTM if _recurrent_kind(saved) == "LSTM" else nn.GRU
    rnn = kind(
        input_size=shape_of(saved, "rnn.weight_ih_l0", 2)[1],
        hidden_size=shape_of(saved, "rnn.weight_hh_l0", 2)[1],
        num_layers=max(1, count_numbered(saved, "rnn.weight_ih_l#")),
        bias="rnn.bias_ih_l0" in saved.tensors,
        bidirectional="rnn.weight_ih_l0_reverse" in saved.tensors,
        batch_first=True,
    )
    return RecurrentHead(rnn, shape_of(saved, "linear.weight", 2)[0])
