"""Neural fine-tuning and adversarial weight masking against small cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.made_convnets import Residual, context_of, images, seeded, task, trained
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet
from trojai_seam.unlearning import UnlearnConfig, resolve, run
from trojai_seam.unlearning.phases.mask_weights import MaskWeightsSettings, WeightMasking
from trojai_seam.unlearning.phases.tune_masks import MaskTuning, TuneMasksSettings
from trojai_seam.unlearning.training import Batch


def batch_of(fit: ExampleSet) -> Batch:
    where = torch.arange(len(fit))
    return Batch(where, where, fit.labels)


def test_images_are_mixed_and_masks_drawn_to_one() -> None:
    net, fit = seeded(Residual), images(6)
    context = context_of(net, fit, seed=3)
    tuning = MaskTuning(context, TuneMasksSettings(l1=0.5))
    with torch.no_grad():
        tuning.masks.values["norm"][2] = 0.25
        tuning.masks.values["first.norm"][0] = 0.5
    torch.manual_seed(7)
    loss = tuning.loss(dict(fit.inputs), batch_of(fit))
    torch.manual_seed(7)
    share = float(torch.distributions.Beta(1.0, 1.0).sample())
    other = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        net.norm.weight[2] *= 0.25
        net.first.norm.weight[0] *= 0.5
    scores = net(share * fit.inputs["x"] + (1 - share) * fit.inputs["x"][other])
    parts = [functional.cross_entropy(scores, labels) for labels in (fit.labels, fit.labels[other])]
    away = 0.5 / 2 * (0.75 + 0.5)  # two examples per class
    assert 0.05 < share < 0.95
    assert loss.item() == pytest.approx((share * parts[0] + (1 - share) * parts[1]).item() + away, rel=1e-5)


def test_early_layers_may_change_least() -> None:
    tuning = MaskTuning(context_of(seeded(Residual)), TuneMasksSettings())
    with torch.no_grad():
        for mask in tuning.masks.values.values():
            mask.copy_(torch.linspace(-1, 2, len(mask)))
        tuning.after_step()
    found = [(mask.min().item(), mask.max().item()) for mask in tuning.masks.values.values()]
    assert list(tuning.masks.values) == ["norm", "first.norm", "second.norm"]
    assert found == [(pytest.approx(0.8 * math.exp(-0.5 * layer)), 1.0) for layer in (1, 2, 3)]


def masks_after(net: nn.Module, **values: float) -> Tensor:
    settings = TuneMasksSettings(max_epochs=5, optimizer="sgd", learning_rate=0.2, **values)
    outcome = run(net, task(), images(), UnlearnConfig(phases=(settings,)), 1)
    assert [phase.status for phase in outcome.phases] == ["no-rule"]
    shipped, changed = dict(net.named_parameters()), dict(outcome.model.named_parameters())
    assert all(torch.equal(shipped[name], changed[name]) for name in shipped if not name.endswith("norm.weight"))
    return torch.cat([changed[name] / shipped[name] for name in shipped if name.endswith("norm.weight")])


def test_only_scales_change_and_both_steps_of_the_method_matter() -> None:
    net = trained(seeded(Residual), images())
    tuned = masks_after(net)
    assert tuned.min() < 0.98
    assert tuned.max() <= 1 + 1e-6
    assert (masks_after(net, mixup=0.0) - tuned).abs().max() > 0.01
    assert masks_after(net, l1=1.0).mean() > tuned.mean() + 0.005


def red_or_not() -> nn.Sequential:
    """The mean of red, and that of blue less a little, decide."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None])
        net[0].bias.zero_()
    return net.eval()


def test_the_perturbation_goes_against_the_answers_of_now_within_its_budget() -> None:
    x = torch.zeros(1, 3, 2, 2)
    x[:, 0] = 1.0  # scores 1 and 0: the answer is 0, whatever the label
    fit = ExampleSet({"x": x}, torch.tensor([1]), ("one",))
    masking = WeightMasking(context_of(red_or_not(), fit), MaskWeightsSettings(attack_rate=1.0, budget=10.0))
    wrong = 1 / (1 + math.e)  # the probability of the other class; a score moves by a quarter of one place
    expected = torch.tensor([-wrong / 4, 0, wrong / 4])[None, :, None, None].expand(1, 3, 2, 2)
    assert torch.allclose(masking.attack([batch_of(fit)]), expected)
    twice = masking.attack([batch_of(fit)] * 2)
    assert (twice.abs().sum() > 1.5 * expected.abs().sum()).item()
    masking.settings = masking.settings.changed(budget=0.001)
    assert masking.attack([batch_of(fit)] * 2).abs().mean().item() == pytest.approx(0.001)


def test_the_loss_weighs_clean_perturbed_and_the_sum_of_masks() -> None:
    fit = images(6)
    net = seeded(Residual)
    masking = WeightMasking(context_of(net, fit), MaskWeightsSettings(alpha=0.7, gamma=0.01))
    masking.perturbation = 0.3 * torch.randn(1, 3, 8, 8)
    x = fit.inputs["x"]
    perturbed = (x + masking.perturbation).clamp(x.min(), x.max())
    clean, robust = (functional.cross_entropy(net(images), fit.labels) for images in (x, perturbed))
    weights = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    loss = masking.loss(dict(fit.inputs), batch_of(fit))
    assert loss.item() == pytest.approx((0.7 * clean + 0.3 * robust).item() + 0.01 * weights, rel=1e-5)


def test_masks_are_on_convolutions_alone_and_without_the_perturbation_they_are_others() -> None:
    net, found = trained(seeded(Residual), images()), []
    for alpha in (0.5, 1.0):
        settings = MaskWeightsSettings(max_epochs=3, learning_rate=0.05, alpha=alpha, attack_rate=1e5)
        model = run(net, task(), images(), UnlearnConfig(phases=(settings,)), 1).model
        before, after = net.state_dict(), model.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {f"{path}.weight" for path, m in net.named_modules() if isinstance(m, nn.Conv2d)}
        found.append(torch.cat([(after[name] / before[name]).flatten() for name in sorted(changed)]))
    assert all(-1e-6 <= share.min() < 0.95 and share.max() <= 1 + 1e-6 for share in found)
    assert (found[0] - found[1]).abs().max() > 0.05


def test_published_settings() -> None:
    (tuning,) = resolve("nft").phases
    assert (tuning.optimizer, tuning.learning_rate, tuning.momentum, tuning.base_learning_rate) == (
        "sgd",
        0.05,
        0.95,
        0.02,
    )
    assert tuning.max_steps == tuning.max_epochs * tuning.examples_per_epoch // 128 == 1000
    assert (tuning.mixup, tuning.l1, tuning.lowest, tuning.depth) == (1, 0.001, 0.8, 0.5)
    (masking,) = resolve("awm").phases
    assert masking.budget * 3 * 32 * 32 == pytest.approx(1000, rel=1e-3)
    assert (masking.alpha, masking.gamma, masking.attack_rate, masking.max_epochs) == (0.9, 1e-8, 10, 20)
    assert masking.examples_per_epoch // 128 == int(500 / 128) * 5
    assert masking.base_learning_rate == pytest.approx(0.01 * 0.9**20, rel=0.01)


def test_masks_of_weights_learn_from_a_single_image() -> None:
    """The network is in eval mode, so that no statistics of a batch are needed."""
    result = run(trained(seeded(Residual), images()), task(), images(1), resolve("awm", {"max_epochs": "1"}), 0)
    assert result.phases[0].epochs == 1


def test_without_convolutions_it_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(EngineFailure, match="no convolution whose weights could be masked"):
        run(net, task(), images(), resolve("awm"), 0)


def test_observers_see_the_masked_network_and_its_gradients_can_be_shortened() -> None:
    net, seen = trained(seeded(Residual), images()), []
    settings = TuneMasksSettings(max_epochs=2, optimizer="sgd", learning_rate=0.2)

    def watch(phase: str, epoch: int, model: nn.Module) -> None:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    outcome = run(net, task(), images(), UnlearnConfig(phases=(settings,)), 1, watch)
    assert all(torch.equal(tensor, seen[-1][name]) for name, tensor in outcome.model.state_dict().items())
    assert not torch.equal(seen[0]["norm.weight"], net.state_dict()["norm.weight"])
    assert not torch.equal(seen[0]["norm.weight"], seen[1]["norm.weight"])
    short = UnlearnConfig(phases=(settings.model_copy(update={"max_grad_norm": 1e-9}),))
    still = run(net, task(), images(), short, 1).model.state_dict()
    assert torch.allclose(still["norm.weight"], net.state_dict()["norm.weight"], atol=1e-6)
