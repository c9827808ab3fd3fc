"""Re-initialise a part of the network: what it knew, the trojan's answer included, is gone and has to be learnt again.

The head of a classifier: Min et al., "Towards Stable Backdoor Purification through Feature Shift Tuning", NeurIPS 2023,
arXiv 2310.01875. The region proposals or the head of a detector: arXiv 2409.16057, which chooses the one whose answers
to triggered images disagree with the other's; without such images it must be said which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import EngineFailure
from ...tasks.calling import all_outputs
from ..context import Context
from ..network_parts import parts
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind, PhaseSettings
from ..training_mode import batch_norms


class ReinitialiseSettings(PhaseSettings):
    """Which part is drawn anew."""

    kind: Literal["reinitialise"] = "reinitialise"
    module: str = Field(default="head", min_length=1, max_length=300)
    """``head``; of detectors also ``region``, ``class``, ``box`` or ``backbone``; or the path of a module."""


def redraw(modules: Sequence[nn.Module], generator: torch.Generator) -> int:
    """Draw all layers of ``modules`` anew, uniformly within 1 / √(inputs of an output), biases as well, which is what
    torch's layers begin with; normalisation layers begin at one and zero.

    Args:
        modules: with all that is in them; they are changed in place.
        generator: on the CPU.

    Returns:
        How many numbers were drawn.
    """
    drawn = 0
    with torch.no_grad():
        for layer in {id(inner): inner for module in modules for inner in module.modules()}.values():
            own = list(layer.parameters(recurse=False))
            widths = [parameter[0].numel() for parameter in own if parameter.ndim > 1]
            if not widths:
                for name, parameter in layer.named_parameters(recurse=False):
                    parameter.fill_(1.0 if name == "weight" else 0.0)
                continue
            for parameter in own:
                bound = (parameter[0].numel() if parameter.ndim > 1 else widths[0]) ** -0.5
                numbers = torch.rand(parameter.shape, generator=generator)
                parameter.copy_(bound * (2 * numbers - 1))
                drawn += parameter.numel()
    return drawn


def reinitialise(context: Context, settings: ReinitialiseSettings) -> PhaseOutcome:
    """Draw the part anew; BatchNorm statistics in it are taken from the fit examples."""
    modules = parts(context.model, context.task, settings.module)
    start = context.accuracy()
    drawn = redraw(modules, context.generator)
    _settle(context, [norm for module in modules for norm in batch_norms(module)])
    end = context.accuracy()
    return PhaseOutcome(settings.name, start_accuracy=start, end_accuracy=end, figures={"redrawn": float(drawn)})


def _settle(context: Context, norms: list[_BatchNorm]) -> None:
    """Running statistics of ``norms`` over one pass of the fit examples."""
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    context.model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    all_outputs(context.model, context.task, context.fit, context.config.batch_size)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    context.model.eval()


def check(context: Context, settings: ReinitialiseSettings) -> None:
    """Refuse a network without such a part."""
    modules = parts(context.model, context.task, settings.module)
    if not any(p.ndim > 1 for module in modules for p in module.parameters()):
        raise EngineFailure(f"part {settings.module!r} has no weights that could be drawn anew; name another one")


KIND = PhaseKind(ReinitialiseSettings, reinitialise, check=check)
