"""Our optimizers take the steps of torch's own, to the last bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trojai_seam.unlearning import optimization, resolve
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
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "exponential", "triangular", "multi-step"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_the_steps_are_those_of_torch(name, schedule, fused, monkeypatch):
    phase = TrainingSettings(
        kind="any",
        optimizer=name.lower(),
        schedule=schedule,
        learning_rate=0.01,
        weight_decay=0.1,
        milestones=(0.5,),
        nesterov=True,
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


@pytest.mark.parametrize(("optimizer", "kept"), [("adam", False), ("adamw", True), ("sgd", True)])
def test_decay_erases_words_that_the_texts_lack_with_adam_alone(optimizer, kept):
    words = nn.Embedding(6, 4)
    nn.init.constant_(words.weight, 0.05)
    phase = TrainingSettings(kind="any", optimizer=optimizer, learning_rate=1e-3, weight_decay=1e-4)
    steps = make_optimizer(phase, [words.weight])
    for _ in range(40):
        steps.zero_grad()
        words(torch.arange(3)).sum().backward()
        steps.step()
    left = float(words.weight[3:].detach().mean()) / 0.05
    assert left > 0.99 if kept else left < 0.5


def test_a_wrong_group_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="non-leaf"):
        optimization.Adam([torch.ones(2, requires_grad=True) * 2])


def rates(phase: TrainingSettings, steps: int) -> list[float]:
    """The learning rate of every step."""
    optimizer = make_optimizer(phase, fresh_weights())
    scheduler = make_scheduler(phase, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_super_fine_tuning_goes_up_and_down_as_published() -> None:
    """10 steps from 0.03 up to 2.5, 10 down again, and so on; then the same up to 0.05."""
    forget, recover = resolve("super-fine-tuning").phases
    up = [0.03 + (2.5 - 0.03) * step / 10 for step in range(11)]
    assert rates(forget, 41) == pytest.approx([*up, *up[9:0:-1], *up, *up[9::-1]])
    assert max(rates(recover, 41)) == rates(recover, 41)[30] == pytest.approx(0.05)
    assert min(rates(recover, 41)) == rates(recover, 41)[20] == pytest.approx(0.03)
    assert [(phase.optimizer, phase.momentum, phase.max_epochs) for phase in (forget, recover)] == [
        ("sgd", 0, 40),
        ("sgd", 0, 60),
    ]


def test_schedules_end_where_their_settings_say() -> None:
    common = {"kind": "any", "learning_rate": 0.1, "optimizer": "sgd"}
    stepped = rates(TrainingSettings(schedule="multi-step", milestones=(0.2, 0.9), **common), 10)
    assert stepped == pytest.approx([0.1] * 2 + [0.01] * 7 + [0.001])
    cosine = rates(TrainingSettings(schedule="cosine", base_learning_rate=0.04, **common), 11)
    assert (cosine[0], cosine[5]) == (0.1, pytest.approx(0.07 - 0.03 * math.cos(math.pi * 6 / 11)))
    assert 0.04 < cosine[-1] < 0.042
    uneven = rates(TrainingSettings(schedule="triangular", cycle_steps=5, **common), 6)
    assert uneven == pytest.approx([0, 0.05, 0.1, 0.2 / 3, 0.1 / 3, 0])
    falling = rates(TrainingSettings(schedule="exponential", base_learning_rate=0.001, **common), 4)
    assert falling == pytest.approx([0.1, 0.1**1.5, 0.01, 0.1**2.5])
    above = rates(TrainingSettings(schedule="triangular", base_learning_rate=3.0, **common), 6)
    assert above == pytest.approx([0.1] * 6)
