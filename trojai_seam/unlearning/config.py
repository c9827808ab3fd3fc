"""Settings of one unlearning run, as frozen dataclasses that are checked in full before any work starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import ConfigProblem, shown

LABEL_SAMPLING = ("uniform", "wrong-only", "uniform-anywhere")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "one-cycle")
TRAINABLE = ("all", "head", "no-embeddings")
BATCH_NORM = ("train", "frozen-stats")
PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class StopRule:
    """When a phase ends before its caps: a threshold on *fit* accuracy, looked at after every epoch.

    Forgetting ends below its threshold, recovery above it. The threshold is the smallest of the terms that are set.
    """

    accuracy: float | None = None
    """A fixed accuracy."""
    chance_multiple: float | None = None
    """``k`` means k/C for C classes, as published (k = 2); k times the accuracy of guessing where C means nothing."""
    chance_margin: float | None = None
    """``m`` means chance + m · (start - chance): chance-aware, also right for two classes or unequal class sizes."""
    patience: int = 1
    """How many epochs must meet the threshold."""
    consecutive: bool = False
    """Whether those epochs must follow each other."""
    decline_after: int | None = None
    """From this epoch on, an epoch that is worse than the best so far counts like one that met the threshold."""
    decline_tolerance: float = 1e-3
    """How much worse it must be."""


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training. ``max_epochs = 0`` switches it off."""

    max_epochs: int = 300
    max_steps: int | None = None
    max_seconds: float | None = None
    draws_per_epoch: int | None = None
    """Examples drawn per epoch (with repetition if there are fewer); unset: every fit example once."""
    optimizer: str = "adam"
    learning_rate: float = 5e-4
    learning_rate_without_batch_norm: float | None = None
    """Instead of ``learning_rate`` for a network whose batches nothing normalises (SqueezeNet, transformers, or frozen
    statistics): what a step too large has ruined there, nothing brings back into range. Unset: no difference."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: float = 0.9
    schedule: str = "constant"
    longest_gradient: float | None = None
    """Gradients are shortened to this norm, over all parameters together; unset: never."""
    plain_end: float = 0.0
    """Share of the phase's steps, the last ones, in which views of images are neither recoloured nor patched: a network
    that ends on images as they are answers to them better."""
    stop: StopRule = field(default_factory=StopRule)


@dataclass(frozen=True)
class ForgetConfig(PhaseConfig):
    """The forgetting phase: training on random labels."""

    label_sampling: str = "uniform"
    """``uniform`` over all classes, ``wrong-only`` over all but the true one; for detectors ``uniform-anywhere`` draws
    the places of boxes as well as their classes."""
    fresh_labels: bool = True
    """New random labels for every batch; otherwise each example keeps the random label that it got first."""


@dataclass(frozen=True)
class UnlearnConfig:
    """Everything that decides what unlearning does, apart from the model, the fit examples and the seed."""

    preset: str = "custom"
    method: str = "seam"
    batch_size: int = 32
    trainable: str = "all"
    batch_norm: str = "train"
    feature_noise: float = 0.0
    """Standard deviation of Gaussian noise that is added to every training batch: in units of the inputs, or for token
    ids to the word embeddings, in units of their standard deviation."""
    augmentation: float = 0.0
    """Strength, 0 … 1, of the random views that image batches ``[N, C, H, W]`` are trained on in both phases."""
    recolouring: float = 0.0
    """Strength, 0 … 1, of the random colour moods that these views are put in: filters lose their meaning."""
    patches: float = 0.0
    """Share of these views that get a patch of one colour over a random place: polygons lose their meaning."""
    most_patches: int = 1
    """So many patches are offered to every view; it takes each with the probability ``patches``."""
    pure_patches: float = 0.0
    """Share of patches whose colour is pure, every channel at its least or its most; the others' is any colour."""
    plain_views: float = 0.0
    """Share of these views that are neither recoloured nor patched, all through training: the others can then be
    changed more strongly without loss of accuracy on images as they are."""
    self_labelled: int = 512
    """Images that method ``seam-self-labelled`` makes of the fit images and lets the network label; no other does."""
    precision: str = "float32"
    """Of the numbers that a training step computes with: ``bf16``, or on GPUs ``fp16``, where autocast says that it is
    harmless. Weights, evaluation and scores are float32 all the same. Gives other networks; docs/performance.md."""
    rate_width: int | None = None
    """Learning rates are meant for a network whose head reads this many features, and go down in proportion for wider
    ones (up for narrower ones); unset: they are taken as they are."""
    forget: ForgetConfig = field(default_factory=ForgetConfig)
    recover: PhaseConfig = field(default_factory=PhaseConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values, ready for JSON."""
        return asdict(self)

    def check(self) -> None:
        """Look at every value.

        Raises:
            ConfigProblem: naming all values that are out of range.
        """
        findings = list(_findings(self))
        if findings:
            raise ConfigProblem("unlearning options", findings)

    def with_options(self, options: Mapping[str, str]) -> UnlearnConfig:
        """This config with ``{"forget.learning_rate": "1e-4", …}`` applied, as ``--set`` gives them.

        Raises:
            ConfigProblem: unknown names, values of the wrong type or out of range; all of them in one message.
        """
        findings: list[str] = []
        config: UnlearnConfig = self
        for name, text in options.items():
            try:
                config = _assign(config, name.split("."), text)
            except ValueError as problem:
                findings.append(f"{shown(name)}: {problem}")
        if not findings:
            findings = list(_findings(config))
        if findings:
            raise ConfigProblem("--set", findings)
        return config


def _assign(node: Any, path: list[str], text: str) -> Any:
    hints = get_type_hints(type(node))
    names = [f.name for f in fields(node)]
    if path[0] not in names:
        raise ValueError(f"no such option; known here: {', '.join(names)}")
    value = getattr(node, path[0])
    if is_dataclass(value):
        if len(path) == 1:
            raise ValueError(f"is a group; set one of {', '.join(f.name for f in fields(value))}")
        return replace(node, **{path[0]: _assign(value, path[1:], text)})
    if len(path) > 1:
        raise ValueError("is a single value, not a group")
    return replace(node, **{path[0]: _parse(text, hints[path[0]])})


def _parse(text: str, kind: Any) -> Any:
    kinds = get_args(kind) if get_origin(kind) is not None else (kind,)
    if text.lower() in ("none", "") and type(None) in kinds:
        return None
    for one in kinds:
        if one is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise ValueError(f"expected true or false, found {shown(text)!r}")
        if one in (int, float):
            try:
                return one(text)
            except ValueError:
                raise ValueError(f"expected a number ({one.__name__}), found {shown(text)!r}") from None
    return text


def _findings(config: UnlearnConfig) -> Iterator[str]:
    yield from _one_of("trainable", config.trainable, TRAINABLE)
    yield from _one_of("batch_norm", config.batch_norm, BATCH_NORM)
    yield from _one_of("precision", config.precision, PRECISIONS)
    yield from _bounded("batch_size", config.batch_size, 1, 65536)
    yield from _bounded("feature_noise", config.feature_noise, 0, 100)
    yield from _bounded("self_labelled", config.self_labelled, 1, 100_000)
    for name in ("augmentation", "recolouring", "patches", "pure_patches", "plain_views"):
        yield from _bounded(name, getattr(config, name), 0, 1)
    yield from _bounded("most_patches", config.most_patches, 1, 100)
    yield from _bounded("rate_width", config.rate_width, 1, 1_000_000)
    yield from _one_of("forget.label_sampling", config.forget.label_sampling, LABEL_SAMPLING)
    for name, phase in (("forget", config.forget), ("recover", config.recover)):
        yield from _one_of(f"{name}.optimizer", phase.optimizer, OPTIMIZERS)
        yield from _one_of(f"{name}.schedule", phase.schedule, SCHEDULES)
        yield from _bounded(f"{name}.max_epochs", phase.max_epochs, 0, 1_000_000)
        yield from _bounded(f"{name}.max_steps", phase.max_steps, 0, 1_000_000_000)
        yield from _bounded(f"{name}.max_seconds", phase.max_seconds, 0, 1e9)
        yield from _bounded(f"{name}.draws_per_epoch", phase.draws_per_epoch, 1, 10_000_000)
        yield from _bounded(f"{name}.learning_rate", phase.learning_rate, 0, 1e3)
        low_rate = phase.learning_rate_without_batch_norm
        yield from _bounded(f"{name}.learning_rate_without_batch_norm", low_rate, 0, 1e3)
        yield from _bounded(f"{name}.plain_end", phase.plain_end, 0, 1)
        yield from _bounded(f"{name}.weight_decay", phase.weight_decay, 0, 1e3)
        yield from _bounded(f"{name}.longest_gradient", phase.longest_gradient, 0, 1e6)
        yield from _bounded(f"{name}.momentum", phase.momentum, 0, 1, below=True)
        yield from _bounded(f"{name}.beta1", phase.beta1, 0, 1, below=True)
        yield from _bounded(f"{name}.beta2", phase.beta2, 0, 1, below=True)
        stop = phase.stop
        yield from _bounded(f"{name}.stop.accuracy", stop.accuracy, 0, 1)
        yield from _bounded(f"{name}.stop.chance_multiple", stop.chance_multiple, 0, 1e6)
        yield from _bounded(f"{name}.stop.chance_margin", stop.chance_margin, 0, 1)
        yield from _bounded(f"{name}.stop.patience", stop.patience, 1, 1_000_000)
        yield from _bounded(f"{name}.stop.decline_after", stop.decline_after, 0, 1_000_000)
        yield from _bounded(f"{name}.stop.decline_tolerance", stop.decline_tolerance, 0, 1)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        yield f"{name}: {shown(value)!r} is not one of {', '.join(known)}"


def _bounded(name: str, value: float | None, low: float, high: float, below: bool = False) -> Iterator[str]:
    if value is None:
        return
    if not math.isfinite(value) or not (low <= value < high if below else low <= value <= high):
        yield f"{name}: {value} is outside {low:g} … {high:g}" + (" (exclusive)" if below else "")
