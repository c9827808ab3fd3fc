"""FT-SAM: where two weights are moved to, by hand; a whole step; what stands still meanwhile."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.made_text import sentences, tagger
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.sharpness import sharpest

TASK = get_task("classification", 2)


def test_two_weights_are_moved_as_worked_out_by_hand() -> None:
    weights, gradients = [torch.tensor([2.0]), torch.tensor([-1.0])], [torch.tensor([1.5]), torch.tensor([4.0])]
    # T g = (3, 4), of length 5; T² g = (6, 4).
    moved = sharpest(weights, gradients, rho=0.5, adaptive=True)
    assert [float(part) for part in moved] == pytest.approx([0.6, 0.4])
    plain = sharpest(weights, gradients, rho=0.5, adaptive=False)
    length = (1.5**2 + 4**2) ** 0.5
    assert [float(part) for part in plain] == pytest.approx([0.5 * 1.5 / length, 0.5 * 4 / length])
    assert [float(p) for p in sharpest(weights, [torch.zeros(1), torch.zeros(1)], 2.0, True)] == [0.0, 0.0]


def made() -> tuple[nn.Sequential, ExampleSet]:
    torch.manual_seed(1)
    labels = torch.arange(12) % 2
    x = torch.randn(12, 5) + 2 * labels[:, None]
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    return net.eval(), ExampleSet({"x": x}, labels, tuple(map(str, range(12))))


def method(**changes: object) -> UnlearnConfig:
    phase = {"kind": "sharpness-aware", "name": "recover", "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1,
             "weight_decay": 0.01, "rho": 0.3, "max_steps": 1, **changes}  # fmt: skip
    return UnlearnConfig(batch_size=12, phases=[phase])


def test_a_step_is_the_gradient_at_the_moved_weights_from_the_old_ones() -> None:
    net, fit = made()
    x, labels = fit.inputs["x"], fit.labels
    after = unlearn(net, TASK, fit, method(label_smoothing=0.1), 0).model
    hand = copy.deepcopy(net).train()
    target = torch.full((12, 2), 0.1).scatter(1, labels[:, None], 0.9)

    def gradients() -> list[torch.Tensor]:
        loss = -(target * hand(x).log_softmax(dim=1)).sum(dim=1).mean()
        return list(torch.autograd.grad(loss, list(hand.parameters())))

    first, old = gradients(), [p.detach().clone() for p in hand.parameters()]
    statistics = hand[1].running_mean.clone()
    with torch.no_grad():
        for parameter, by in zip(hand.parameters(), sharpest(old, first, 0.3, True), strict=True):
            parameter.add_(by)
    for mine, was, slope in zip(after.parameters(), old, gradients(), strict=True):
        torch.testing.assert_close(mine, was - 0.1 * (slope + 0.01 * was), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after[1].running_mean, statistics)  # moved by the first pass alone
    assert after[1].momentum == net[1].momentum
    without = unlearn(net, TASK, fit, method(label_smoothing=0.1, rho=0.0), 0).model
    assert not torch.allclose(without[0].weight, after[0].weight, atol=1e-4)


def test_the_preset_has_its_published_numbers_and_learns() -> None:
    net, fit = made()
    config = resolve("ft-sam")
    (phase,) = config.phases
    assert (config.batch_size, phase.rho, phase.adaptive, phase.label_smoothing) == (256, 2.0, True, 0.1)
    assert (phase.optimizer, phase.learning_rate, phase.momentum, phase.weight_decay) == ("sgd", 0.01, 0.9, 5e-4)
    assert (phase.max_epochs, phase.schedule) == (100, "cosine")
    first, again = (unlearn(net, TASK, fit, config.with_phase("recover", rho=0.1), 3) for _ in range(2))
    assert first.phase("recover").end_accuracy > 0.9
    assert first.phase("recover").epochs == 100
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_words_are_trained_without_smoothing_and_refused_with_it() -> None:
    task, fit = get_task("token-classification", 5), sentences(6)
    with pytest.raises(EngineFailure, match="label_smoothing is for one label per example"):
        unlearn(tagger(), task, fit, method(label_smoothing=0.1), 0)
    outcome = unlearn(tagger(), task, fit, method(), 0)
    assert outcome.phase("recover").steps == 1
