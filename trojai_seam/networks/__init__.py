"""From tensors and plain facts to a network: every architecture of the rounds, keyed by the class path in the pickle.

Importing this package, registering a network and :func:`identify` never import torch; :func:`rebuild` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import NetworkFacts, identify, named, register_network
from .user import UserCode, code_hash, is_user_code, load_user_networks

if TYPE_CHECKING:
    from .rebuilding import rebuild

__all__ = [
    "NetworkFacts",
    "UserCode",
    "code_hash",
    "identify",
    "is_user_code",
    "load_user_networks",
    "named",
    "rebuild",
    "register_network",
]


def __getattr__(name: str) -> Any:
    if name == "rebuild":
        from .rebuilding import rebuild

        return rebuild
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
