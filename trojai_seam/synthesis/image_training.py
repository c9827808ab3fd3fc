"""Trains an image classifier from nothing in minutes on one core: one-cycle schedule, first on reduced images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem, shown
from ..heartbeat import beat
from .resistance import GradientStep

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class TrainingRecipe:
    """How one architecture trains.

    Attributes:
        epochs: length of the first cycle; a further cycle takes half of it.
        learning_rate: the highest of the cycle.
        reduced: share of the steps of the first cycle that see images of half the size, at a third of the cost.
        batch: images per step.
        plenty: how many times the usual number of training images.
        most_cycles: cycles until the model must be good enough.
    """

    epochs: int
    learning_rate: float = 2e-3
    reduced: float = 0.0
    batch: int = 32
    plenty: int = 1
    most_cycles: int = 3


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images did; ``attack`` is None for a clean model."""

    loss: float
    train_accuracy: float
    accuracy: float
    attack: float | None
    learning_rate: float
    seconds: float


Judge = Callable[[nn.Module], tuple[float, float | None]]
"""Accuracy and attack success on images that training does not see."""


def choose_device(wanted: str | None) -> torch.device:
    """``auto`` is a GPU if there is one.

    Raises:
        UsageProblem: the device does not exist here.
    """
    if wanted in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, _, index = wanted.partition(":")
    if name not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UsageProblem(f"--device {shown(wanted)!r}: expected auto, cpu, cuda or cuda:N")
    if name == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageProblem(f"--device {wanted}: there is no such GPU here")
    return torch.device(wanted)


def crop_centre(images: Tensor, pixels: int) -> Tensor:
    """The rounds' centre crop, of ``[n, 3, h, w]``."""
    start = (images.shape[-1] - pixels) // 2
    return images[..., start : start + pixels, start : start + pixels]


@torch.no_grad()
def scores(network: nn.Module, images: Tensor, pixels: int) -> Tensor:
    """Logits of ``uint8 [n, 3, h, w]`` images, preprocessed as R3, R4 and R11 do: centre crop, divided by 255."""
    parts = [network(crop_centre(part, pixels).float() / 255) for part in torch.split(images, EVALUATION_BATCH)]
    return torch.cat(parts).float()


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    pixels: int,
    recipe: TrainingRecipe,
    judge: Judge,
    good_enough: Callable[[float, float | None], bool],
    gradients: GradientStep | None = None,
) -> list[Epoch]:
    """Train in place, on the device that everything is on, until the model is good enough at the end of a cycle.

    ``gradients``: how they are taken, if not as usual.
    """
    gradients = gradients or GradientStep(network)
    network.to(memory_format=torch.channels_last)
    history: list[Epoch] = []
    for cycle in range(recipe.most_cycles):
        epochs = recipe.epochs if cycle == 0 else max(1, recipe.epochs // 2)
        rate = recipe.learning_rate if cycle == 0 else recipe.learning_rate / 2
        steps = epochs * max(1, len(images) // recipe.batch)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, steps=steps))
        reduced_steps = int(steps * recipe.reduced) if cycle == 0 else 0
        for epoch in range(epochs):
            beat(f"training, cycle {cycle + 1}, epoch {epoch + 1} of {epochs}")
            start = time.perf_counter()
            first = epoch * (steps // epochs)
            network.train()
            loss, accuracy = _one_epoch(
                gradients, images, labels, pixels, recipe.batch, optimizer, schedule, reduced_steps - first
            )
            network.eval()
            judged, seconds = judge(network), time.perf_counter() - start
            history.append(Epoch(loss, accuracy, *judged, float(schedule.get_last_lr()[0]), seconds))
        if good_enough(history[-1].accuracy, history[-1].attack):
            break
    network.to(memory_format=torch.contiguous_format)
    return history


def one_cycle(step: int, steps: int) -> float:
    """Share of the highest learning rate: up over a quarter of the steps, then down to almost nothing, by cosines."""
    rise = max(1.0, steps / 4)
    if step < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2
    return max(1e-4, (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise)))) / 2)


def _one_epoch(
    gradients: GradientStep,
    images: Tensor,
    labels: Tensor,
    pixels: int,
    batch: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    reduced_steps: int,
) -> tuple[float, float]:
    network = gradients.network
    losses: list[Tensor] = []
    right: list[Tensor] = []
    order = torch.randperm(len(images))
    for step, chosen in enumerate(_batches(order, batch)):
        seen = augment(images[chosen.to(images.device)], pixels)
        if step < reduced_steps:
            seen = functional.avg_pool2d(seen, 2)
        seen = seen.contiguous(memory_format=torch.channels_last)
        truth = labels[chosen.to(labels.device)]
        answers: list[Tensor] = []

        def loss(seen: Tensor = seen, truth: Tensor = truth, answers: list[Tensor] = answers) -> Tensor:
            answers.append(network(seen))
            return functional.cross_entropy(answers[-1], truth)

        losses.append(gradients(loss))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right.append((answers[0].detach().argmax(dim=1) == truth).float().mean())
    return float(torch.stack(losses).mean()), float(torch.stack(right).mean())


def _batches(order: Tensor, batch: int) -> Sequence[Tensor]:
    """Whole batches only, unless there is but one: batch norm cannot train on a single image."""
    parts = torch.split(order, batch)
    return parts[:-1] if len(parts) > 1 and len(parts[-1]) < batch else parts


def augment(images: Tensor, pixels: int) -> Tensor:
    """Shift, brightness and contrast, drawn per image; ``float [n, 3, pixels, pixels]`` from ``uint8``.

    Images that are not larger than ``pixels`` are continued by reflection, as R11's generator does.
    """
    part = images.float() / 255
    if images.shape[-1] == pixels:
        part = functional.pad(part, [max(1, pixels // 16)] * 4, mode="reflect")
    places = torch.randint(0, part.shape[-1] - pixels + 1, (len(part), 2)).tolist()
    shifted = torch.stack(
        [image[:, y : y + pixels, x : x + pixels] for image, (y, x) in zip(part, places, strict=True)]
    )
    contrast, brightness = torch.rand(2, len(images), 1, 1, 1).to(part.device)
    changed: Tensor = shifted * (0.9 + 0.2 * contrast) + 0.1 * (brightness - 0.5)
    return changed
