"""Neural attention distillation against maps worked by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.made_convnets import Residual, context_of, images, plain, seeded, task
from trojai_seam.errors import EngineFailure
from trojai_seam.unlearning import UnlearnConfig, resolve, run
from trojai_seam.unlearning.feature_maps import MapWatch, attention_map, calls_of, stages
from trojai_seam.unlearning.phases.distil_attention import AttentionDistilling, DistilAttentionSettings
from trojai_seam.unlearning.phases.train import TrainSettings
from trojai_seam.unlearning.phases.train_teacher import TrainTeacherSettings
from trojai_seam.unlearning.training import Batch


def test_a_map_is_the_sum_of_squares_over_channels_made_one_long() -> None:
    features = torch.tensor([[[[1.0, 0], [0, 2]], [[0.0, -2], [0, 2]]]])  # squares sum to 1, 4, 0, 8: nine long
    assert attention_map(features).tolist()[0] == pytest.approx([1 / 9, 4 / 9, 0, 8 / 9])
    taught = attention_map(torch.tensor([[[[3.0, 0], [0, 0]]]]))
    assert functional.mse_loss(attention_map(features), taught).item() == pytest.approx((64 + 16 + 64) / 81 / 4)
    assert attention_map(torch.zeros(1, 2, 2, 2)).tolist() == [[0, 0, 0, 0]]


def test_stages_end_where_maps_become_smaller() -> None:
    assert [call.path for call in stages(calls_of(context_of(seeded(Residual))))] == ["first", "second"]
    # The ReLUs before the poolings; what the last pooling gives has been seen already.
    assert [call.path for call in stages(calls_of(context_of(seeded(plain))))] == ["2", "6"]
    assert stages(calls_of(context_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 3))))) == []


def test_a_watch_gets_the_call_that_was_chosen_of_a_layer_that_runs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1, stride=2), nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.conv(self.conv(x)).flatten(1))

    net, x = Twice().eval(), images().inputs["x"]
    found = stages(calls_of(context_of(net)))
    assert [(call.path, call.turn) for call in found] == [("conv", 0), ("conv", 1)]
    with MapWatch(found).of(net) as maps:
        net(x)
    assert torch.equal(maps[0], net.conv(x))
    assert torch.equal(maps[1], net.conv(net.conv(x)))
    assert not net.conv._forward_hooks


def test_the_loss_is_cross_entropy_plus_the_weighted_maps() -> None:
    student, teacher, fit = seeded(Residual, 1), seeded(Residual, 2), images()
    context = context_of(student, fit)
    distilling = AttentionDistilling(context, DistilAttentionSettings(betas=(7.0, 500.0, 1000.0)), teacher)
    distilling.begin()
    where = torch.arange(len(fit))
    loss = distilling.loss(dict(fit.inputs), Batch(where, where, fit.labels))

    def maps(net):
        first = net.first(net.relu(net.norm(net.stem(fit.inputs["x"]))))
        return [m.square().sum(1).flatten(1) / m.square().sum(1).flatten(1).norm(dim=1, keepdim=True)
                for m in (first, net.second(first))]  # fmt: skip

    parts = [(mine - theirs).square().mean() for mine, theirs in zip(maps(student), maps(teacher), strict=True)]
    expected = functional.cross_entropy(student(fit.inputs["x"]), fit.labels) + 500 * parts[0] + 1000 * parts[1]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def phases(betas: tuple[float, ...]) -> UnlearnConfig:
    rate = {"optimizer": "sgd", "learning_rate": 0.01}
    teacher = TrainTeacherSettings(name="teacher", max_epochs=4, optimizer="sgd", learning_rate=0.2)
    return UnlearnConfig(phases=(teacher, DistilAttentionSettings(name="recover", betas=betas, max_epochs=8, **rate)))


def test_with_the_maps_the_student_looks_where_its_teacher_does() -> None:
    net, fit = seeded(Residual), images()
    shipped = copy.deepcopy(net.state_dict())
    plainly = run(net, task(), fit, phases((0.0,)), 3)
    distilled = run(net, task(), fit, phases((20.0, 20.0)), 3)
    again = run(net, task(), fit, phases((20.0, 20.0)), 3)
    assert all(torch.equal(a, b) for a, b in zip(distilled.model.parameters(), again.model.parameters(), strict=True))
    assert all(torch.equal(tensor, shipped[name]) for name, tensor in net.state_dict().items())
    teacher = run(net, task(), fit, UnlearnConfig(phases=(TrainSettings(
        max_epochs=4, optimizer="sgd", learning_rate=0.2),)), 3).model  # fmt: skip

    def apart(student: nn.Module) -> float:
        found = stages(calls_of(context_of(net)))
        with MapWatch(found).of(student) as mine, MapWatch(found).of(teacher) as theirs, torch.no_grad():
            student(fit.inputs["x"]), teacher(fit.inputs["x"])
        return sum(
            float((attention_map(a) - attention_map(b)).square().mean()) for a, b in zip(mine, theirs, strict=True)
        )

    assert apart(distilled.model) < 0.7 * min(apart(plainly.model), apart(net))


def test_nad_is_as_published_but_where_it_says_so() -> None:
    teacher, recover = resolve("nad").phases
    assert (teacher.kind, recover.kind) == ("train-teacher", "distil-attention")
    for phase in (teacher, recover):
        assert (phase.optimizer, phase.learning_rate, phase.momentum, phase.nesterov) == ("sgd", 0.1, 0.9, True)
        assert (phase.weight_decay, phase.max_epochs, phase.milestones) == (1e-4, 10, (0.2,))
    assert recover.betas == (500, 1000, 1000)


def test_a_student_needs_a_teacher_and_maps() -> None:
    with pytest.raises(EngineFailure, match="needs a phase of kind train-teacher before it"):
        run(seeded(), task(), images(), UnlearnConfig(phases=(DistilAttentionSettings(),)), 0)
    seen: list[object] = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(EngineFailure, match="no feature maps"):
        run(net, task(), images(), resolve("nad"), 0, observer=lambda *a: seen.append(a))
    assert not seen
