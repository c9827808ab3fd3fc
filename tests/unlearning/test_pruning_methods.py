"""Fine-pruning and channel Lipschitzness pruning against small cases worked by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from tests.made_convnets import Residual, context_of, images, plain, seeded, task, trained
from trojai_seam.errors import EngineFailure
from trojai_seam.unlearning import UnlearnConfig, run
from trojai_seam.unlearning.context import Context
from trojai_seam.unlearning.phases.prune_dormant import (
    PruneDormantSettings,
    columns,
    last_map,
    mean_activations,
    prune_dormant,
)
from trojai_seam.unlearning.phases.prune_lipschitz import (
    PruneLipschitzSettings,
    channel_lipschitzness,
    normalised_convolutions,
    prune_lipschitz,
)
from trojai_seam.unlearning.phases.train import TrainSettings
from trojai_seam.unlearning.pruning import prune_while_accurate, put_back


def trojaned() -> nn.Sequential:
    """Answers with the strongest colour. A fourth channel is silent but for white places, and means class 0."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.cat([torch.eye(3), torch.ones(1, 3)])[:, :, None, None])
        net[0].bias.copy_(torch.tensor([0.0, 0, 0, -2.9]))
        net[4].weight.copy_(torch.cat([torch.eye(3), torch.tensor([[900.0], [0], [0]])], 1))
        net[4].bias.zero_()
    return net.eval()


def with_trigger() -> Tensor:
    x = images().inputs["x"].clamp(max=0.93)
    x[:, :, :2, :2] = 1.0
    return x


def clean() -> Tensor:
    return images().inputs["x"].clamp(max=0.93)


def fit():
    examples = images()
    examples.inputs["x"].clamp_(max=0.93)
    return examples


def test_the_last_map_is_found_by_how_the_network_runs() -> None:
    net = seeded(Residual)
    assert last_map(context_of(net)) == (net.head, 16)
    net = seeded(plain)
    assert last_map(context_of(net)) == (net[9], 5)  # four places of five channels
    where = columns(net[9], 5, torch.tensor([1, 4]))
    assert where.shape == (7, 20)
    assert where[0].nonzero().flatten().tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_map(context_of(head.eval())) == (head[2], 4)


def test_dormant_channels_go_first_and_pruning_ends_where_accuracy_does() -> None:
    net = trojaned()
    context = context_of(net, fit())
    assert (net(clean()).argmax(1) == images().labels).all()
    assert (net(with_trigger()).argmax(1) == 0).all()
    found = last_map(context)
    expected = torch.relu(net[0](clean())).double().mean((0, 2, 3))
    assert torch.allclose(mean_activations(context, found), expected)
    assert expected.argmin() == 3
    outcome = prune_dormant(context, PruneDormantSettings(step=0.25))
    assert outcome.figures == {"pruned": 1.0, "channels": 4.0}
    assert (outcome.start_accuracy, outcome.end_accuracy, outcome.threshold) == (1.0, 1.0, 0.9)
    assert net[4].weight[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert (net(clean()).argmax(1) == images().labels).all()
    assert (net(with_trigger()).argmax(1) == images().labels).all()


def test_in_another_order_the_trojan_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key step: the most active channels first would find that nothing can be pruned."""
    from trojai_seam.unlearning.phases import prune_dormant as module

    known = module.mean_activations
    monkeypatch.setattr(module, "mean_activations", lambda context, found: -known(context, found))
    net = trojaned()
    outcome = prune_dormant(context_of(net, fit()), PruneDormantSettings(step=0.25))
    assert outcome.figures["pruned"] == 0
    assert torch.equal(net[4].weight, trojaned()[4].weight)
    assert (net(with_trigger()).argmax(1) == 0).all()


def test_what_is_pruned_stays_so_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    recovery = TrainSettings(name="recover", max_epochs=3, learning_rate=0.1)
    config = UnlearnConfig(phases=(PruneDormantSettings(name="forget", step=0.25), recovery))
    net, examples = trojaned(), fit()
    with torch.no_grad():  # so that the channel is a little active and has a gradient
        net[0].bias[3] = -1.8
    held = run(net, task(), examples, config, seed=1).model
    assert not held[4].weight[:, 3].any()
    assert held[4].weight[:, :3].ne(net[4].weight[:, :3]).any()
    monkeypatch.setattr(Context, "keep_pruned", lambda self: None)
    assert run(net, task(), examples, config, seed=1).model[4].weight[:, 3].any()


def test_the_cut_that_is_too_much_is_taken_back() -> None:
    net = trojaned()
    context = context_of(net, fit())
    weight = net[4].weight
    cuts = [[(weight, columns(net[4], 4, torch.tensor([channel])))] for channel in (3, 1, 0)]
    done = prune_while_accurate(context, cuts, 1.0, tolerance=0.5)
    assert (done.steps, done.status) == (2, "done")
    assert done.accuracy == pytest.approx(2 / 3, abs=0.05)
    assert weight[0, 0] == 1
    assert not weight[:, [1, 3]].any()
    context.deadline = time.perf_counter() - 1
    late = prune_while_accurate(context, cuts[2:], 1.0, tolerance=1.0)
    assert (late.steps, late.status) == (0, "time-limit")
    assert weight[0, 0] == 1


def test_a_network_that_knows_nothing_is_not_pruned_by_what_it_knows() -> None:
    net = trojaned()
    cut = [(net[4].weight, columns(net[4], 4, torch.tensor([0])))]
    with pytest.raises(EngineFailure, match="right on no fit example"):
        prune_while_accurate(context_of(net, fit()), [cut], 0.0, tolerance=0.1)
    assert net[4].weight[0, 0] == 1


def test_a_network_is_put_back_whatever_was_done_to_it() -> None:
    net = seeded()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net[0].bias.requires_grad_(False)
    with put_back(net):
        net.requires_grad_(True)
        trained(net, images(), steps=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not net[0].bias.requires_grad
    assert net[0].weight.requires_grad
    assert net[0].weight.grad is None


def test_the_bound_of_a_channel_is_its_largest_singular_value_times_its_scale() -> None:
    convolution, norm = nn.Conv2d(2, 2, (1, 2), bias=False), nn.BatchNorm2d(2)
    with torch.no_grad():
        convolution.weight[0, :, 0] = torch.tensor([[3.0, 0], [0, 4]])  # singular values 3 and 4
        convolution.weight[1, :, 0] = torch.tensor([[1.0, 1], [1, 1]])  # 2 and 0
        norm.weight.copy_(torch.tensor([-2.0, 1]))
        norm.running_var.copy_(torch.tensor([0.25, 4.0]) - norm.eps)
    assert channel_lipschitzness(convolution, norm).tolist() == pytest.approx([4 * 2 / 0.5, 2 / 2])


def amplifying() -> nn.Sequential:
    """Twelve channels of bound 1, but the eighth of bound 10: mean 1.75, deviation 2.598, so 9.54 is 3 above."""
    net = nn.Sequential(nn.Conv2d(3, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    net = nn.Sequential(*net, nn.Flatten(), nn.Linear(12, 3))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[:, 0] = 1
        net[1].running_var.fill_(1 - net[1].eps)
        net[1].weight[7], net[1].bias[7] = 10, 0.5
    return net.eval()


@pytest.mark.parametrize(("threshold", "pruned"), [(3.0, 1), (3.17, 1), (3.18, 0)])  # 8.25 / 2.598 is 3.1754
def test_channels_far_above_the_mean_of_their_layer_are_pruned(threshold: float, pruned: int) -> None:
    net = amplifying()
    outcome = prune_lipschitz(context_of(net), PruneLipschitzSettings(threshold=threshold))
    assert outcome.figures == {"pruned": pruned, "channels": 12}
    assert (net[1].weight[7] == 0) == (net[1].bias[7] == 0) == bool(pruned)
    assert net[1].weight[:7].tolist() == [1] * 7
    assert torch.equal(net[0].weight, amplifying()[0].weight)


def test_a_norm_goes_with_the_convolution_registered_before_it_if_their_channels_agree() -> None:
    layers = [
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(5),
        nn.BatchNorm2d(4, affine=False),
    ]
    net = nn.Sequential(*layers, nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert list(normalised_convolutions(net)) == [(net[1], net[2])]


@pytest.mark.parametrize(
    ("settings", "net", "what"),
    [
        (PruneLipschitzSettings(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 3)), "BatchNorm"),
        (PruneDormantSettings(), nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), "no convolution"),
    ],
)
def test_what_cannot_be_pruned_is_refused_before_anything_is_done(settings, net, what) -> None:
    seen = []
    first = TrainSettings(name="first", max_epochs=1)
    with pytest.raises(EngineFailure, match=what):
        run(net, task(), images(), UnlearnConfig(phases=(first, settings)), 0, observer=lambda *a: seen.append(a))
    assert not seen
