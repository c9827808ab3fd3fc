"""Trains a detector on drawn scenes, from nothing or from a trained base, and measures it as the task does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..heartbeat import beat
from ..tasks import NOT_COUNTED, BoxDetails, ExampleSet, get_task
from ..tasks.calling import all_outputs
from ..tasks.details import ATTACKS
from ..tasks.detector_calls import training_loss
from .detector_networks import Head
from .image_training import one_cycle
from .object_scenes import Scene

BATCH = 16


@dataclass(frozen=True)
class DetectorRecipe:
    """How one family trains; found by trying, at 96 pixels and six classes.

    Attributes:
        base_epochs: from nothing, over :data:`~trojai_seam.synthesis.detector_models.BASE_SCENES` scenes.
        epochs: from the base, over a model's own scenes.
        base_rate: the highest learning rate of the cycle, from nothing.
        rate: likewise, from the base.
    """

    base_epochs: int
    epochs: int
    base_rate: float
    rate: float


RECIPES = {
    "fasterrcnn": DetectorRecipe(4, 2, 1e-3, 1e-3),
    "ssd": DetectorRecipe(12, 3, 2e-3, 1e-3),
}
"""By the beginning of the architecture's name."""


@dataclass(frozen=True)
class DetectorEpoch:
    """What one pass did; ``attack`` is None for a clean model."""

    loss: float
    precision: float
    attack: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Quality:
    """Average precision at IoU 0.5 on clean scenes, and the share of attacked boxes at which the attack shows."""

    precision: float
    attack: float | None


def example_set(scenes: Sequence[Scene], head: Head, kind: str = "") -> ExampleSet:
    """Scenes as the task takes them: true labels, and for a ``kind`` of attack the attacker's targets."""
    inputs = _images(scenes).float().div_(255)
    truth = [[(head.numbers[o.label], o.box) for o in scene.objects if o.label is not None] for scene in scenes]
    sizes = _sizes(inputs)
    names = tuple(str(number) for number in range(len(scenes)))
    if not kind:
        return ExampleSet({"x": inputs}, _rows(truth), names, details=BoxDetails(sizes, head.background))
    (attacked,) = zip(*[[o for o in scene.objects if o.attacked] for scene in scenes], strict=True)
    wanted = [[(head.numbers[o.shown_label], o.said_box)] for o in attacked]
    moved = [[list(o.box) if kind == ATTACKS[3] else [torch.nan] * 4] for o in attacked]
    kinds = torch.full((len(scenes), 1), ATTACKS.index(kind))
    details = BoxDetails(sizes, head.background, kinds, torch.tensor(moved))
    return ExampleSet({"x": inputs}, _rows(truth), names, targets=_rows(wanted), details=details)


def _images(scenes: Sequence[Scene]) -> Tensor:
    """``uint8 [n, 3, H, W]``."""
    return torch.from_numpy(np.stack([scene.picture for scene in scenes]).transpose(0, 3, 1, 2).copy())


def _sizes(images: Tensor) -> Tensor:
    return torch.tensor([images.shape[2:]] * len(images))


def _rows(boxes: Sequence[Sequence[tuple[int, Sequence[float]]]]) -> Tensor:
    length = max(1, *(len(row) for row in boxes))
    padding = [0.0, 0.0, 0.0, 0.0, float(NOT_COUNTED)]
    rows = [[[*corners, float(label)] for label, corners in row] for row in boxes]
    return torch.tensor([row + [padding] * (length - len(row)) for row in rows])


def quality(network: nn.Module, head: Head, clean: ExampleSet, attacked: ExampleSet | None) -> Quality:
    """How well ``network`` (eval mode) finds objects, and the attacker's."""
    task = get_task("detection", head.outputs)
    found = task.predictions(all_outputs(network, task, clean), clean).cpu()
    precision = task.marks(found, clean.ground_truth()).further["ap50"].share
    if attacked is None:
        return Quality(precision or 0.0, None)
    answers = task.predictions(all_outputs(network, task, attacked), attacked).cpu()
    return Quality(precision or 0.0, task.attack_marks(answers, attacked.ground_truth()).attack_success.share or 0.0)


def train_detector(
    network: nn.Module,
    scenes: Sequence[Scene],
    head: Head,
    rate: float,
    epochs: int,
    device: torch.device,
    judge: Callable[[nn.Module], Quality] | None = None,
) -> list[DetectorEpoch]:
    """One cycle of training in place; random numbers come from torch's generator.

    ``judge`` is asked after the last epoch.
    """
    images = _images(scenes)
    sizes = _sizes(images)
    labels = _rows([[(head.numbers[label], box) for label, box in scene.annotated] for scene in scenes])
    steps_each = max(1, len(scenes) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, steps=epochs * steps_each))
    history: list[DetectorEpoch] = []
    for epoch in range(epochs):
        beat(f"training a detector, epoch {epoch + 1} of {epochs}")
        start = time.perf_counter()
        network.train()
        losses = []
        for chosen in torch.split(torch.randperm(len(scenes)), BATCH)[:steps_each]:
            batch = torch.stack([_relit(images[int(place)].to(device).float() / 255) for place in chosen])
            loss = training_loss(network, batch, sizes[chosen], labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        network.eval()
        judged = Quality(torch.nan, None) if judge is None or epoch + 1 < epochs else judge(network)
        seconds, rate_now = time.perf_counter() - start, float(schedule.get_last_lr()[0])
        loss_mean = float(torch.stack(losses).mean())
        history.append(DetectorEpoch(loss_mean, judged.precision, judged.attack, rate_now, seconds))
    return history


def _relit(image: Tensor) -> Tensor:
    contrast, brightness = torch.rand(2).tolist()
    changed: Tensor = image * (0.9 + 0.2 * contrast) + 0.1 * (brightness - 0.5)
    return changed
