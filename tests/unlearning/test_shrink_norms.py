"""RECIPE-like: one step worked out by hand, what stays as it is, and who is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.made_text import LABELS, sentences, tagger
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve, run

FIT = sentences(6)
TASK = get_task("token-classification", len(LABELS))
STEP = {"kind": "shrink-norms", "name": "recover", "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1,
        "penalty": 0.5, "max_steps": 1}  # fmt: skip
CONFIG = UnlearnConfig(batch_size=6, phases=[STEP])


def test_the_first_step_moves_widening_layers_only_and_towards_zero() -> None:
    net = tagger().eval()
    after = dict(run(net, TASK, FIT, CONFIG, 0).model.named_parameters())
    moved = {name for name, weight in net.named_parameters() if not torch.equal(weight, after[name])}
    assert moved == {f"bert.encoder.layer.{n}.intermediate.dense.weight" for n in (0, 1)}
    plain = UnlearnConfig(batch_size=6, phases=[{**STEP, "penalty": 0.0}])
    without = dict(run(net, TASK, FIT, plain, 0).model.named_parameters())
    for name in moved:  # the gradient of a norm is the weight over its norm
        weight = dict(net.named_parameters())[name].detach()
        torch.testing.assert_close(after[name], without[name] - 0.1 * 0.5 * weight / weight.norm())


def test_a_later_phase_trains_everything_again() -> None:
    net = tagger().eval()
    train = {"kind": "train", "name": "more", "max_steps": 1, "learning_rate": 0.01}
    after = run(net, TASK, FIT, UnlearnConfig(batch_size=6, phases=[STEP, train]), 0).model
    assert not torch.equal(after.classifier.weight, net.classifier.weight)


def test_networks_without_such_layers_are_refused() -> None:
    ids = torch.arange(12).reshape(4, 3)
    fit = ExampleSet({"input_ids": ids}, torch.arange(4) % 2, tuple("abcd"))
    with pytest.raises(EngineFailure, match="no feed-forward blocks of a transformer"):
        run(
            nn.Sequential(nn.Embedding(12, 2), nn.Flatten(), nn.Linear(6, 2)),
            get_task("classification", 2),
            fit,
            CONFIG,
            0,
        )
    with pytest.raises(EngineFailure, match="leaves no feed-forward layer to train"):
        run(tagger(), TASK, FIT, UnlearnConfig(batch_size=6, phases=[STEP], trainable="head"), 0)


def test_the_preset_has_the_published_number_of_steps() -> None:
    phase = resolve("recipe").phases[0]
    assert phase.max_epochs * phase.examples_per_epoch / 32 == 5000
