"""Settings that every phase which trains has in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .phase_kinds import PhaseSettings
from .settings import Beta, Rate, Settings, Share


class StopRule(Settings):
    """When a phase ends before its caps: a threshold on *fit* accuracy, looked at after every epoch.

    Forgetting ends below its threshold, recovery above it. The threshold is the smallest of the terms that are set.
    """

    accuracy: Share | None = None
    """A fixed accuracy."""
    chance_multiple: float | None = Field(default=None, ge=0, le=1e6)
    """``k`` means k/C for C classes, as published (k = 2); k times the accuracy of guessing where C means nothing."""
    chance_margin: Share | None = None
    """``m`` means chance + m · (start - chance): chance-aware, also right for two classes or unequal class sizes."""
    patience: int = Field(default=1, ge=1, le=1_000_000)
    """How many epochs must meet the threshold."""
    consecutive: bool = False
    """Whether those epochs must follow each other."""
    decline_after: int | None = Field(default=None, ge=0, le=1_000_000)
    """From this epoch on, an epoch that is worse than the best so far counts like one that met the threshold."""
    decline_tolerance: Share = 1e-3
    """How much worse it must be."""


class Views(Settings):
    """What training sees instead of the examples as they are, anew for every batch. Each modality takes its own:
    images ``[N, C, H, W]`` all of them, other floating-point inputs and token ids the noise alone."""

    noise: float = Field(default=0.0, ge=0, le=100)
    """Standard deviation of Gaussian noise: in units of the inputs, or for token ids on the word embeddings, in units
    of their standard deviation."""
    augmentation: Share = 0.0
    """Strength of moving, scaling, turning and relighting images."""
    color_jitter: Share = 0.0
    """Strength of the random colour moods that images are put in: filters lose their meaning."""
    random_erasing: Share = 0.0
    """Share of images that get a patch of one colour over a random place: polygons lose their meaning."""
    plain_end: Share = 0.0
    """Share of the phase's steps, the last ones, with neither color_jitter nor random_erasing: a network that ends on
    images as they are answers to them better."""


class TrainingSettings(PhaseSettings):
    """How a phase trains, whatever it trains towards. ``max_epochs = 0`` switches it off."""

    max_epochs: int = Field(default=300, ge=0, le=1_000_000)
    """Epochs at most; 0 switches the phase off."""
    max_steps: int | None = Field(default=None, ge=0, le=1_000_000_000)
    """Batches at most, over all epochs; unset: no limit."""
    examples_per_epoch: int | None = Field(default=None, ge=1, le=10_000_000)
    """Examples drawn per epoch (with repetition if there are fewer); unset: every fit example once."""
    order: Literal["shuffled", "files"] = "shuffled"
    """``shuffled`` draws every epoch's order anew; ``files`` takes examples by the names of their files, so that every
    epoch has the same batches, often of one class."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """PyTorch's optimizer of that name."""
    learning_rate: Rate = 5e-4
    """Of the optimizer; the highest one where ``schedule`` changes it."""
    learning_rate_without_batch_norm: Rate | None = None
    """Instead of ``learning_rate`` for a network whose batches nothing normalises (SqueezeNet, transformers, or frozen
    statistics): what a step too large has ruined there, nothing brings back into range. Unset: no difference."""
    rate_width: int | None = Field(default=None, ge=1, le=1_000_000)
    """Learning rates are meant for a network whose head reads this many features, and go down in proportion for wider
    ones (up for narrower ones); unset: they are taken as they are."""
    weight_decay: float = Field(default=0.0, ge=0, le=1e3)
    """Of the optimizer: as L2 penalty with ``adam`` and ``sgd``, decoupled with ``adamw``. With ``adam``, weights
    without any other gradient (embeddings of absent words) shrink by about the learning rate per step, whatever the
    decay."""
    beta1: Beta = 0.9
    """Decay of the mean of gradients (``adam``, ``adamw``)."""
    beta2: Beta = 0.999
    """Decay of the mean of their squares (``adam``, ``adamw``)."""
    momentum: Beta = 0.9
    """Of ``sgd``."""
    nesterov: bool = False
    """Of SGD, where it has momentum."""
    schedule: Literal["constant", "cosine", "one-cycle", "exponential", "triangular", "multi-step"] = "constant"
    """Of the learning rate, over all steps that the caps allow: it stays, falls to ``base_learning_rate`` along a
    cosine, or rises first and then falls (``one-cycle``); ``exponential`` falls by the same factor in each of
    them, down to ``base_learning_rate`` (a millionth, if that is unset); ``triangular`` goes up from there and down
    again in every ``cycle_steps`` steps (Smith, "Cyclical Learning Rates", WACV 2017); ``multi-step`` divides by ten
    at each of ``milestones``."""
    base_learning_rate: Rate = 0.0
    """The lowest rate of ``triangular``, ``cosine`` and ``exponential``; at most ``learning_rate`` is taken."""
    cycle_steps: int = Field(default=20, ge=2, le=1_000_000)
    """Steps of one way up and down; half of them each, rounded down on the way up."""
    milestones: tuple[Share, ...] = ()
    """Shares of the steps after which ``multi-step`` goes down."""
    max_grad_norm: float | None = Field(default=None, ge=0, le=1e6)
    """Gradients are shortened to this norm, over all parameters together; unset: never."""
    views: Views = Views()
    """Random changes to the inputs of each batch."""
    stop: StopRule = StopRule()
    """When the phase ends early."""
