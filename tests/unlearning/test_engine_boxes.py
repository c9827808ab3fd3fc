"""The engine on detectors: forgetting, recovery, what stands still, and the same seed twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.made_phases import forgetting, recovery, seam
from tests.made_scenes import detr, faster_rcnn, scenes, small_ssd
from trojai_seam.errors import EngineFailure
from trojai_seam.scoring import predict
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.tasks.detector_calls import background_class
from trojai_seam.unlearning.augmentation import view
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.training_settings import StopRule, Views

TASK = get_task("detection", 4)
LEARN = seam(
    batch_size=8,
    forget=forgetting(max_epochs=0),
    recover=recovery(max_epochs=30, learning_rate=1e-2, schedule="one-cycle", max_grad_norm=5.0),
)
FORGET = forgetting(max_epochs=20, learning_rate=3e-3, max_grad_norm=5.0, stop=StopRule(chance_margin=0.2))


@pytest.fixture(scope="module")
def examples() -> ExampleSet:
    return scenes(24)


@pytest.fixture(scope="module")
def trained(examples: ExampleSet) -> nn.Module:
    """An SSD that has been taught from nothing, by the engine's own recovery."""
    return unlearn(small_ssd(4), TASK, examples, LEARN, seed=0).model


def test_recovery_teaches_boxes(trained: nn.Module, examples: ExampleSet) -> None:
    said = predict(trained, TASK, examples)
    assert (said.accuracy.share or 0) > 0.6
    assert (said.further["ap50"].share or 0) > 0.9


@pytest.mark.parametrize("sampling", ["uniform", "wrong-only", "uniform-anywhere"])
def test_classes_are_forgotten_and_come_back(sampling: str, trained: nn.Module, examples: ExampleSet) -> None:
    config = seam(
        batch_size=8,
        forget=FORGET.changed(label_sampling=sampling),
        recover=recovery(max_epochs=12, learning_rate=5e-3, schedule="one-cycle"),
    )
    outcome = unlearn(trained, TASK, examples, config, seed=1)
    forget, recover = outcome.phases
    assert forget.start_accuracy > 0.9
    assert forget.threshold == pytest.approx(1 / 3 + 0.2 * (forget.start_accuracy - 1 / 3))
    assert (forget.status, forget.end_accuracy < forget.threshold) == ("reached", True)
    assert recover.end_accuracy > 0.85


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "faster-rcnn": lambda: faster_rcnn(4),
    "ssd": lambda: small_ssd(4),
    "detr": lambda: detr(3),
}
VIEWS = Views(augmentation=0.5, color_jitter=0.5, random_erasing=0.5)
SHORT = seam(
    batch_size=3,
    batch_norm="frozen-stats",
    forget=forgetting(max_epochs=1, learning_rate=1e-3, views=VIEWS),
    recover=recovery(max_epochs=1, learning_rate=1e-3, views=VIEWS),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_network_and_statistics_stand_still(family: str) -> None:
    network = FAMILIES[family]()
    fit = scenes(6, background=background_class(network, 4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (unlearn(network, TASK, fit, SHORT, seed=3).model for _ in range(2))
    other = unlearn(network, TASK, fit, SHORT, seed=4).model
    states = [model.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in before)
    assert any(not torch.equal(states[0][name], states[2][name]) for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    still = {
        f"{path}.{name}"
        for path, part in network.named_modules()
        for name, _ in part.named_buffers(recurse=False)
        if isinstance(part, _BatchNorm) or hasattr(part, "running_var")
    }
    assert all(torch.equal(states[0][name], before[name]) for name in still)
    assert len(still) > 0 or family == "ssd"


def test_moving_statistics_move() -> None:
    network = faster_rcnn(4)
    config = SHORT.changed(batch_norm="train").with_phase("recover", max_epochs=0)
    after = unlearn(network, TASK, scenes(4), config, seed=0).model
    name = "backbone.body.bn1.running_mean"
    assert not torch.equal(after.state_dict()[name], network.state_dict()[name])


def test_gradients_are_shortened() -> None:
    network = small_ssd(4)
    config = seam(
        batch_size=8,
        forget=forgetting(max_epochs=0),
        recover=recovery(
            max_epochs=1, optimizer="sgd", momentum=0, learning_rate=1.0, max_grad_norm=0.01, examples_per_epoch=8
        ),
    )
    after = unlearn(network, TASK, scenes(8), config, seed=0).model
    pairs = zip(after.parameters(), network.parameters(), strict=True)
    moved = torch.stack([(new - old).square().sum() for new, old in pairs]).sum().sqrt()
    assert 0.005 < moved.item() <= 0.01 + 1e-5


def test_views_of_scenes_move_nothing() -> None:
    """A box is a place: what a pixel shows may change its colour, not its position."""
    image = torch.zeros(4, 3, 40, 40)
    image[:, :, 10:20, 12:30] = 1.0
    config = Views(augmentation=1.0)
    torch.manual_seed(0)
    seen, moved = view(image, config, still=True), view(image, config)
    inside = torch.zeros(40, 40, dtype=torch.bool)
    inside[10:20, 12:30] = True
    for one in seen:
        grey = one.mean(dim=0)
        assert grey[inside].mean() - grey[~inside].mean() > 0.2
        assert grey[inside].std() < 0.1
    assert not torch.equal(seen, image)
    assert any(one.mean(dim=0)[inside].std() > 0.2 for one in moved)


def test_training_the_last_layer_alone_is_refused() -> None:
    with pytest.raises(EngineFailure, match="knows no classes"):
        unlearn(small_ssd(4), TASK, scenes(4), SHORT.changed(trainable="head"), seed=0)
