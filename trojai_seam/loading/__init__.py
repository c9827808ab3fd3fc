"""From an untrusted file of ``torch.save`` to tensors and facts. Nothing in the file is imported, called or run."""

from .budget import Budget
from .description import describe, render
from .state import SavedModel, read_model, read_object
from .tokenizer import TextTokenizer, read_tokenizer
from .tree import ModuleNode

__all__ = [
    "Budget",
    "ModuleNode",
    "SavedModel",
    "TextTokenizer",
    "describe",
    "read_model",
    "read_object",
    "read_tokenizer",
    "render",
]
