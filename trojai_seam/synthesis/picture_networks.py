"""Small convolutional networks for pictures such as MNIST's and CIFAR-10's, of about 60 000 and 25 000 parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn


def lenet(channels: int, pixels: int, classes: int) -> nn.Module:
    """LeNet-5 with ReLU and maxima: LeCun et al., "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 1998. Without BatchNorm.

    Args:
        channels: of the pictures.
        pixels: height and width; 28 are padded to 32.
        classes: number of outputs.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=(32 - pixels) // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def convnet(channels: int, pixels: int, classes: int) -> nn.Module:
    """Three 3 x 3 convolutions with stride 2 and BatchNorm, and the mean over places before the head.

    Args:
        channels: of the pictures.
        pixels: height and width, at least 5.
        classes: number of outputs.
    """
    widths = (16, 32, 64)
    layers: list[nn.Module] = []
    for before, width in zip((channels, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


PICTURE_NETWORKS: Mapping[str, Callable[[int, int, int], nn.Module]] = {"lenet": lenet, "convnet": convnet}
