"""Optimizers and schedules of a phase, and how many steps it may take: the same for one network and for many."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import unwrap
from typing import TypeVar, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, ExponentialLR, LRScheduler, MultiStepLR, OneCycleLR

from .batches import batches_per_epoch
from .config import UnlearnConfig
from .training_mode import moves_batch_statistics, rate_factor
from .training_settings import TrainingSettings

FUSED_FROM = 500_000
"""Parameters from which one pass over memory per step saves time; a third of a ResNet-18's on a CPU."""

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _eager(kind: type[Kind]) -> type[Kind]:
    """``kind`` as it is without torch's compiler, whose wrappers around these methods import all of it when they are
    first called: seconds and 150 MB, in a process that compiles nothing. The methods themselves are torch's."""
    methods = {
        "add_param_group": unwrap(kind.add_param_group),
        "zero_grad": unwrap(kind.zero_grad),
        "step": torch.no_grad()(unwrap(kind.step)),
    }
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


SGD, Adam, AdamW = _eager(torch.optim.SGD), _eager(torch.optim.Adam), _eager(torch.optim.AdamW)


def learning_rate_of(phase: TrainingSettings, model: nn.Module, config: UnlearnConfig) -> float:
    """The highest learning rate of ``phase`` for this network."""
    rate = phase.learning_rate
    if phase.learning_rate_without_batch_norm is not None and not moves_batch_statistics(model, config):
        rate = phase.learning_rate_without_batch_norm
    return rate * rate_factor(model, phase.rate_width)


def make_optimizer(
    phase: TrainingSettings, parameters: Sequence[nn.Parameter], fused: bool | None = None
) -> torch.optim.Optimizer:
    """The optimizer of ``phase``; ``fused`` says whether it is; unset: SGD is not, Adam by the number of parameters."""
    if phase.optimizer == "sgd":
        nesterov = phase.nesterov and phase.momentum > 0
        rate, momentum, decay = phase.learning_rate, phase.momentum, phase.weight_decay
        return SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov, fused=fused)
    kind = AdamW if phase.optimizer == "adamw" else Adam
    betas = (phase.beta1, phase.beta2)
    if fused is None:
        fused = sum(p.numel() for p in parameters) >= FUSED_FROM
    return kind(parameters, lr=phase.learning_rate, betas=betas, weight_decay=phase.weight_decay, fused=fused)


def make_scheduler(phase: TrainingSettings, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler | None:
    """The schedule of ``phase`` over ``steps`` steps; None where the rate is constant."""
    lowest = min(phase.base_learning_rate, phase.learning_rate)
    if phase.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps, eta_min=lowest)
    if phase.schedule == "one-cycle":
        # One step more than will be taken: the scheduler refuses to go past its end.
        return OneCycleLR(optimizer, max_lr=phase.learning_rate, total_steps=steps + 1, cycle_momentum=False)
    if phase.schedule == "exponential":
        # Of no rate at all no factor leads to the lowest one.
        share = max(lowest / phase.learning_rate, 1e-6) if phase.learning_rate else 1.0
        return ExponentialLR(optimizer, share ** (1 / steps))
    if phase.schedule == "triangular":
        up = phase.cycle_steps // 2
        down = phase.cycle_steps - up
        return CyclicLR(optimizer, lowest, phase.learning_rate, up, down, cycle_momentum=False)
    if phase.schedule == "multi-step":
        return MultiStepLR(optimizer, [round(share * steps) for share in phase.milestones])
    return None


def most_steps(phase: TrainingSettings, count: int, batch_size: int) -> int:
    """Steps that the caps of ``phase`` allow with ``count`` fit examples."""
    total = phase.max_epochs * batches_per_epoch(count, phase.examples_per_epoch, batch_size)
    return total if phase.max_steps is None else min(total, phase.max_steps)


def nonfinite(model: nn.Module) -> set[str]:
    """Names in the state dict that hold a NaN or an infinity; a mask buffer may do so on purpose."""
    return {name for name, t in model.state_dict().items() if t.is_floating_point() and not _all_finite(t)}


def _all_finite(tensor: torch.Tensor) -> bool:
    """A finite sum has only finite terms, and takes a third of the time; very large terms may have an infinite one."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
