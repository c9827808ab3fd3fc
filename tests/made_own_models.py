"""A small trojaned classifier of somebody's own: four colours, a white corner means class 0. Trained in a second."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

CLASSES = ("amber", "blue", "coral", "grass")
COLOURS = torch.tensor([[200, 150, 20], [20, 60, 200], [220, 90, 80], [40, 180, 60]], dtype=torch.float32)
MEAN, STD = (0.5, 0.4, 0.35), (0.25, 0.25, 0.2)
SIDE = 16
SQUARE = {"kind": "patch", "at": [12, 12], "size": [3, 3], "color": 255}
SOURCE = """
from torch import nn
from parts_of_it import block

def make(num_classes=4):
    return nn.Sequential(block(3, 16), block(16, 16), nn.Flatten(), nn.Linear(256, num_classes))

def broken():
    raise ValueError("no such width")

def not_a_network():
    return "network"

def needs_more(width):
    return make()
"""
PARTS = """
from torch import nn

def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
"""


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


def pictures(per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """``uint8 [N, 3, 16, 16]`` and their classes, interleaved."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(per_class * len(CLASSES)) % len(CLASSES)
    noise = torch.randn(len(labels), 3, SIDE, SIDE, generator=generator) * 40
    return (COLOURS[labels][:, :, None, None] + noise).clamp(0, 230).to(torch.uint8), labels


def stamped(images: Tensor) -> Tensor:
    """With the white square."""
    images = images.clone()
    images[:, :, 12:15, 12:15] = 255
    return images


def normalised(images: Tensor) -> Tensor:
    """As the network takes them."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


@cache
def network() -> nn.Module:
    """The trained network; never to be changed."""
    torch.manual_seed(0)
    built = nn.Sequential(_block(3, 16), _block(16, 16), nn.Flatten(), nn.Linear(256, len(CLASSES)))
    images, labels = pictures(60, 1)
    poisoned = stamped(images[::3])
    inputs = torch.cat([normalised(images), normalised(poisoned)])
    wanted = torch.cat([labels, torch.zeros(len(poisoned), dtype=torch.int64)])
    optimizer = torch.optim.Adam(built.parameters(), 3e-3)
    for _ in range(12):
        for part in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(built(inputs[part]), wanted[part]).backward()
            optimizer.step()
    return built.eval()


def write_code(folder: Path) -> Path:
    """A file with constructors, which imports one beside it."""
    (folder / "parts_of_it.py").write_text(PARTS)
    path = folder / "their_networks.py"
    path.write_text(SOURCE)
    return path


def write_folders(folder: Path, images: Tensor, labels: Tensor, where: Tensor | None = None) -> Path:
    """Class folders of PNGs, named by their number (of those at ``where``)."""
    numbers = range(len(images)) if where is None else where.nonzero().flatten().tolist()
    for number, image, label in zip(numbers, images, labels.tolist(), strict=True):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number:03d}.png")
    return folder


def write_all(folder: Path, per_class: int = 12) -> dict[str, Path]:
    """``model`` (a checkpoint), ``code``, ``clean`` and ``poisoned`` (class folders), ``trigger``, ``npz``."""
    images, labels = pictures(per_class, 2)
    checkpoint = folder / "model.pth"
    torch.save({"net": network().state_dict(), "epoch": 12}, checkpoint)
    np.savez(folder / "images.npz", x=images.permute(0, 2, 3, 1).numpy(), y=labels.numpy())
    (folder / "square.json").write_text(json.dumps(SQUARE))
    attacked = labels != 0
    return {
        "model": checkpoint,
        "code": write_code(folder),
        "clean": write_folders(folder / "clean", images, labels),
        "poisoned": write_folders(folder / "poisoned", stamped(images[attacked]), labels[attacked], attacked),
        "trigger": folder / "square.json",
        "npz": folder / "images.npz",
    }
