"""Detectors that pickle as round 10's do: ``models.SSD`` and ``models.FasterRCNN``, importable from nowhere afterwards.

NIST wrapped torchvision's classes in its own of the same names, two inner ones of Faster R-CNN included; they add
methods and no state (trojai-example, branch object-detection-jul2022, ``models.py``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from .archs import importable

WRAPPED = ("FasterRCNN", "RegionProposalNetwork", "RoIHeads", "SSD")
MODULE = "models"


def save_wrapped(network: nn.Module, path: Path) -> None:
    """``torch.save`` of ``network`` with NIST's classes where it has torchvision's; ``network`` stays as it is."""
    own = {kind: _wrapper(kind) for kind in {type(part) for part in network.modules()} if kind.__name__ in WRAPPED}
    changed = [(part, type(part)) for part in network.modules() if type(part) in own]
    try:
        for part, kind in changed:
            part.__class__ = own[kind]
        with importable(*own.values()):
            torch.save(network, path)
    finally:
        for part, kind in changed:
            part.__class__ = kind


def _wrapper(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"__module__": MODULE})
