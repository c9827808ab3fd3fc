"""The modules of wide residual networks; :mod:`trojai_seam.networks.wide_resnets` says which a file calls for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from .wide_resnets import WidePlan


class WideBlock(nn.Module):
    """BatchNorm, ReLU and 3×3 convolution, twice; a 1×1 convolution leads around where the width or size changes."""

    def __init__(self, plan: WidePlan, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        strides = (1, stride) if plan.plain else (stride, 1)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, strides[0], 1, bias=plan.biased)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, strides[1], 1, bias=plan.biased)
        self.plain = plan.plain
        changes = inputs != outputs or (plan.plain and stride != 1)
        around = nn.Conv2d(inputs, outputs, 1, stride, bias=plan.biased) if changes else None
        if plan.plain:
            self.shortcut = nn.Sequential(*([around] if around is not None else []))
        else:
            self.convShortcut = around

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[N, outputs, H / stride, W / stride]`` of ``[N, inputs, H, W]``."""
        active = functional.relu(self.bn1(x))
        hidden: torch.Tensor = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        if self.plain:
            kept: torch.Tensor = self.shortcut(x)
            return hidden + kept
        around: torch.Tensor = x if self.convShortcut is None else self.convShortcut(active)
        return hidden + around


class _Stage(nn.Module):
    """The ``block`` layout has one more level of names."""

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        return hidden


class WideResNet(nn.Module):
    """WRN-d-k for small images: a 3×3 stem, three stages of strides 1, 2, 2, BatchNorm, ReLU, mean over the image."""

    def __init__(self, plan: WidePlan) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(plan.channels, plan.stem, 3, 1, 1, bias=plan.biased)
        inputs, self.stage_names = plan.stem, tuple(f"{'layer' if plan.plain else 'block'}{n}" for n in (1, 2, 3))
        for name, width, stride in zip(self.stage_names, plan.widths, (1, 2, 2), strict=True):
            blocks = [
                WideBlock(plan, inputs if not n else width, width, 1 if n else stride) for n in range(plan.blocks)
            ]
            stage = nn.Sequential(*blocks)
            self.add_module(name, stage if plan.plain else _Stage(stage))
            inputs = width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.grid, self.head_name = plan.grid, plan.head
        self.add_module(plan.head, nn.Linear(inputs * plan.grid**2, plan.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of images [N, channels, H, W]."""
        hidden = self.conv1(x)
        for name in self.stage_names:
            hidden = getattr(self, name)(hidden)
        hidden = functional.adaptive_avg_pool2d(functional.relu(self.bn1(hidden)), self.grid).flatten(1)
        logits: torch.Tensor = getattr(self, self.head_name)(hidden)
        return logits
