"""trojai-seam: does unlearning remove the trojans from TrojAI models, and what does it cost?

The public names below are resolved on first access, so that ``import trojai_seam`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "load_model": "trojai_seam.api",
    "open_subject": "trojai_seam.api",
    "unlearn": "trojai_seam.api",
    "evaluate": "trojai_seam.api",
    "read_results": "trojai_seam.api",
    "evaluate_model": "trojai_seam.own_models",
    "measure_model": "trojai_seam.own_models",
    "unlearn_model": "trojai_seam.own_models",
}
__all__ = [
    "__version__",
    "evaluate",
    "evaluate_model",
    "load_model",
    "measure_model",
    "open_subject",
    "read_results",
    "unlearn",
    "unlearn_model",
]

if TYPE_CHECKING:
    from .api import evaluate, load_model, open_subject, read_results, unlearn
    from .own_models import evaluate_model, measure_model, unlearn_model


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
