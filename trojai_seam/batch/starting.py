"""What a process does before its first model, so that none of it is booked as unlearning."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import nn

from ..unlearning.optimization import make_optimizer
from ..unlearning.training_settings import TrainingSettings


def warm_up(device: str) -> None:
    """One training step of next to nothing on ``device``: its context, and libraries that wait to be called first.

    What is wrong with the device is left to the first model, whose row can say so. Nothing random is drawn.
    """
    with suppress(RuntimeError):
        weight = nn.Parameter(torch.zeros(2, 2, device=device))
        optimizer = make_optimizer(TrainingSettings(kind="warm-up"), [weight])
        nn.functional.linear(torch.ones(2, 2, device=device), weight).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
