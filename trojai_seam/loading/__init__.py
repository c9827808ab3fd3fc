"""From an untrusted file of ``torch.save`` to tensors and facts. Nothing in the file is imported, called or run."""

from .budget import Budget
from .description import describe, render
from .state import SavedModel, read_model, read_object
from .tree import ModuleNode

__all__ = ["Budget", "ModuleNode", "SavedModel", "describe", "read_model", "read_object", "render"]
