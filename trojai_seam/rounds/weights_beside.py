"""Round 13 ships the weights of every model twice, in ``model.pt`` and as a bare state dict: do they agree?

The network in ``model.pt`` is the one that is evaluated, so a disagreement is a note in the row and no failure.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import RefusedArchive, listed
from ..loading import Budget, SavedModel, read_model

STATE_DICT = "model-state-dict.pt"


def disagreement(saved: SavedModel, budget: Budget) -> str | None:
    """What a reader of the row should know about the state dict beside ``saved``; None if there is none, or it agrees.

    Tensors are compared byte by byte, one at a time.
    """
    path = Path(saved.path).parent / STATE_DICT
    if not path.is_file():
        return None
    try:
        beside = read_model(path, budget)
        if beside.kind != "state-dict":
            return f"{STATE_DICT} beside the model holds no state dict"
        unlike = _unlike(saved, beside)
    except RefusedArchive as problem:
        return f"{STATE_DICT} beside the model cannot be read: {problem}"
    if not unlike:
        return None
    return f"{STATE_DICT} differs from the model's weights in {len(unlike)} tensors ({listed(unlike, 2)})"


def _unlike(saved: SavedModel, beside: SavedModel) -> list[str]:
    """Names of tensors that only one of both has, or that differ in shape, type or a single bit."""
    names = sorted(saved.tensors.keys() ^ beside.tensors.keys())
    for name, ours in saved.tensors.items():
        theirs = beside.tensors.get(name)
        if theirs is None:
            continue
        alike = (ours.size, ours.dtype) == (theirs.size, theirs.dtype)
        if not alike or not torch.equal(_bits(saved.tensor(ours)), _bits(beside.tensor(theirs))):
            names.append(name)
    return names


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten().view(torch.uint8)
