"""Tiny convolutional networks, and clean and triggered images for them, for tests of methods made for such networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trojai_seam.tasks import ExampleSet, Task, get_task
from trojai_seam.unlearning import UnlearnConfig
from trojai_seam.unlearning.context import Context
from trojai_seam.unlearning.optimization import Adam

CLASSES = 3


class Residual(nn.Module):
    """Two stages, of 8 and of 4 places a side, with a block in each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.first, self.second = Block(8, 8, 1), Block(8, 16, 2)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.first(self.relu(self.norm(self.stem(x)))))
        return self.head(self.pool(out).flatten(1))


class Block(nn.Module):
    def __init__(self, given: int, gives: int, stride: int) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(given, gives, 3, stride, 1), nn.BatchNorm2d(gives), nn.ReLU()
        self.short = nn.Conv2d(given, gives, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)) + self.short(x))


def plain() -> nn.Sequential:
    """A VGG in small: maps of 8 and of 4 places a side, the last one flattened into two linear layers."""
    first = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, CLASSES))


def seeded(make: type[nn.Module] | object = plain, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net: nn.Module = make()  # type: ignore[operator]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net.eval()


def images(count: int = 18, seed: int = 1) -> ExampleSet:
    """Random images, of which one colour is raised: the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    x = torch.rand(count, 3, 8, 8, generator=generator) / 2
    x[torch.arange(count), labels] += 0.5
    return ExampleSet({"x": x}, labels, tuple(f"image {number}" for number in range(count)))


def task() -> Task:
    return get_task("classification", CLASSES)


def context_of(net: nn.Module, fit: ExampleSet | None = None, seed: int = 0, **config: object) -> Context:
    """As the engine makes it, but around ``net`` itself."""
    return Context(net, net, task(), fit or images(), UnlearnConfig(**config), seed, None)


def trained(net: nn.Module, fit: ExampleSet, steps: int = 40, rate: float = 0.02) -> nn.Module:
    """``net`` after some steps on ``fit``, in eval mode."""
    optimizer = Adam(net.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(fit.inputs["x"]), fit.labels).backward()
        optimizer.step()
    return net.eval()
