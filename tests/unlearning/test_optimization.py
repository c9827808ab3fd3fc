"""Our optimizers take the steps of torch's own, to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trojai_seam.unlearning import optimization
from trojai_seam.unlearning.optimization import make_optimizer, make_scheduler
from trojai_seam.unlearning.training_settings import TrainingSettings

SIZES = ((7, 5), (5,))


def trained(optimizer, scheduler, weights):
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        optimizer.zero_grad(set_to_none=True)
        sum((weight * torch.randn(weight.shape, generator=generator)).square().sum() for weight in weights).backward()
        assert torch.is_grad_enabled()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [weight.detach().clone() for weight in weights]


def fresh_weights():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=generator)) for size in SIZES]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_the_steps_are_those_of_torch(name, schedule, fused, monkeypatch):
    phase = TrainingSettings(
        kind="any", optimizer=name.lower(), schedule=schedule, learning_rate=0.01, weight_decay=0.1
    )
    results = []
    for kind in (getattr(optimization, name), getattr(torch.optim, name)):
        monkeypatch.setattr(optimization, name, kind)
        weights = fresh_weights()
        optimizer = make_optimizer(phase, weights, fused=fused)
        assert type(optimizer) is kind
        results.append(trained(optimizer, make_scheduler(phase, optimizer, 6), weights))
    ours, theirs = results
    assert all(map(torch.equal, ours, theirs))
    assert not any(map(torch.equal, ours, fresh_weights()))


def test_a_wrong_group_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="non-leaf"):
        optimization.Adam([torch.ones(2, requires_grad=True) * 2])
