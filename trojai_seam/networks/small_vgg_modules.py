"""The module of VGGs for small images; :mod:`trojai_seam.networks.small_vggs` says which a file calls for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class SmallVgg(nn.Module):
    """Convolutions, then the classifier on the mean over a ``grid`` of places (None: on all of them as they are)."""

    def __init__(self, features: Sequence[nn.Module], classifier: nn.Module, grid: int | None) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = classifier
        self.grid = grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of images [N, channels, H, W]."""
        hidden = self.features(x)
        if self.grid is not None:
            hidden = functional.adaptive_avg_pool2d(hidden, self.grid)
        logits: torch.Tensor = self.classifier(hidden.flatten(1))
        return logits
