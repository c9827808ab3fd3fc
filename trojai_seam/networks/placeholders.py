"""Layers that do nothing in eval mode: Identity, dropout, stochastic depth. One may stand where the other does.

Their rates are taken from the file, because unlearning trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from .class_names import of_class, today

if TYPE_CHECKING:
    from ..loading import ModuleNode

_DROPOUT: Final = "torch.nn.modules.dropout."
_IDENTITY: Final = "torch.nn.modules.linear.Identity"
_EMPTY: Final = frozenset({"torch.nn.modules.container.Sequential"})
#: Today's class path → how one is made; rates and modes are then taken from the file like all attributes.
_MAKERS: Final[Mapping[str, Callable[[type[Any]], Any]]] = {
    _IDENTITY: lambda kind: kind(),
    **dict.fromkeys(
        (
            _DROPOUT + name
            for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
        ),
        lambda kind: kind(),
    ),
    "torchvision.ops.stochastic_depth.StochasticDepth": lambda kind: kind(0.0, "row"),
    "timm.layers.drop.DropPath": lambda kind: kind(),
}


def does_nothing(class_path: str) -> bool:
    """Whether layers of this class (:func:`.class_names.today`) are the identity in eval mode."""
    return class_path in _MAKERS


def is_placeholder(module: nn.Module) -> bool:
    """Whether ``module`` is the identity in eval mode."""
    return of_class(type(module)) in _MAKERS


def replaced(node: ModuleNode, rebuilt: nn.Module) -> nn.Module | None:
    """What stands in the network for a layer that does nothing in the file and another that does nothing in the
    network: ``rebuilt`` itself with its rate at 0, or a new layer of the file's class. None if there is none.
    """
    theirs, ours = today(node.class_path), of_class(type(rebuilt))
    if theirs == _IDENTITY:
        for rate in ("p", "drop_prob"):
            if hasattr(rebuilt, rate):
                setattr(rebuilt, rate, 0.0)
                return rebuilt
        return nn.Identity()
    if ours.startswith(_DROPOUT) and not theirs.startswith(_DROPOUT):
        return None  # some ask a dropout for its p
    module, _, name = theirs.rpartition(".")
    return _MAKERS[theirs](getattr(import_module(module), name))  # type: ignore[no-any-return]
