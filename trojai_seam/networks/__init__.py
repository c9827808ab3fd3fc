"""From tensors and plain facts to a network: every architecture of the rounds, keyed by the class path in the pickle.

Importing this package, registering a network and :func:`identify` never import torch; :func:`rebuild` and
:func:`check_fit` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import NetworkFacts, identify, named, register_network
from .user import UserCode, code_hash, is_user_code, load_user_networks

if TYPE_CHECKING:
    from .rebuilding import check_fit, rebuild

__all__ = [
    "NetworkFacts",
    "UserCode",
    "check_fit",
    "code_hash",
    "identify",
    "is_user_code",
    "load_user_networks",
    "named",
    "rebuild",
    "register_network",
]


def __getattr__(name: str) -> Any:
    if name in ("check_fit", "rebuild"):
        from . import rebuilding

        return getattr(rebuilding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
