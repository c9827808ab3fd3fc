"""Channel Lipschitzness pruning: no data, only weights. Channels that could amplify their input far more than the other
channels of their layer are pruned.

Zheng, Tang, Li and Liu, "Data-Free Backdoor Removal Based on Channel Lipschitzness", ECCV 2022, arXiv 2208.03111.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import EngineFailure
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind, PhaseSettings


class PruneLipschitzSettings(PhaseSettings):
    """What counts as far more."""

    kind: Literal["prune-lipschitz"] = "prune-lipschitz"
    threshold: float = Field(default=3.0, ge=0, le=1e6)
    """Standard deviations above the mean of a layer (u of the paper)."""


def normalised_convolutions(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every BatchNorm layer with the convolution that is registered before it, as published, where the numbers of their
    channels agree and there are statistics and scales to compute with."""
    convolution = None
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d) and convolution is not None:
            complete = module.affine and module.running_var is not None
            if complete and module.num_features == convolution.out_channels:
                yield convolution, module


@torch.no_grad()
def channel_lipschitzness(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Upper bound of every output channel's Lipschitz constant, ``float [channels]``: the largest singular value of the
    channel's weights ``[in, kernel]``, times what BatchNorm scales it with in evaluation."""
    weight, variance = convolution.weight.flatten(2).double(), norm.get_buffer("running_var").double()
    largest: Tensor = torch.linalg.matrix_norm(weight, ord=2)
    return largest * (norm.weight.double() / (variance + norm.eps).sqrt()).abs()


def prune_lipschitz(context: Context, settings: PruneLipschitzSettings) -> PhaseOutcome:
    """Zero scale and shift of BatchNorm for every channel above the threshold."""
    start, pruned, channels = context.accuracy(), 0, 0
    for convolution, norm in list(normalised_convolutions(context.model)):
        bounds = channel_lipschitzness(convolution, norm)
        # The deviation of a single channel is no number, and nothing is above that.
        above = bounds > bounds.mean() + settings.threshold * bounds.std()
        for parameter in norm.parameters(recurse=False):
            context.prune(parameter, above)
        pruned, channels = pruned + int(above.sum()), channels + len(above)
    figures = {"pruned": float(pruned), "channels": float(channels)}
    return PhaseOutcome(settings.name, start_accuracy=start, end_accuracy=context.accuracy(), figures=figures)


def check(context: Context, settings: PruneLipschitzSettings) -> None:
    """Raises :class:`EngineFailure` for a network without convolutions under BatchNorm."""
    if next(normalised_convolutions(context.model), None) is None:
        raise EngineFailure("the network has no convolution followed by BatchNorm to prune; use another --preset")


KIND = PhaseKind(PruneLipschitzSettings, prune_lipschitz, serves=("images",), check=check)
