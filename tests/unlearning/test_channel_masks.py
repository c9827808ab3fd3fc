"""Adversarial and reconstructive neuron pruning against small cases worked by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.made_convnets import context_of, images, plain, seeded, task, trained
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet
from trojai_seam.unlearning import UnlearnConfig, resolve, run
from trojai_seam.unlearning.phases.ascend import AscendSettings, ascend
from trojai_seam.unlearning.phases.learn_mask import LearnMaskSettings, MaskLearning, learn_mask
from trojai_seam.unlearning.phases.prune_masked import PruneMaskedSettings, prune_masked
from trojai_seam.unlearning.training import Batch
from trojai_seam.unlearning.weight_masks import WeightMasks, WithTensors, scaling_layers


def scaled(scales: list[float], shifts: list[float], head: list[list[float]]) -> nn.Sequential:
    """BatchNorm that only scales and shifts (its statistics are 0 and 1), and a linear layer."""
    net = nn.Sequential(nn.BatchNorm1d(len(scales), eps=1e-12), nn.Linear(len(scales), len(head)))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(scales))
        net[0].bias.copy_(torch.tensor(shifts))
        net[1].weight.copy_(torch.tensor(head))
        net[1].bias.zero_()
    return net.eval()


def vectors(x: list[list[float]], labels: list[int]) -> ExampleSet:
    names = tuple(map(str, range(len(labels))))
    return ExampleSet({"x": torch.tensor(x)}, torch.tensor(labels), names)


def batch_of(fit: ExampleSet) -> Batch:
    where = torch.arange(len(fit))
    return Batch(where, where, fit.labels)


EYE = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_masks_multiply_scales_and_noise_comes_on_top() -> None:
    net = scaled([2.0, -3, 1], [0.5, 1, -1], EYE)
    masks, x = WeightMasks(scaling_layers(net)), torch.tensor([[1.0, 2, 3]])
    masks.values["0"].data.copy_(torch.tensor([0.5, 1, 0]))
    assert WithTensors(net, masks.tensors())(x).tolist()[0] == pytest.approx([1.5, -5, -1])
    noise = {"0": (torch.tensor([0.1, -0.2, 0.3]), torch.tensor([1.0, 0, -0.5]))}
    assert WithTensors(net, masks.tensors(noise))(x).tolist()[0] == pytest.approx([1.2 + 1, -4.8 + 1, 0.9 - 0.5])
    assert net(x).tolist()[0] == pytest.approx([2.5, -5, 2])
    with masks.applied():
        assert net(x).tolist()[0] == pytest.approx([1.5, -5, -1])
    assert net(x).tolist()[0] == pytest.approx([2.5, -5, 2])


def test_the_attack_goes_one_step_up_the_loss_from_its_random_start() -> None:
    # With class 0 right, the loss falls with what channel 0 gives and rises with channels 1 and 2.
    net, fit = scaled([2.0, -1, 1], [1.0, 1, -1], EYE), vectors([[1.0, 1, 2]], [0])
    context = context_of(net, fit, batch_norm="frozen-stats")
    learning = MaskLearning(context, LearnMaskSettings(epsilon=0.4))
    torch.manual_seed(5)
    scales, shifts = torch.empty(3).uniform_(-0.4, 0.4), torch.empty(3).uniform_(-0.4, 0.4)
    torch.manual_seed(5)
    noise = learning.attack(dict(fit.inputs), batch_of(fit))["0"]
    assert torch.allclose(noise[0], scales + 0.4 * torch.tensor([-1.0, -1, 1]))
    assert torch.allclose(noise[1], shifts + 0.4 * torch.tensor([-1.0, 1, -1]))
    assert not noise[0].requires_grad
    torch.manual_seed(5)
    ours = learning.loss(dict(fit.inputs), batch_of(fit))
    x, scale, shift = fit.inputs["x"], torch.tensor([2.0, -1, 1]), torch.tensor([1.0, 1, -1])
    attacked = functional.cross_entropy(scale * (1 + noise[0]) * x + shift * (1 + noise[1]), fit.labels)
    clean = functional.cross_entropy(scale * x + shift, fit.labels)
    assert ours.item() == pytest.approx((0.2 * clean + 0.8 * attacked).item())


def test_without_the_attack_masks_are_others() -> None:
    """The key step of adversarial neuron pruning."""
    net, fit = trained(seeded(), images()), images()
    found = []
    for epsilon in (0.4, 0.4, 0.0):
        context = context_of(net, fit)
        torch.manual_seed(0)
        settings = LearnMaskSettings(epsilon=epsilon, max_epochs=6, optimizer="sgd", learning_rate=0.2)
        outcome = learn_mask(context, settings)
        assert (outcome.status, outcome.epochs) == ("no-rule", 6)
        found.append(torch.cat(list(context.masks.values())))
    assert torch.equal(found[0], found[1])
    assert found[0].min() < 0.98
    assert (found[0] - found[2]).abs().max() > 0.02
    assert all(mask.min() >= 0 and mask.max() <= 1 for mask in found)


def test_a_mask_leaves_out_the_channel_that_was_harmed_and_the_shipped_network_is_pruned() -> None:
    """Reconstructive neuron pruning: as if ascent had made channel 1 speak for the wrong class."""
    x = [[3.0, 2, 1], [1, 2, 3], [3, 1, 2], [1, 3, 4], [1, 2, 3], [4, 1, 0]]
    fit = vectors(x, [0, 2, 0, 2, 2, 0])
    shipped = scaled([1.0, 1, 1], [0.0, 0, 0], [[1.0, 0, 0], [0, 0.1, 0], [0, 0, 1]])
    harmed = scaled([1.0, 1, 1], [0.0, 0, 0], [[1.0, 0, 0], [0, 9, 0], [0, 0, 1]])
    context = context_of(harmed, fit, batch_norm="frozen-stats")
    context._shipped = shipped
    outcome = learn_mask(context, LearnMaskSettings(max_epochs=60, optimizer="sgd", learning_rate=0.2))
    assert (outcome.start_accuracy, outcome.end_accuracy) == (0, 1)
    mask = context.masks["0"]
    assert (mask > 0.5).tolist() == [True, False, True]
    assert harmed[1].weight[1, 1] == 9
    assert harmed[0].weight.requires_grad
    pruned = prune_masked(context, PruneMaskedSettings(of_shipped=True, largest=0.5))
    assert harmed[0].weight.tolist() == [1, 0, 1]
    assert torch.equal(harmed[1].weight, shipped[1].weight)
    assert pruned.figures["pruned"] == 1
    assert (pruned.start_accuracy, pruned.end_accuracy, pruned.status) == (1, 1, "done")


def test_without_the_ascent_masks_have_less_to_leave_out() -> None:
    """The key step of reconstructive neuron pruning."""
    shipped, found = trained(seeded(), images()), []
    for epochs in (50, 0):
        context = context_of(copy.deepcopy(shipped), images())
        ascend(context, AscendSettings(max_epochs=epochs, learning_rate=0.05, stop={"accuracy": 0.4}))
        torch.manual_seed(0)
        learn_mask(context, LearnMaskSettings(max_epochs=8, optimizer="sgd", learning_rate=0.2))
        found.append(torch.cat(list(context.masks.values())))
    assert found[0].min() < 0.1
    assert found[1].min() > 0.99


def test_the_largest_threshold_counts_that_clean_examples_allow() -> None:
    fit = vectors([[3.0, 2, 1], [1, 3, 2], [1, 2, 3], [3.0, 1, 1]], [0, 1, 2, 0])
    net = scaled([1.0, 1, 1], [0.1, 0.2, 0.3], EYE)
    context = context_of(net, fit)
    context.masks = {"0": torch.tensor([0.86, 0.31, 0.0])}
    outcome = prune_masked(context, PruneMaskedSettings(tolerance=0.25))  # 0.75 may be left, which channel 2 takes
    assert net[0].weight.tolist() == [1, 1, 0]
    assert net[0].bias.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert outcome.figures == {"pruned": 1, "channels": 3, "candidates": 3, "mask_threshold": 0}
    assert (outcome.threshold, outcome.end_accuracy) == (0.75, 0.75)
    outcome = prune_masked(context, PruneMaskedSettings(tolerance=0.5))  # 0.375 may be left: channel 1 goes, too
    assert net[0].weight.tolist() == [1, 0, 0]
    assert outcome.figures == {"pruned": 2, "channels": 3, "candidates": 3, "mask_threshold": pytest.approx(0.35)}


def test_ascent_forgets_and_then_ends() -> None:
    net, fit = trained(seeded(), images()), images()
    settings = AscendSettings(name="forget", max_epochs=50, learning_rate=0.05, stop={"accuracy": 0.4})
    outcome = run(net, task(), fit, UnlearnConfig(phases=(settings,)), 0)
    phase = outcome.phase("forget")
    assert phase.status == "reached"
    assert phase.start_accuracy > 0.9
    assert phase.end_accuracy < 0.4
    assert outcome.trace[0].loss < 0  # the loss that is made smaller is the negative of cross-entropy


def test_published_settings() -> None:
    mask, prune = resolve("anp").phases
    assert resolve("anp").batch_size == resolve("rnp").batch_size == 128
    assert (mask.epsilon, mask.attack_steps, mask.alpha) == (0.4, 1, 0.2)
    assert (mask.optimizer, mask.learning_rate, mask.momentum, mask.weight_decay) == ("sgd", 0.2, 0.9, 0)
    assert mask.max_steps == mask.max_epochs * mask.examples_per_epoch // 128 == 2000
    assert (prune.largest, prune.step, prune.of_shipped) == (0.9, 0.05, False)
    forget, mask, prune = resolve("rnp").phases
    assert (forget.optimizer, forget.learning_rate, forget.momentum, forget.weight_decay) == ("sgd", 0.01, 0.9, 5e-4)
    assert [round(share * forget.max_epochs) for share in forget.milestones] == [10, 20]
    assert (forget.stop.accuracy, forget.max_grad_norm) == (0.2, 20)
    assert (mask.epsilon, mask.alpha, mask.learning_rate, mask.momentum, mask.max_epochs) == (0, 0.2, 0.2, 0.9, 20)
    assert (prune.largest, prune.step, prune.of_shipped) == (0.9, 0.05, True)


@pytest.mark.parametrize("name", ["super-fine-tuning", "fine-pruning", "clp", "nad", "anp", "rnp", "nft", "awm"])
def test_each_method_runs_leaves_the_original_alone_and_is_the_same_again(name: str) -> None:
    net, fit = trained(seeded(plain), images()), images()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    options = {} if name == "clp" else {"max_epochs": "2"}
    if name in ("anp", "nft", "awm"):
        options |= {"examples_per_epoch": "18"}
    config = resolve(name, options)
    once, twice = (run(net, task(), fit, config, 4) for _ in range(2))
    assert [phase.phase for phase in once.phases] == [phase.name for phase in config.phases]
    assert all(0 <= phase.end_accuracy <= 1 and phase.seconds > 0 for phase in once.phases)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert list(once.model.state_dict()) == list(before)
    same = zip(once.model.state_dict().values(), twice.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_what_has_no_batch_norm_or_no_masks_is_refused_before_anything_is_done() -> None:
    seen: list[object] = []
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    for name in ("anp", "rnp", "nft"):
        with pytest.raises(EngineFailure, match="no BatchNorm layer"):
            run(net, task(), images(), resolve(name), 0, observer=lambda *a: seen.append(a))
    config = UnlearnConfig(phases=(PruneMaskedSettings(name="prune"),))
    with pytest.raises(EngineFailure, match="needs a phase of kind learn-mask before it"):
        run(seeded(), task(), images(), config, 0, observer=lambda *a: seen.append(a))
    assert not seen
