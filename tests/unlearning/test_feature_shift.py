"""FST: the head drawn anew and trained away from the old one, one step of it worked out by hand; parts of networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.made_scenes import detr, faster_rcnn, small_ssd
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.network_parts import parts
from trojai_seam.unlearning.phases.reinitialise import redraw

TASK = get_task("classification", 3)
SEED = 7


def made() -> tuple[nn.Sequential, ExampleSet]:
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    x = 2 * torch.eye(3, 4)[labels] + 0.3 * torch.randn(24, 4)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    return net.eval(), ExampleSet({"x": x}, labels, tuple(map(str, range(24))))


def method(**changes: object) -> UnlearnConfig:
    recover = {"kind": "train-away", "name": "recover", "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1,
               "alpha": 0.5, "keep_norm": True, "max_steps": 1, **changes}  # fmt: skip
    return UnlearnConfig(batch_size=24, phases=[{"kind": "reinitialise", "name": "forget"}, recover])


def test_the_first_step_is_the_published_one() -> None:
    net, fit = made()
    after = unlearn(net, TASK, fit, method(), SEED).model
    hand, old = copy.deepcopy(net), net[2].weight.detach()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in (hand[2].weight, hand[2].bias):  # within 1 / sqrt(6) of zero, bias as well
            parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) / 6**0.5)
    nn.functional.cross_entropy(hand(fit.inputs["x"]), fit.labels).backward()
    weight = hand[2].weight - 0.1 * (hand[2].weight.grad + 0.5 * old)  # the gradient of 0.5 <W, W0> is 0.5 W0
    torch.testing.assert_close(after[2].weight, weight * old.norm() / weight.norm())
    torch.testing.assert_close(after[2].bias, hand[2].bias - 0.1 * hand[2].bias.grad)
    torch.testing.assert_close(after[0].weight, hand[0].weight - 0.1 * hand[0].weight.grad)
    free = unlearn(net, TASK, fit, method(keep_norm=False), SEED).model
    torch.testing.assert_close(free[2].weight, weight)


def test_without_its_key_step_the_head_goes_back_to_where_it_was() -> None:
    net, fit = made()

    def alike(**changes: object) -> float:
        after = unlearn(net, TASK, fit, method(max_steps=200, max_epochs=200, **changes), SEED)
        assert after.phase("recover").end_accuracy == 1.0
        assert after.model[2].weight.norm().item() == pytest.approx(net[2].weight.norm().item(), rel=1e-5)
        return float((after.model[2].weight * net[2].weight).sum().detach())

    assert alike(alpha=0.1) < alike(alpha=0.0) - 0.5


def test_many_classes_have_an_alpha_of_their_own_and_cosines_are_of_rows() -> None:
    net, fit = made()
    few = unlearn(net, TASK, fit, method(alpha_many_classes=0.0, many_classes=4), SEED).model
    many = unlearn(net, TASK, fit, method(alpha_many_classes=0.0, many_classes=3), SEED).model
    none = unlearn(net, TASK, fit, method(alpha=0.0), SEED).model
    assert torch.equal(many[2].weight, none[2].weight)
    assert not torch.equal(few[2].weight, none[2].weight)
    cosine = unlearn(net, TASK, fit, method(likeness="cosine", alpha=1.0, keep_norm=False), SEED).model
    plain = unlearn(net, TASK, fit, method(alpha=0.0, keep_norm=False), SEED).model
    start = unlearn(net, TASK, fit, method(max_epochs=0), SEED).model[2].weight.detach().requires_grad_()
    cosines = nn.functional.cosine_similarity(start, net[2].weight.detach(), dim=1)
    cosines.sum().backward()
    torch.testing.assert_close(plain[2].weight - cosine[2].weight, 0.1 * start.grad, atol=1e-6, rtol=1e-4)


def test_the_preset_runs_with_its_published_numbers() -> None:
    net, fit = made()
    config = resolve("fst")
    forget, recover = config.phases
    assert (config.batch_size, forget.kind, forget.module) == (128, "reinitialise", "head")
    assert (recover.alpha, recover.keep_norm, recover.max_epochs, recover.schedule) == (0.1, True, 10, "cosine")
    assert (recover.optimizer, recover.learning_rate, recover.momentum) == ("sgd", 0.01, 0.9)
    outcome = unlearn(net, TASK, fit, config, SEED)
    assert outcome.phase("forget").figures == {"redrawn": 21.0}
    assert (outcome.phase("recover").status, outcome.phase("recover").epochs) == ("no-rule", 10)


def test_a_network_without_a_row_per_class_is_refused_before_any_work() -> None:
    net, fit = made()
    wider = nn.Sequential(net[0], nn.ReLU(), nn.Linear(6, 5), nn.MaxPool1d(1))
    with pytest.raises(EngineFailure, match="a Linear of 5 rows, not in a layer with a row for each of 3 classes"):
        unlearn(wider, TASK, fit, resolve("fst"), 0)
    with pytest.raises(EngineFailure, match="name head or the path of a module"):
        unlearn(net, TASK, fit, method().with_options({"forget.module": "region"}), 0)
    seen: list[str] = []
    late = UnlearnConfig(phases=[{"kind": "train", "max_epochs": 1}, {"kind": "train-away", "name": "recover"}])
    with pytest.raises(EngineFailure, match="a row for each of 3 classes"):
        unlearn(wider, TASK, fit, late, 0, observer=lambda phase, epoch, network: seen.append(phase))
    assert seen == []


def test_layers_are_drawn_within_their_bounds_and_norms_begin_anew() -> None:
    block = nn.Sequential(nn.Conv2d(4, 50, 3, groups=2), nn.BatchNorm2d(50), nn.Linear(100, 50, bias=False))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(9.0)
    assert redraw([block, block[0]], torch.Generator().manual_seed(0)) == 50 * 18 + 50 + 5000  # each layer once
    for layer, width in ((block[0], 18), (block[2], 100)):
        assert layer.weight.abs().max() <= width**-0.5
        assert layer.weight.abs().max() > 0.9 * width**-0.5
        assert abs(layer.weight.mean()) < 0.1 * width**-0.5
    assert block[0].bias.abs().max() <= 18**-0.5
    assert bool((block[1].weight == 1).all())
    assert bool((block[1].bias == 0).all())


def test_parts_of_detectors_have_names() -> None:
    task = get_task("detection", 4)
    two_stage, one_stage, sets = faster_rcnn(4), small_ssd(4), detr(3)
    assert parts(two_stage, task, "region") == [two_stage.rpn.head]
    assert parts(two_stage, task, "class") == [two_stage.roi_heads.box_predictor.cls_score]
    assert parts(two_stage, task, "head") == [two_stage.roi_heads.box_head, two_stage.roi_heads.box_predictor]
    assert parts(one_stage, task, "class") == [one_stage.head.classification_head]
    assert parts(one_stage, task, "head") == [one_stage.head]
    assert parts(sets, task, "box") == [sets.bbox_predictor]
    assert parts(sets, task, "backbone") == [sets.model.backbone]
    assert parts(two_stage, task, "backbone.fpn") == [two_stage.backbone.fpn]
    with pytest.raises(EngineFailure, match="name class, box, head, backbone or the path"):
        parts(one_stage, task, "region")
