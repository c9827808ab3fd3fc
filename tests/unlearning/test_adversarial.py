"""I-BAU and SAU: the implicit hypergradient against exact differentiation, searches and losses by hand, whole runs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.adversarial import implicit_part, signed_descent, span, universal
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.phases.shared_adversarial import shared_loss, unlearning_loss

TASK = get_task("classification", 3)


def hypergradient(iterations: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of ½|x - c|² at the x that makes ½xᵀAx - xᵀBw least: what is added, what is exact, the first so many terms."""
    torch.manual_seed(0)
    root, b, c = torch.randn(4, 4), torch.randn(4, 3), torch.randn(4)
    a = root @ root.T / 4 + torch.eye(4)
    w = torch.randn(3, requires_grad=True)
    x = torch.linalg.solve(a, b @ w).detach().requires_grad_()
    inner = x @ a @ x / 2 - x @ b @ w
    (slope,) = torch.autograd.grad(inner, x, create_graph=True)
    outer = (x - c).detach()
    (added,) = torch.autograd.grad(implicit_part(slope, x, outer, 0.2, iterations), w)
    free = torch.linalg.solve(a, b @ w)
    (exact,) = torch.autograd.grad((free - c).square().sum() / 2, w)
    series = sum(torch.linalg.matrix_power(torch.eye(4) - 0.2 * a, k) for k in range(iterations))
    return added, exact, 0.2 * b.T @ series @ outer


def test_the_implicit_hypergradient_is_the_exact_one_on_a_quadratic() -> None:
    added, exact, _ = hypergradient(200)
    torch.testing.assert_close(added, exact, atol=1e-4, rtol=1e-4)
    five, exact, terms = hypergradient(5)
    torch.testing.assert_close(five, terms)
    assert not torch.allclose(five, exact, atol=1e-2)


def test_searches_step_as_worked_out_by_hand() -> None:
    wanted = [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 2.0]])]
    losses = [(lambda change, to=to: (change - to).square().sum() / 2, 0.5) for to in wanted]
    assert universal(torch.zeros(1, 2), losses).tolist() == [[1.0, 1.0]]
    seen = []

    def loss(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(change.tolist())
        return (change * torch.tensor([[1.0, -1.0]])).sum(), torch.tensor([len(seen) == 3])

    found = signed_descent(torch.full((1, 2), 0.2), loss, rate=0.3, bound=0.2, steps=9)
    assert torch.allclose(torch.tensor(seen), torch.tensor([[[0.2, 0.2]], [[-0.1, 0.2]], [[-0.2, 0.2]]]))
    assert torch.allclose(found, torch.tensor([[-0.2, 0.2]]))
    assert span(torch.tensor([-2.0, 1.0, 2.5])) == 4.5


def test_the_losses_of_shared_unlearning_are_those_worked_out_by_hand() -> None:
    labels = torch.tensor([0, 0, 0])
    mine = torch.tensor([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]).log()
    shipped = torch.tensor([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]).log()
    before = [torch.zeros(3, dtype=torch.int64)] * 2
    loss, shared = shared_loss([mine, shipped], before, labels, fool_weight=0.3, share_weight=2.0)
    assert shared.tolist() == [True, False, False]

    def divergence(p: torch.Tensor, q: torch.Tensor) -> float:
        middle = (p + q) / 2
        return float((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2

    apart = sum(divergence(mine[n].exp(), shipped[n].exp()) for n in (1, 2))
    left = -(math.log(0.7) + math.log(0.6)) / 2  # mine is not fooled in the second, the shipped one not in the third
    assert float(loss) == pytest.approx((2.0 * apart - 0.3 * left) / 3, rel=1e-4)
    said, fooled = shipped.argmax(dim=1), torch.tensor([True, True, False])
    by_hand = -(math.log(0.2 + 1e-6) + math.log(0.9 + 1e-6)) / 3
    assert float(unlearning_loss(mine, said, fooled)) == pytest.approx(by_hand, rel=1e-5)
    sure = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    unlearning_loss(sure, torch.tensor([1]), torch.tensor([True])).backward()
    assert bool((sure.grad == 0).all())  # unlearnt already


def made() -> tuple[nn.Sequential, ExampleSet, ExampleSet]:
    """A network that tells colours, and that a bright corner leads to class 0; its examples, and triggered ones."""
    torch.manual_seed(2)
    labels = torch.arange(60) % 3
    images = 0.15 * torch.rand(60, 3, 6, 6)
    images[torch.arange(60), labels] += 0.5
    images[..., 4:, 4:] = 0.0
    triggered = images.clone()
    triggered[..., 4:, 4:] = 1.0
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        scores = net(torch.cat([images, triggered]))
        nn.functional.cross_entropy(scores, torch.cat([labels, torch.zeros_like(labels)])).backward()
        optimizer.step()
    names = tuple(map(str, range(60)))
    return net.eval(), ExampleSet({"x": images}, labels, names), ExampleSet({"x": triggered}, labels, names)


class Attending(nn.Module):
    """Pixels that attend to each other by torch's fused attention, which has no second derivative on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x.flatten(2).transpose(1, 2))[:, None]
        return self.head(nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0].mean(dim=1))


def test_the_implicit_hypergradient_goes_through_attention() -> None:
    _, fit, _ = made()
    torch.manual_seed(0)
    outcome = unlearn(Attending().eval(), TASK, fit, resolve("i-bau", {"recover.max_epochs": "1"}), 0)
    assert outcome.phase("recover").steps > 0


@pytest.mark.parametrize(
    ("preset", "off"),
    [("i-bau", {"recover.iterations": "0"}), ("sau", {"recover.unlearn_weight": "0"})],
    ids=["i-bau", "sau"],
)
def test_presets_run_and_their_key_step_makes_a_difference(preset: str, off: dict[str, str]) -> None:
    net, fit, _ = made()
    config = resolve(preset, {"recover.max_epochs": "3", "recover.learning_rate": "0.001", "batch_size": "30"})
    first, again = (unlearn(net, TASK, fit, config, 3) for _ in range(2))
    without = unlearn(net, TASK, fit, config.with_options(off), 3)
    other = unlearn(net, TASK, fit, config, 4)

    def weights(outcome) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in outcome.model.parameters()])

    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(without))
    assert not torch.equal(weights(first), weights(other))
    phase = first.phase("recover")
    assert (phase.epochs, phase.steps, phase.status) == (3, 6, "no-rule")
    assert phase.end_accuracy > 0.9
    assert [epoch.steps for epoch in first.trace] == [2, 2, 2]
    assert torch.equal(first.model[1].running_mean, net[1].running_mean)
    late = unlearn(net, TASK, fit, config.with_phase("recover", max_seconds=0.0), 3)
    assert late.phase("recover").status == "time-limit"


def test_shared_unlearning_takes_a_trigger_away_that_fine_tuning_leaves() -> None:
    net, fit, triggered = made()

    def success(config: UnlearnConfig) -> float:
        said = unlearn(net, TASK, fit, config, 0).model(triggered.inputs["x"]).argmax(dim=1)
        return float((said == 0)[triggered.labels != 0].float().mean())

    config = resolve("sau", {"recover.max_epochs": "25", "recover.learning_rate": "0.003"})
    assert success(config.with_options({"recover.unlearn_weight": "0"})) > 0.9
    assert success(config) < 0.8


@pytest.mark.parametrize("preset", ["i-bau", "sau"])
def test_published_numbers_and_other_modalities(preset: str) -> None:
    config = resolve(preset)
    (phase,) = config.phases
    assert config.batch_norm == "frozen-stats"
    if preset == "sau":
        assert (config.batch_size, phase.bound, phase.step, phase.steps) == (256, 0.2, 0.2, 5)
        assert (phase.fool_weight, phase.share_weight, phase.unlearn_weight) == (0.01, 1.0, 1.0)
        assert (phase.optimizer, phase.learning_rate, phase.max_epochs) == ("adam", 1e-4, 100)
    else:
        assert (config.batch_size, phase.iterations, phase.max_epochs) == (100, 5, 5)
        assert (phase.search_rate, phase.size_weight, phase.inner_rate, phase.share) == (10.0, 1e-3, 0.1, 0.01)
        assert (phase.optimizer, phase.learning_rate) == ("adam", 1e-3)
    vectors = ExampleSet({"x": torch.randn(6, 4)}, torch.arange(6) % 3, tuple("abcdef"))
    with pytest.raises(EngineFailure, match="is for images, this network works on vectors"):
        unlearn(nn.Linear(4, 3), TASK, vectors, config, 0)
