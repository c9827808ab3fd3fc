"""Detectors: one module drawn anew and learnt again; the backbone refitted in closed form, the rest left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.made_scenes import detr, faster_rcnn, scenes, small_ssd
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.tasks.detector_calls import background_class
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.network_parts import parts
from trojai_seam.unlearning.phases.refit import _enlarged
from trojai_seam.unlearning.refitting import Refitting, layers_of

TASK = get_task("detection", 4)
LEARN = UnlearnConfig(
    batch_size=8,
    phases=[{"kind": "train", "name": "recover", "max_epochs": 25, "learning_rate": 1e-2, "schedule": "one-cycle",
             "max_grad_norm": 5.0}],
)  # fmt: skip
REFIT = UnlearnConfig(phases=[{"kind": "refit", "name": "forget", "strength": 1.0, "samples": 500}])


@pytest.fixture(scope="module")
def examples() -> ExampleSet:
    return scenes(16)


@pytest.fixture(scope="module")
def trained(examples: ExampleSet) -> nn.Module:
    return unlearn(small_ssd(4), TASK, examples, LEARN, seed=0).model


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    one, other = before.state_dict(), after.state_dict()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("module", ["class", "box", "region", "backbone.fpn"])
def test_only_the_named_part_begins_anew(module: str) -> None:
    network, fit = faster_rcnn(4), scenes(4)
    config = UnlearnConfig(batch_norm="frozen-stats", phases=[{"kind": "reinitialise", "module": module}])
    outcome = unlearn(network, TASK, fit, config, seed=0)
    paths = {"class": "roi_heads.box_predictor.cls_score", "box": "roi_heads.box_predictor.bbox_pred",
             "region": "rpn.head"}  # fmt: skip
    path = paths.get(module, module) + "."
    assert changed(network, outcome.model) == {name for name in network.state_dict() if name.startswith(path)}
    again = unlearn(network, TASK, fit, config, seed=0)
    assert changed(outcome.model, again.model) == set()


def test_statistics_of_a_part_with_batch_norm_are_taken_from_the_examples() -> None:
    network, fit = faster_rcnn(4), scenes(6)
    config = UnlearnConfig(phases=[{"kind": "reinitialise", "module": "backbone.body.layer4"}])
    after = unlearn(network, TASK, fit, config, seed=0).model
    norm = after.backbone.body.layer4[0].bn1
    assert norm.momentum == network.backbone.body.layer4[0].bn1.momentum
    assert float((norm.running_var - 1).abs().max()) > 0.1
    assert changed(network, after) <= {n for n in network.state_dict() if n.startswith("backbone.body.layer4")}


def test_the_class_head_is_forgotten_and_learnt_again(trained: nn.Module, examples: ExampleSet) -> None:
    config = resolve("detection-reinitialise", {"recover.max_epochs": "12", "recover.learning_rate": "0.005"})
    forget, recover = unlearn(trained, TASK, examples, config, seed=0).phases
    assert forget.start_accuracy > 0.8
    assert forget.end_accuracy < 0.3
    assert recover.end_accuracy > 0.6


def test_a_backbone_is_refitted_and_what_is_kept_is_measured(trained: nn.Module, examples: ExampleSet) -> None:
    config = resolve("detection-refit", {"recover.max_epochs": "0", "forget.samples": "500"})
    outcome = unlearn(trained, TASK, examples, config, seed=0)
    forget = outcome.phases[0]
    assert forget.figures["layers"] == 3
    assert 0.4 < forget.figures["kept_answers"] <= 1.0
    assert forget.end_accuracy / forget.start_accuracy == pytest.approx(forget.figures["kept_answers"], abs=1e-6)
    # The first convolution and the heads stay, and so do biases.
    names = {f"backbone.first.{n}.weight" for n in (2, 4)} | {"backbone.second.0.weight"}
    assert changed(trained, outcome.model) == names
    deeper = unlearn(trained, TASK, examples, config.with_options({"forget.kept_answers": "0.1"}), seed=0).phases[0]
    assert deeper.figures["strength"] > forget.figures["strength"]


@pytest.mark.parametrize("make", [lambda: faster_rcnn(4), lambda: detr(3)], ids=["faster-rcnn", "detr"])
def test_backbones_of_all_conventions_are_refitted(make) -> None:
    network = make()
    fit = scenes(4, background=background_class(network, 4))
    before = copy.deepcopy(network)
    layers = layers_of(parts(network, TASK, "backbone")[0], nn.Identity())
    order = torch.arange(4)
    inputs = fit.rows(order, order)
    generator = torch.Generator().manual_seed(0)
    refitting = Refitting(layers, lambda: TASK.outputs(network, inputs), 4, 300, generator)
    done = refitting.layers
    assert done == len(layers) - 1 > 10
    shipped, outputs = refitting.outputs, refitting.refit(1.0)
    assert shipped.shape != outputs.shape or float((outputs - shipped).abs().max()) > 1e-4
    assert len(changed(before, network)) == done


def test_a_detector_that_finds_nothing_is_refused() -> None:
    with pytest.raises(EngineFailure, match="finds no object in the fit examples"):
        unlearn(small_ssd(4), TASK, scenes(4), REFIT, seed=0)  # untrained


def test_enlarging_is_counted() -> None:
    network = faster_rcnn(4)
    network.transform.min_size, network.transform.max_size = (800,), 1333
    assert _enlarged(network, 200, 300) == pytest.approx(16.0)
    assert _enlarged(network, 100, 400) == pytest.approx((1333 / 400) ** 2)
    assert _enlarged(detr(3), 100, 400) == 1.0
