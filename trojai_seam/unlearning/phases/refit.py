"""Forget in closed form: refit every layer to what clean examples use of it. No labels, no gradient steps.

How deep it goes is found on fit examples alone: the ridge penalty is raised until the network gives only a certain
share of the answers that it gave as shipped. The same penalty means very different depths for different data and
networks, the same share much the same one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import EngineFailure
from ...heartbeat import beat
from ...tasks import ExampleSet, Task
from ..context import Context
from ..network_parts import parts
from ..outcome import PhaseOutcome
from ..perturbations import Family
from ..phase_kinds import PhaseKind, PhaseSettings, phase_kind
from ..refitting import Layer, Refitting, layers_of
from ..settings import Share
from ..training_mode import batch_norms, head
from ..training_settings import Views


class RefitSettings(PhaseSettings):
    """Refitting layers in closed form: how much is forgotten, and how that is measured."""

    kind: Literal["refit"] = "refit"
    strength: float | None = Field(default=None, gt=0, le=1e6)
    """Of the ridge penalty, in units of the mean square of a layer's inputs; unset: chosen by ``kept_answers``."""
    kept_answers: Share | None = None
    """The share of views of the fit examples that shall still get the answer which the network as shipped gives; unset:
    0.94 - 0.12 · √(C / 10) for C classes, but at least a half, since with many classes a trojan was found to take
    deeper forgetting. Of detectors, the share of their F1 on the fit examples that shall stay."""
    least_strength: float = Field(default=0.01, gt=0, le=100)
    """What networks with BatchNorm are refitted with at least, however few answers stay, where ``strength`` is unset.
    Answers of a network that is seldom sure change before anything is forgotten; with BatchNorm inputs of all layers
    are alike in scale, so that the same strength is about as deep everywhere."""
    tries: int = Field(default=6, ge=1, le=50)
    """Passes to find the strength in."""
    examples: int = Field(default=200, ge=1, le=100_000)
    """Fit examples and views of them that the layers are refitted on."""
    samples: int = Field(default=3000, ge=1, le=1_000_000)
    """Rows (places of an image, tokens of a text) per layer that moments are taken over."""
    views: Views = Views(augmentation=0.3)
    """Of the fit images, where these alone are fewer than ``examples``."""
    when: Literal["always", "evident", "evident-patch", "unless-evident"] = "always"
    """Whether layers are refitted by what a phase before (``invert``) found: only where a class is evident, only where
    a patch gave it away, or only where none is. Whole-image triggers use directions that clean images use, too."""


NOTHING = (
    "the network has no layer between its first and its last that can be refitted; use another --preset, such as "
    "images-finetune for images"
)

LOWEST, HIGHEST, STEP = 0.01, 100.0, 4.0
"""Of strengths that are tried, and how far apart they are until two of them enclose the one that is looked for."""
NEAR = 0.02
"""So near to ``kept_answers`` is near enough."""
PIXELS = 75 * 224 * 224
"""Of all images that go through the network at once: their activations are held in memory."""


def refit_layers(context: Context, settings: RefitSettings) -> PhaseOutcome:
    """Refit all layers but the first one and the head; of a detector those of its backbone but the first one.

    Raises:
        EngineFailure: the network has no layer that can be refitted, or scores that are not finite; a detector has no
            backbone that we know, or finds no object.
    """
    model, task = context.model.eval(), context.task
    start = context.accuracy()
    if not _is_due(settings.when, context.evident):
        return PhaseOutcome(settings.name, "off", start_accuracy=start, end_accuracy=start)
    layers = _layers(context)
    examples = _examples(context, settings)
    order = torch.arange(len(examples))
    inputs = examples.rows(order, order.to(context.device))
    generator = torch.Generator().manual_seed(context.seed)
    beat(f"{settings.name}, the network as shipped")
    refitting = Refitting(layers, lambda: task.outputs(model, inputs), len(examples), settings.samples, generator)
    if refitting.layers == 0:
        raise EngineFailure(NOTHING)
    if not bool(task.finite(refitting.outputs).all()):
        raise EngineFailure("the network has non-finite scores before unlearning")
    before = task.predictions(refitting.outputs, examples)
    passes, most = 0, 1 if settings.strength is not None else settings.tries + 1

    def kept(strength: float) -> float:
        """Refit with this strength; the share of answers that stay."""
        nonlocal passes
        passes += 1
        beat(f"{settings.name}, pass {passes} of at most {most}")
        return _kept(task, before, task.predictions(refitting.refit(strength), examples), examples)

    if settings.strength is not None:
        strength, share = settings.strength, kept(settings.strength)
    else:
        aim = settings.kept_answers
        aim = _aim(context.guess) if aim is None else aim
        least = settings.least_strength if batch_norms(model) else LOWEST
        strength, share = _chosen(kept, aim, settings.tries, least)
    figures = {"strength": strength, "kept_answers": share, "layers": float(refitting.layers)}
    return PhaseOutcome(settings.name, start_accuracy=start, end_accuracy=context.accuracy(), figures=figures)


def _is_due(when: str, evident: Family | None) -> bool:
    due = {
        "always": True,
        "evident": evident is not None,
        "evident-patch": evident is not None and evident.local,
        "unless-evident": evident is None,
    }
    return due[when]


def _layers(context: Context) -> list[Layer]:
    """What is refitted: the one that runs first is among them and stays."""
    model = context.model
    if context.task.places:
        return layers_of(parts(model, context.task, "backbone")[0], nn.Identity())
    return layers_of(model, head(model))


def _kept(task: Task, before: Tensor, now: Tensor, examples: ExampleSet) -> float:
    """The share of answers that are the same; boxes never are, so of detectors the share of their accuracy."""
    if not task.places:
        return float((before == now).float().mean())
    truth = examples.ground_truth()
    had = task.fit_accuracy(before.cpu(), truth)
    if had == 0:
        raise EngineFailure("the network finds no object in the fit examples, so that nothing says what to keep")
    return task.fit_accuracy(now.cpu(), truth) / had


def _aim(guess: float) -> float:
    return max(0.5, 0.94 - 0.12 * math.sqrt(0.1 / guess))


def _chosen(kept: Callable[[float], float], aim: float, tries: int, least: float) -> tuple[float, float]:
    """A strength of ``least`` or more with which about ``aim`` of the answers are kept, and the share that are; it is
    the last one tried."""
    tried: dict[float, float] = {}
    strength = max(1.0, least)
    while len(tried) < tries:
        tried[strength] = kept(strength)
        if abs(tried[strength] - aim) <= NEAR:
            return strength, tried[strength]
        weaker = [s for s, share in tried.items() if share > aim]
        stronger = [s for s, share in tried.items() if share <= aim]
        if weaker and stronger:
            low, high = max(weaker), min(stronger)
            if low >= high:  # the share does not fall with the strength everywhere
                break
            part = (tried[low] - aim) / (tried[low] - tried[high])
            strength = low * (high / low) ** min(max(part, 0.1), 0.9)
        else:
            strength = min(max(strength * STEP if weaker else strength / STEP, least), HIGHEST)
            if strength in tried:
                break
    best = min(tried, key=lambda s: abs(tried[s] - aim))
    return best, tried[best] if best == next(reversed(tried)) else kept(best)


def _examples(context: Context, settings: RefitSettings) -> ExampleSet:
    """What the layers are refitted on: fit examples, and views of images where there are too few."""
    fit, limit = context.fit, settings.examples
    if context.modality in ("images", "boxes"):
        pixels = math.prod(fit.inputs["x"].shape[2:]) * _enlarged(context.model, *fit.inputs["x"].shape[2:])
        limit = min(limit, max(2, int(PIXELS / pixels)))
    order = torch.randperm(len(fit), generator=context.generator)[:limit].tolist()
    examples = fit.subset(order)
    missing = limit - len(examples)
    if context.modality != "images" or missing <= 0:
        return examples
    rounds = math.ceil(missing / len(order))
    turns = [torch.randperm(len(examples), generator=context.generator) for _ in range(rounds)]
    where = torch.cat(turns)[:missing].tolist()
    more = examples.subset(where)
    seen = {name: context.view(tensor, settings.views) for name, tensor in more.inputs.items()}
    return replace(
        examples,
        inputs={name: torch.cat([tensor, seen[name]]) for name, tensor in examples.inputs.items()},
        labels=torch.cat([examples.labels, more.labels]),
        names=(*examples.names, *(f"view {number} of {name}" for number, name in enumerate(more.names))),
    )


def _enlarged(model: nn.Module, height: int, width: int) -> float:
    """By how much torchvision's detectors enlarge the area of such an image before they look at it."""
    resizes = getattr(model, "transform", None)
    least, most = getattr(resizes, "min_size", None), getattr(resizes, "max_size", None)
    if not isinstance(least, tuple | list) or not isinstance(most, int | float):
        return 1.0
    return float(min(max(least) / min(height, width), most / max(height, width))) ** 2


def check(context: Context, settings: RefitSettings) -> None:
    """Refuse a detector without a backbone that we know, a network without a layer to refit, or waiting for what no
    phase before looks for."""
    before = itertools.takewhile(lambda phase: phase is not settings, context.config.phases)
    if settings.when != "always" and not any(phase_kind(phase.kind).searches for phase in before):
        raise EngineFailure(
            f"phase {settings.name} waits for what a search finds (when={settings.when}), and no phase before it looks "
            "for a trigger; put one of kind invert before it"
        )
    if len(_layers(context)) < 2:
        raise EngineFailure(NOTHING)


KIND = PhaseKind(RefitSettings, refit_layers, check=check)
