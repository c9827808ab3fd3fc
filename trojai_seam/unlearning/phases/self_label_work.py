"""SEAM where one clean image is all there is: further images are cut out of it, and the network itself labels them.

A network can be taught through crops and distortions of a single image if a teacher says what it sees in each (Asano
and Saeed, "The Augmented Image Prior: Distilling 1000 Classes by Extrapolating from a Single Image", ICLR 2023). Here
the teacher is the network as shipped. It answers to clean material only, so what it teaches is its clean function; its
trojan is not asked. What is trained then sees patched and recoloured views of that material and must answer as if they
were not: an answer to a spot or a filter is untaught.

Images without a known label are labelled by the network too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import EngineFailure
from ...tasks import ExampleSet, Task
from ...tasks.calling import BATCH, batched_outputs
from ...tasks.classification import Classification, random_classes
from ..batches import classes_in_turn
from ..context import Context
from ..outcome import PhaseOutcome
from .self_label import SelfLabelSettings

CANDIDATES = 4
"""Images made per image kept: kept are those that make the classes as equal as the network's answers allow."""


def add_labelled(context: Context, settings: SelfLabelSettings) -> PhaseOutcome:
    """Add images to the working set. Stop rules and trace of later phases watch the agreement with their labels.

    Raises:
        EngineFailure: the network has non-finite scores.
    """
    images, labels, task = context.fit.inputs["x"], context.fit.labels, context.task
    with torch.random.fork_rng(devices=context.devices), torch.no_grad():
        torch.manual_seed(context.seed)
        made = extrapolated(images, CANDIDATES * settings.count)
        answers = _answers(context.shipped, task, torch.cat([images, made]))
    if not bool(torch.isfinite(answers).all()):
        raise EngineFailure("the network has non-finite scores before unlearning")
    told, said = torch.split(answers, [len(images), len(made)])
    truth = functional.one_hot(labels.clamp(min=0), task.num_classes).to(told.dtype)
    kept = classes_in_turn(said.argmax(dim=1), settings.count)
    joined = ExampleSet(
        inputs={"x": torch.cat([images, made[kept]])},
        labels=torch.cat([torch.where((labels >= 0)[:, None], truth, told), said[kept]]),
        names=(*context.fit.names, *(f"self-labelled {i}" for i in range(len(kept)))),
    )
    context.use(joined, SoftClassification(task.num_classes))
    return PhaseOutcome(settings.name, figures={"images": float(len(joined))})


class SoftClassification(Classification):
    """Classification whose labels are distributions over the classes, ``float32 [N, C]``."""

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.outputs(model, inputs), labels)

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        drawn = random_classes(truth.labels[order].argmax(dim=1), self.num_classes, sampling, generator)
        return functional.one_hot(drawn, self.num_classes).to(truth.labels.dtype)

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        return super().fit_accuracy(predictions, _hard(truth))

    def chance(self, truth: ExampleSet) -> float:
        return super().chance(_hard(truth))


def extrapolated(images: Tensor, count: int) -> Tensor:
    """``count`` images made of pieces of ``images`` and of noise, of the same size and range.

    Every one is a piece of a random image (a tenth of its side to all of it, turned, mirrored, colours exchanged); a
    quarter are coloured noise of a random coarseness instead; half are laid over another one. Tints and filters are
    left out: the network would be asked for its answer to what may be its trigger.
    """
    source = torch.randint(len(images), (count,), device=images.device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, device=images.device, dtype=images.dtype)

    zoom, angle = 0.1 ** uniform(), 6.2832 * uniform()
    mirror = torch.where(uniform() < 0.5, -1.0, 1.0)
    centre = (1 - zoom)[:, None] * (2 * uniform(2) - 1)
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    upright = uniform() < 0.5
    cosine, sine = torch.where(upright, zoom, cosine), torch.where(upright, torch.zeros_like(sine), sine)
    theta = torch.stack(
        [torch.stack([cosine * mirror, -sine, centre[:, 0]], 1), torch.stack([sine * mirror, cosine, centre[:, 1]], 1)],
        1,
    )
    low, high = images.amin(), images.amax()
    pieces = []
    for at in torch.split(torch.arange(count, device=images.device), BATCH):
        some = images[source[at]]
        grid = functional.affine_grid(theta[at], list(some.shape), align_corners=False)
        pieces.append(functional.grid_sample(some, grid, padding_mode="reflection", align_corners=False))
    made = torch.cat(pieces)
    channels = uniform(images.shape[1]).argsort(dim=1)
    exchanged = made.gather(1, channels[:, :, None, None].expand_as(made))
    made = torch.where((uniform() < 0.5)[:, None, None, None], exchanged, made)
    noisy = count // 4
    for part in torch.tensor_split(torch.arange(noisy, device=images.device), 4):
        cells = int(torch.randint(2, 17, (1,)))
        noise = torch.rand(len(part), images.shape[1], cells, cells, device=images.device, dtype=images.dtype)
        smooth = functional.interpolate(noise, size=images.shape[-2:], mode="bicubic", align_corners=False)
        made[part] = low + smooth.clamp(0, 1) * (high - low)
    share = torch.where(uniform() < 0.5, uniform(), torch.ones_like(zoom))[:, None, None, None]
    return share * made + (1 - share) * made[torch.randperm(count).to(images.device)]


def _answers(model: nn.Module, task: Task, images: Tensor) -> Tensor:
    """What the network says, as distributions ``float32 [N, C]``."""
    return batched_outputs(model.eval(), task, {"x": images}).float().softmax(dim=1)


def _hard(truth: ExampleSet) -> ExampleSet:
    return replace(truth, labels=truth.labels.argmax(dim=1))
