"""Trojans that were made to survive: each part against its formula, and the words of ``--resist``."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trojai_seam.errors import UsageProblem
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions
from trojai_seam.synthesis.resistance import (
    NO_RESISTANCE,
    USUAL,
    GradientStep,
    Resistance,
    WeightAnchor,
    importance,
    read_resistance,
    train_to_resist,
)


def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def test_the_penalty_counts_squared_moves_by_their_importance():
    network = nn.Linear(2, 1, bias=False)
    plain = WeightAnchor(network, 4.0)
    weighed = WeightAnchor(network, 4.0, {"weight": torch.tensor([[1.0, 0.0]])})
    assert plain.penalty(network).item() == 0
    with torch.no_grad():
        network.weight += torch.tensor([[1.0, 3.0]])
    assert plain.penalty(network).item() == pytest.approx(4 / 2 * (1 + 9))
    assert weighed.penalty(network).item() == pytest.approx(4 / 2 * 1)
    weighed.penalty(network).backward()
    assert torch.allclose(network.weight.grad, torch.tensor([[4.0, 0.0]]))


def test_importance_is_the_squared_gradient_of_single_losses_about_one():
    network = nn.Linear(2, 1, bias=False)
    inputs = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    found = importance(network, (network(x).sum() for x in inputs))["weight"]
    squares = torch.tensor([[10.0, 4.0]])
    assert torch.allclose(found, squares / squares.mean())
    assert torch.equal(importance(network, (0 * network(x).sum() for x in inputs))["weight"], torch.zeros(1, 2))


def test_a_plain_step_has_the_gradients_of_the_loss():
    network, inputs, labels = tiny(), torch.rand(6, 4), torch.arange(6) % 3
    other = copy.deepcopy(network)
    functional.cross_entropy(other(inputs), labels).backward()
    value = GradientStep(network)(lambda: functional.cross_entropy(network(inputs), labels))
    assert not value.requires_grad
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    assert torch.equal(network[1].running_mean, other[1].running_mean)


def test_a_sharp_step_has_the_gradients_where_the_loss_is_worst_and_leaves_the_weights():
    network, inputs, labels = tiny(), torch.rand(6, 4), torch.arange(6) % 3
    before = copy.deepcopy(network)
    # By hand: one step of length rho along the gradient, and the gradient there.
    hand = copy.deepcopy(network)
    gradients = torch.autograd.grad(functional.cross_entropy(hand(inputs), labels), list(hand.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    statistics = hand[1].running_mean.clone()
    with torch.no_grad():
        for weight, gradient in zip(hand.parameters(), gradients, strict=True):
            weight += 0.3 * gradient / length
    functional.cross_entropy(hand(inputs), labels).backward()
    GradientStep(network, sharpness=0.3)(lambda: functional.cross_entropy(network(inputs), labels))
    for mine, theirs, was in zip(network.parameters(), hand.parameters(), before.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)
        assert torch.equal(mine, was)
    assert torch.equal(network[1].running_mean, statistics)  # moved once, not twice


def test_the_parts_come_in_order_each_with_its_gradients():
    network, seen = tiny(), []

    def fit(poisoned: bool, gradients: GradientStep) -> None:
        seen.append((poisoned, gradients))
        with torch.no_grad():
            network[0].weight += 1

    def losses() -> list[Tensor]:
        assert not network.training
        return [network(torch.rand(1, 4))[0, 0] for _ in range(3)]

    start = network[0].weight.detach().clone()
    train_to_resist(network, Resistance(0.1, 2.0, 3.0), fit, losses)
    assert [poisoned for poisoned, _ in seen] == [False, True, False]
    plain, poisoned, clean = (gradients for _, gradients in seen)
    assert plain == GradientStep(network)
    assert (poisoned.sharpness, clean.sharpness) == (0.1, 0.0)
    assert torch.equal(poisoned.anchor.home["0.weight"], start + 1)
    assert poisoned.anchor.importance is None
    assert torch.equal(clean.anchor.home["0.weight"], start + 2)
    assert clean.anchor.importance["0.weight"].shape == start.shape
    seen.clear()
    train_to_resist(network, NO_RESISTANCE, fit, losses)
    assert seen == [(True, GradientStep(network))]


def test_an_anchored_network_stays_nearer():
    inputs, labels = torch.rand(32, 4), torch.arange(32) % 3
    moved = []
    for strength in (0.0, 10.0):
        network = tiny()
        before = [weight.detach().clone() for weight in network.parameters()]
        step = GradientStep(network, anchor=WeightAnchor(network, strength))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for _ in range(20):
            step(lambda network=network: functional.cross_entropy(network(inputs), labels))
            optimizer.step()
        moved.append(sum(float((w.detach() - b).norm()) for w, b in zip(network.parameters(), before, strict=True)))
    assert moved[1] < 0.5 * moved[0]


def test_the_words():
    assert read_resistance(()) == NO_RESISTANCE
    assert read_resistance(("sharpness", "anchoring=2")) == Resistance(sharpness=USUAL.sharpness, anchoring=2.0)


@pytest.mark.parametrize("word", ["flatness", "sharpness=", "anchoring=-1", "sequential=much", "anchoring=nan"])
def test_other_words_are_refused(tmp_path, word):
    with pytest.raises(UsageProblem, match=f"--resist {word}: expected"):
        SYNTHESIZERS.get("r4")(tmp_path / "x", 2, 0, SynthesisOptions(resist=(word,)))
    with pytest.raises(UsageProblem, match="cannot be synthesised with --resist"):
        SYNTHESIZERS.get("r12")(tmp_path / "x", 2, 0, SynthesisOptions(resist=("sharpness",)))
