"""Recovery by self-distillation: towards the teacher, with true labels by their share, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, run
from trojai_seam.unlearning.augmentation import blended
from trojai_seam.unlearning.context import Context, evidence
from trojai_seam.unlearning.phases.distil import Distilling, DistilSettings
from trojai_seam.unlearning.training import Batch

TASK = get_task("classification", 3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 3)).eval()


def images(count: int = 24) -> ExampleSet:
    torch.manual_seed(1)
    return ExampleSet({"x": torch.rand(count, 3, 10, 10)}, torch.arange(count) % 3, tuple(map(str, range(count))))


def of(**settings: object) -> DistilSettings:
    return DistilSettings.model_validate(settings)


def distilling(fit: ExampleSet, settings: DistilSettings, shipped: nn.Module | None = None) -> Distilling:
    return Distilling(Context(network(), shipped or network(), TASK, fit, UnlearnConfig(), 0, None), settings)


def batch_of(fit: ExampleSet) -> Batch:
    order = torch.arange(len(fit))
    return Batch(order, order, fit.labels)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_mixes_teacher_and_truth(weight: float) -> None:
    fit, teacher = images(), network()
    with torch.no_grad():
        teacher[-1].bias += torch.tensor([1.0, 0, -1])
    phase = distilling(fit, of(labels_weight=weight), teacher)
    inputs = phase.before_step(dict(fit.inputs), batch_of(fit))
    scores = network()(fit.inputs["x"])
    taught = teacher(fit.inputs["x"]).softmax(1)
    divergence = (taught * (taught.log() - scores.log_softmax(1))).sum(1).mean()
    expected = (1 - weight) * divergence + weight * functional.cross_entropy(scores, fit.labels)
    assert torch.allclose(phase.loss(inputs, batch_of(fit)), expected, atol=1e-5)


def test_examples_without_a_label_have_the_teacher_alone() -> None:
    fit = images()
    unknown = ExampleSet(fit.inputs, torch.full_like(fit.labels, -1), fit.names)
    phase = distilling(unknown, of(labels_weight=1.0))
    phase.before_step(dict(unknown.inputs), batch_of(unknown))
    assert float(phase.loss(dict(unknown.inputs), batch_of(unknown))) == pytest.approx(0.0, abs=1e-6)


def test_the_teacher_never_sees_the_disturbance_and_a_share_of_the_batch_learns_with_it() -> None:
    fit = images()
    phase = distilling(fit, of(disturbed=0.5, disturbance={"color_jitter": 1.0}, blend=0.5))
    seen = phase.before_step(dict(fit.inputs), batch_of(fit))["x"]
    changed = (seen != fit.inputs["x"]).flatten(1).any(1)
    assert changed[:12].all()
    assert not changed[12:].any()
    assert torch.allclose(phase.taught, network()(fit.inputs["x"]).log_softmax(1), atol=1e-6)


def test_dropout_and_batch_statistics_stand_still() -> None:
    fit, shipped = images(60), network()
    phases = [{"kind": "distil", "name": "recover", "max_epochs": 30, "labels_weight": 0.0, "optimizer": "sgd"}]
    config = UnlearnConfig.from_document({"batch_norm": "frozen-stats", "phases": phases})
    outcome = run(shipped, TASK, fit, config, 0)
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(outcome.model.state_dict()[name], shipped.state_dict()[name])
    # It starts from the teacher itself, so there is nothing to learn: dropout would have moved it.
    assert torch.allclose(outcome.model(fit.inputs["x"]), shipped(fit.inputs["x"]), atol=1e-4)


def test_a_damaged_network_learns_what_the_teacher_says() -> None:
    fit, teacher = images(60), network()
    with torch.no_grad():
        teacher[-1].weight.mul_(8)
    phase = distilling(fit, of(max_epochs=40, labels_weight=0.0, learning_rate=0.05), teacher)
    before = (phase.context.model(fit.inputs["x"]).softmax(1) - teacher(fit.inputs["x"]).softmax(1)).abs().mean()
    phase.run()
    after = (phase.context.model(fit.inputs["x"]).softmax(1) - teacher(fit.inputs["x"]).softmax(1)).abs().mean()
    assert after < before / 2


def test_few_examples_mean_small_steps_and_little_weight_of_labels() -> None:
    assert evidence(200) == 0.5
    few, many = distilling(images(20), of(learning_rate=1e-2)), distilling(images(2000), of(learning_rate=1e-2))
    assert few.settings.learning_rate == pytest.approx(1e-2 * 20 / 220)
    assert few.weight == pytest.approx(1.5 * 20 / 220)
    assert many.weight == 1.0


def test_a_blend_stays_in_range_and_keeps_most_of_the_image() -> None:
    torch.manual_seed(2)
    batch = images().inputs["x"] * 4 - 1
    made = blended(batch, 0.4)
    assert made.amin() >= batch.amin() - 1e-5
    assert made.amax() <= batch.amax() + 1e-5
    assert (made - batch).abs().amax() <= 0.4 * (batch.amax() - batch.amin()) + 1e-5
    assert torch.equal(blended(batch, 0.0), batch)


def test_a_phase_that_loses_too_much_begins_anew_and_slowly() -> None:
    phase = {"name": "recover", "kind": "distil", "max_epochs": 3, "labels_weight": 0.0, "learning_rate": 1.0}
    fit = images(60)
    shipped = network()
    with torch.no_grad():
        labels = shipped(fit.inputs["x"]).argmax(1)
    taught = ExampleSet(fit.inputs, labels, fit.names)

    def found(**more: object):
        return run(shipped, TASK, taught, UnlearnConfig.from_document({"phases": [{**phase, **more}]}), 0)

    fast, slow = found(), found(least_kept=0.9)
    (lost,), (kept,) = fast.phases, slow.phases
    assert lost.start_accuracy == kept.start_accuracy == 1.0
    assert lost.end_accuracy < 0.9
    assert kept.end_accuracy > lost.end_accuracy
    assert [epoch.epoch for epoch in slow.trace] == [0, 1, 2, 3, 4, 5]
    assert (lost.epochs, kept.epochs) == (3, 6)
    assert found(least_kept=0.05).phases[0].epochs == 3
