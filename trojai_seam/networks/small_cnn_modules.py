"""The modules of networks with two convolutions; sources in :mod:`trojai_seam.networks.small_cnns`.

Each is made from the shapes of its weights, and gives logits [N, C] of images [N, channels, H, W].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

Sizes = Mapping[str, tuple[int, ...]]


def _conv(sizes: Sizes, name: str, padding: int = 0) -> nn.Conv2d:
    outputs, inputs, height, _ = sizes[f"{name}.weight"]
    return nn.Conv2d(inputs, outputs, height, padding=padding)


def _linear(sizes: Sizes, name: str) -> nn.Linear:
    outputs, inputs = sizes[f"{name}.weight"]
    return nn.Linear(inputs, outputs)


class LeNet(nn.Module):
    """LeNet-5 with ReLU and MaxPool. On 28×28 pixels, 400 features mean that the first convolution is padded."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        padded = sizes["fc1.weight"][1] == 400 and sizes["conv1.weight"][1] == 1
        self.conv1 = _conv(sizes, "conv1", 2 if padded else 0)
        self.conv2 = _conv(sizes, "conv2")
        self.fc1, self.fc2, self.fc3 = (_linear(sizes, name) for name in ("fc1", "fc2", "fc3"))

    def _half(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(functional.relu(x), 2)

    def _active(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self._half(self.conv2(self._half(self.conv1(x)))).flatten(1)
        logits: torch.Tensor = self.fc3(self._active(self.fc2(self._active(self.fc1(hidden)))))
        return logits


class TanhLeNet(LeNet):
    """LeNet-5 with tanh and mean pooling."""

    def _half(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(torch.tanh(x), 2)

    def _active(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


class MnistCnn(nn.Module):
    """``Net`` of pytorch/examples since 2019; its log-softmax at the end is kept, which moves no answer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(sizes, "conv1"), _conv(sizes, "conv2")
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = _linear(sizes, "fc1"), _linear(sizes, "fc2")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        hidden = self.dropout1(functional.max_pool2d(hidden, 2)).flatten(1)
        hidden = self.dropout2(functional.relu(self.fc1(hidden)))
        return functional.log_softmax(self.fc2(hidden), dim=1)


class OldMnistCnn(nn.Module):
    """``Net`` of pytorch/examples until 2018."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(sizes, "conv1"), _conv(sizes, "conv2")
        self.conv2_drop = nn.Dropout2d()
        self.fc1, self.fc2 = _linear(sizes, "fc1"), _linear(sizes, "fc2")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv2_drop(self.conv2(hidden)), 2)).flatten(1)
        hidden = functional.dropout(functional.relu(self.fc1(hidden)), training=self.training)
        return functional.log_softmax(self.fc2(hidden), dim=1)


class BadNetsCnn(nn.Module):
    """Two convolutions with mean pooling, two Linear layers; gives shares that sum to 1, as the published one does."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_conv(sizes, "conv1.0"), nn.ReLU(), nn.AvgPool2d(2, 2))
        self.conv2 = nn.Sequential(_conv(sizes, "conv2.0"), nn.ReLU(), nn.AvgPool2d(2, 2))
        self.fc1 = nn.Sequential(_linear(sizes, "fc1.0"), nn.ReLU())
        self.fc2 = nn.Sequential(_linear(sizes, "fc2.0"), nn.Softmax(dim=-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares: torch.Tensor = self.fc2(self.fc1(self.conv2(self.conv1(x)).flatten(1)))
        return shares
