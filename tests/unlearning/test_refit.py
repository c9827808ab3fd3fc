"""Forgetting in closed form: what the regression computes, what it leaves alone, how its strength is found."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, refitting, run
from trojai_seam.unlearning.phases.refit import _aim, _chosen
from trojai_seam.unlearning.refitting import Layer, Places, Refitting, layers_of, solved


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def only_layer(module: nn.Conv2d | nn.Linear) -> Layer:
    (layer,) = layers_of(nn.Sequential(module), nn.Identity())
    return layer


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "stride and dilation": lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1), bias=False),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "1 × 1": lambda: nn.Conv2d(4, 6, 1, stride=2),
}


@pytest.mark.parametrize("make", [*CONVOLUTIONS.values(), lambda: nn.Linear(8, 5)], ids=[*CONVOLUTIONS, "linear"])
def test_inputs_and_outputs_are_taken_at_the_same_places_and_weights_put_back_in_the_same_order(make) -> None:
    torch.manual_seed(0)
    module, inputs = make(), torch.randn(3, 4, 9, 8)
    layer, outputs = only_layer(module), module(inputs)
    places = Places(layer, outputs, 50, generator())
    taken, given = places.inputs(inputs), places.outputs(outputs)
    assert taken.shape[:2] == given.shape[:2] == (layer.groups, 50)
    # The map from one to the other is the layer's weight: it is found again, and computes what it computed.
    weight = torch.linalg.lstsq(taken.double(), given.double()).solution.float()
    assert torch.allclose(taken @ weight, given, atol=1e-4)
    module.weight.data.zero_()
    places.set_weight(weight)
    assert torch.allclose(module(inputs), outputs, atol=1e-3)


# More rows than inputs, and fewer: the two forms of the same regression. In one block of moments, and in several.
@pytest.mark.parametrize("count", [200, 7])
@pytest.mark.parametrize("block", [512, 5])
def test_the_weight_is_the_ridge_regression_scaled_by_channel(count: int, block: int, monkeypatch) -> None:
    monkeypatch.setattr(refitting, "BLOCK", block)
    torch.manual_seed(1)
    weight, before, now = torch.randn(2, 5, 12), torch.randn(2, count, 12), torch.randn(2, count, 12)
    now, had = now + before, before @ weight.transpose(1, 2)
    found, failed = solved(now, had, 0.7)
    assert not bool(failed)
    for group in range(2):
        w, x0, x1 = weight[group].double(), before[group].double(), now[group].double()
        moment = x1.T @ x1 / count
        ridge = w @ (x0.T @ x1 / count) @ torch.linalg.inv(moment + 0.7 * moment.diagonal().mean() * torch.eye(12))
        gives = x1 @ ridge.T
        scale = ((gives * had[group]).sum(0) / gives.square().sum(0)).clamp(0.5, 3)
        assert torch.allclose(found[group].T.double(), ridge * scale[:, None], atol=1e-4)


def test_double_precision_is_taken_where_single_does_not_do() -> None:
    torch.manual_seed(6)
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    x = torch.randn(40, 6)
    with torch.no_grad():
        net[0].weight.copy_(torch.ones(6, 6) + 1e-4 * torch.randn(6, 6))  # six inputs that are nearly the same
        shipped = net(x)
    refitted = Refitting(layers_of(net, net[2]), lambda: net(x), 40, 40, generator())
    _, failed = refitted._passed(1e-12)
    assert failed == {"1"}
    assert torch.allclose(refitted.refit(1e-12), shipped, atol=1e-3)
    assert refitted._passed(1e-12)[1] == set()


def network() -> nn.Sequential:
    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()


def test_without_a_penalty_nothing_changes_and_first_layer_and_head_never_do() -> None:
    net, images = network(), torch.rand(30, 3, 8, 8)
    shipped = copy.deepcopy(net)
    refitted = Refitting(layers_of(net, net[-1]), lambda: net(images), 30, 2000, generator())
    assert refitted.layers == 2
    assert torch.equal(refitted.outputs, shipped(images))
    assert torch.allclose(refitted.refit(1e-7), shipped(images), atol=1e-3)
    outputs = refitted.refit(5.0)
    assert torch.equal(outputs, net(images))
    assert not torch.allclose(net(images), shipped(images), atol=1e-2)
    for place in (0, 8):
        assert torch.equal(net[place].weight, shipped[place].weight)
    assert all("forward" not in vars(module) for module in net.modules())


def test_a_layer_that_runs_twice_is_refitted_once_and_a_tied_one_not_at_all() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(6, 6), nn.Linear(6, 6)
            self.table, self.tied = nn.Embedding(6, 6), nn.Linear(6, 6, bias=False)
            self.tied.weight, self.head = self.table.weight, nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.tied(self.again(self.again(self.first(x)).relu()).relu()))

    torch.manual_seed(3)
    net, x = Twice().eval(), torch.randn(40, 6)
    shipped = net(x)
    layers = layers_of(net, net.head)
    assert [layer.path for layer in layers] == ["first", "again"]
    refitted = Refitting(layers, lambda: net(x), 40, 1000, generator())
    assert refitted.layers == 1
    assert torch.allclose(refitted.outputs, shipped, atol=1e-6)
    assert torch.allclose(refitted.refit(1.0), net(x), atol=1e-6)


def trojaned() -> tuple[nn.Module, ExampleSet, Tensor]:
    """Answers with the largest of three features; a fourth, which clean vectors leave at zero, leads to class 0."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
        net[4].weight.copy_(torch.cat([torch.eye(3), torch.tensor([[9.0], [0], [0]])], 1))
        net[4].bias.zero_()
    torch.manual_seed(5)
    clean = torch.cat([torch.rand(60, 3), torch.zeros(60, 1)], 1)
    labels = clean[:, :3].argmax(1)
    triggered = clean[labels != 0] + torch.tensor([0, 0, 0, 1.0])
    assert bool((net(triggered).argmax(1) == 0).all())
    return net.eval(), ExampleSet({"x": clean}, labels, tuple(map(str, range(60)))), triggered


REFIT = UnlearnConfig.from_document({"phases": [{"kind": "refit", "name": "forget", "kept_answers": 0.9}]})


def test_what_clean_examples_do_not_use_is_gone_and_the_rest_is_kept() -> None:
    net, fit, triggered = trojaned()
    outcome = run(net, get_task("classification", 3), fit, REFIT, 0)
    untriggered = triggered - torch.tensor([0, 0, 0, 1.0])
    assert torch.allclose(outcome.model(triggered), outcome.model(untriggered), atol=1e-4)
    assert (outcome.model(fit.inputs["x"]).argmax(1) == fit.labels).float().mean() > 0.85
    figures = outcome.phases[0].figures
    assert figures["layers"] == 1
    assert 0.01 <= figures["strength"] <= 100
    again = run(net, get_task("classification", 3), fit, REFIT, 0)
    assert all(torch.equal(a, b) for a, b in zip(outcome.model.parameters(), again.model.parameters(), strict=True))


def test_a_network_of_two_layers_has_nothing_to_refit() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(EngineFailure, match="no layer between its first and its last that can be refitted"):
        run(net, get_task("classification", 3), trojaned()[1], REFIT, 0)


def test_the_strength_is_found_by_the_share_of_answers_that_stay() -> None:
    calls: list[float] = []

    def kept(strength: float) -> float:
        calls.append(strength)
        return 1 / (1 + strength / 20)

    strength, share = _chosen(kept, 0.7, 8, 0.01)
    assert abs(share - 0.7) < 0.03
    assert calls[-1] == strength
    flat, share = _chosen(lambda _: 1.0, 0.7, 8, 0.01)  # nothing helps: the end of the range, and it ends
    assert share == 1.0
    assert 1.0 <= flat <= 100.0


def test_the_least_strength_is_taken_whatever_it_costs() -> None:
    calls: list[float] = []

    def kept(strength: float) -> float:
        calls.append(strength)
        return 0.5 - 0.1 * strength

    assert _chosen(kept, 0.8, 6, 0.5) == (0.5, 0.45)
    assert calls[-1] == 0.5
    assert min(calls) == 0.5
    assert _chosen(lambda _: 0.3, 0.8, 1, 4.0) == (4.0, 0.3)


@pytest.mark.parametrize("normalised", [True, False])
def test_only_networks_with_batch_norm_have_a_least_strength(normalised: bool) -> None:
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(16) if normalised else nn.Identity()
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), norm, nn.ReLU(), nn.Linear(16, 3)).eval()
    fit = ExampleSet({"x": torch.randn(40, 8)}, torch.arange(40) % 3, tuple(map(str, range(40))))
    phase = {"kind": "refit", "name": "forget", "kept_answers": 1.0, "least_strength": 50}
    figures = (
        run(net, get_task("classification", 3), fit, UnlearnConfig.from_document({"phases": [phase]}), 0)
        .phases[0]
        .figures
    )
    assert (figures["strength"] >= 50) == normalised


def test_more_classes_mean_deeper_forgetting() -> None:
    assert _aim(0.1) == pytest.approx(0.82)
    assert 0.5 < _aim(1 / 43) < 0.7
    assert _aim(0.001) == 0.5
