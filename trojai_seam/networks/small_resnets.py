"""ResNets for small images: those of He et al. for CIFAR, of kuangliu/pytorch-cifar, and with pre-activation.

Sources: arXiv 1512.03385 (ResNet-20 to 110, three stages from 16 channels; its option A widens by zeros, without
weights), 1603.05027 (pre-activation). Layouts of names: kuangliu/pytorch-cifar (``shortcut``, ``linear``), also used by
BackdoorBench, and that of torchvision with a 3×3 stem (``downsample``, ``fc``). Everything is read from the tensors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class ResNetPlan(NamedTuple):
    """What the tensors of a small ResNet say.

    Attributes:
        channels: of the image.
        widths: channels inside the blocks of each stage; the stem gives ``stem``.
        blocks: of each stage.
        bottleneck: three convolutions per block, of which the last gives four times the width.
        preactivated: BatchNorm and ReLU come before every convolution.
        shortcut: name of the blocks' shortcut, ``shortcut`` or ``downsample``.
        head: name of the last layer, ``linear`` or ``fc``.
        classes: rows of the head.
        grid: height and width of what is left of the image before the head.
        max_pool: the stem ends with a 3×3 pooling of stride 2.
        final_norm: a BatchNorm called ``bn`` and ReLU come before the mean (some with pre-activation).
    """

    channels: int
    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    bottleneck: bool
    preactivated: bool
    shortcut: str
    head: str
    classes: int
    grid: int = 1
    max_pool: bool = False
    final_norm: bool = False

    @property
    def expansion(self) -> int:
        """Channels that a block gives, as a multiple of its width."""
        return 4 if self.bottleneck else 1

    @property
    def depth(self) -> int:
        """Layers with weights, as the papers count them."""
        return sum(self.blocks) * (3 if self.bottleneck else 2) + 2


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class WidenedByZeros(nn.Module):
    """The shortcut without weights (option A): every second pixel, and zeros for the new channels on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[N, outputs, H / stride, W / stride]`` of ``[N, inputs, H, W]``."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3 and 1×1, around which a shortcut leads."""

    def __init__(self, plan: ResNetPlan, inputs: int, width: int, stride: int, weights: bool) -> None:
        super().__init__()
        outputs = width * plan.expansion
        sizes, strides = ((1, 3, 1), (1, stride, 1)) if plan.bottleneck else ((3, 3), (stride, 1))
        widths = (inputs, *[width] * (len(sizes) - 1), outputs)
        for number, (size, step) in enumerate(zip(sizes, strides, strict=True), 1):
            before, after = widths[number - 1], widths[number]
            self.add_module(f"conv{number}", _conv(before, after, size, step))
            self.add_module(f"bn{number}", nn.BatchNorm2d(before if plan.preactivated else after))
        self.layers = len(sizes)
        self.preactivated = plan.preactivated
        self.widen: nn.Module | None = None
        self.shortcut_name = plan.shortcut
        if weights:
            norm = [] if plan.preactivated else [nn.BatchNorm2d(outputs)]
            self.add_module(plan.shortcut, nn.Sequential(_conv(inputs, outputs, 1, stride), *norm))
        elif inputs != outputs or stride != 1:
            self.widen = WidenedByZeros(inputs, outputs, stride)

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.widen or self._modules.get(self.shortcut_name)
        result: torch.Tensor = x if layer is None else layer(x)
        return result

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[N, outputs, H / stride, W / stride]`` of ``[N, inputs, H, W]``."""
        convolutions = [getattr(self, f"conv{number}") for number in range(1, self.layers + 1)]
        norms = [getattr(self, f"bn{number}") for number in range(1, self.layers + 1)]
        hidden, first = x, True
        if self.preactivated:
            kept = x
            for norm, convolution in zip(norms, convolutions, strict=True):
                hidden = functional.relu(norm(hidden))
                if first and self.shortcut_name in self._modules:
                    kept = self._shortcut(hidden)
                hidden, first = convolution(hidden), False
            return hidden + (self.widen(x) if self.widen is not None else kept)
        for norm, convolution in zip(norms, convolutions, strict=True):
            hidden = norm(convolution(hidden if first else functional.relu(hidden)))
            first = False
        return functional.relu(hidden + self._shortcut(x))


class SmallResNet(nn.Module):
    """A ResNet whose stem is one 3×3 convolution of stride 1."""

    def __init__(self, plan: ResNetPlan, with_weights: tuple[tuple[bool, ...], ...]) -> None:
        """``with_weights`` says for every block of every stage whether its shortcut has weights."""
        super().__init__()
        self.conv1 = _conv(plan.channels, plan.stem, 3)
        if not plan.preactivated:
            self.bn1 = nn.BatchNorm2d(plan.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if plan.max_pool else nn.Identity()
        inputs = plan.stem
        self.stages = len(plan.blocks)
        for stage, (width, blocks) in enumerate(zip(plan.widths, plan.blocks, strict=True)):
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(ResidualBlock(plan, inputs, width, stride, with_weights[stage][block]))
                inputs = width * plan.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        if plan.final_norm:
            self.bn = nn.BatchNorm2d(inputs)
        self.grid, self.head_name = plan.grid, plan.head
        self.add_module(plan.head, nn.Linear(inputs * plan.grid**2, plan.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of images [N, channels, H, W]."""
        hidden = self.conv1(x)
        if "bn1" in self._modules:
            hidden = functional.relu(self.bn1(hidden))
        hidden = self.maxpool(hidden)
        for stage in range(1, self.stages + 1):
            hidden = getattr(self, f"layer{stage}")(hidden)
        if "bn" in self._modules:
            hidden = functional.relu(self.bn(hidden))
        hidden = functional.adaptive_avg_pool2d(hidden, self.grid).flatten(1)
        logits: torch.Tensor = getattr(self, self.head_name)(hidden)
        return logits
