"""Forgetting towards uniform answers: its loss and gradient by hand, and what it does to networks and stacks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.made_phases import forgetting, recovery, seam
from tests.made_scenes import scenes, small_ssd
from tests.made_text import judge, reader, records, sentences, tagger
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.ensemble import Member, unlearn_together
from trojai_seam.unlearning.outcome import Outcome
from trojai_seam.unlearning.phases.train_work import negative_entropy
from trojai_seam.unlearning.training_settings import StopRule

TASK = get_task("classification", 3)


def test_the_loss_and_its_gradient_are_those_worked_out_by_hand() -> None:
    chances = torch.tensor([0.5, 0.25, 0.25])
    scores = chances.log().requires_grad_()
    loss = negative_entropy(scores)
    assert loss.item() == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    loss.backward()
    # d/ds_k of sum p log p is p_k (log p_k - sum p log p).
    by_hand = chances * (chances.log() - (chances * chances.log()).sum())
    torch.testing.assert_close(scores.grad, by_hand)
    equal = torch.zeros(2, 3, requires_grad=True)
    negative_entropy(equal).sum().backward()
    torch.testing.assert_close(negative_entropy(equal.detach()), torch.full((2,), -math.log(3)))
    torch.testing.assert_close(equal.grad, torch.zeros(2, 3))
    assert torch.isfinite(negative_entropy(torch.tensor([200.0, -200.0])))


def vectors(seed: int) -> tuple[nn.Module, ExampleSet]:
    torch.manual_seed(seed)
    labels = torch.arange(30) % 3
    x = 3 * torch.eye(3, 6)[labels] + 0.3 * torch.randn(30, 6)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    return net.eval(), ExampleSet({"x": x}, labels, tuple(map(str, range(30))))


QUICK = seam(
    batch_size=10,
    forget=forgetting(labels="uniform", max_epochs=30, learning_rate=5e-3, stop=StopRule()),
    recover=recovery(max_epochs=10, learning_rate=5e-3),
)


def entropy(net: nn.Module, fit: ExampleSet) -> float:
    with torch.no_grad():
        return -float(negative_entropy(net(fit.inputs["x"])).mean())


def test_answers_become_uniform_and_random_labels_do_something_else() -> None:
    net, fit = vectors(0)
    forget = QUICK.with_phase("recover", max_epochs=0)
    uniform = unlearn(net, TASK, fit, forget, 1)
    random = unlearn(net, TASK, fit, forget.with_phase("forget", labels="random"), 1)
    assert entropy(net, fit) < 0.3
    assert entropy(uniform.model, fit) > 0.98 * math.log(3)
    assert entropy(random.model, fit) < 0.95 * math.log(3)
    assert uniform.trace[-1].loss == pytest.approx(-math.log(3), abs=0.03)
    whole = unlearn(net, TASK, fit, QUICK, 1)
    assert whole.phase("recover").end_accuracy > 0.9
    stopping = QUICK.with_phase("forget", stop=StopRule(accuracy=0.9))
    phase = unlearn(net, TASK, fit, stopping, 1).phase("forget")
    assert phase.status == "missed" or phase.end_accuracy < 0.9  # a threshold from above, as with random labels


def test_side_by_side_is_as_alone() -> None:
    members = [Member(net, TASK, fit, seed) for seed in range(3) for net, fit in [vectors(seed)]]
    together = unlearn_together(members, QUICK)
    for member, result in zip(members, together, strict=True):
        alone = unlearn(member.model, TASK, member.fit, QUICK, member.seed)
        assert isinstance(result, Outcome)
        pairs = zip(alone.model.parameters(), result.model.parameters(), strict=True)
        assert all(torch.allclose(one, other, atol=1e-3) for one, other in pairs)
        assert [e.loss for e in result.trace] == pytest.approx([e.loss for e in alone.trace], abs=1e-4)
    (again,) = unlearn_together(members[:1], QUICK)
    assert isinstance(again, Outcome)
    assert isinstance(together[0], Outcome)
    pairs = zip(again.model.parameters(), together[0].model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


SHORT = seam(batch_size=8, forget=forgetting(labels="uniform", max_epochs=2), recover=recovery(max_epochs=1))


def test_words_that_count_become_uniform_and_padding_does_not_matter() -> None:
    net, fit = tagger(), sentences(12)
    task = get_task("token-classification", 5)
    after = unlearn(net, task, fit, SHORT.with_phase("forget", max_epochs=40, learning_rate=2e-3), 0)
    assert after.trace[39].loss == pytest.approx(-math.log(5), abs=0.02)
    assert after.trace[39].loss < after.trace[0].loss


def test_sentences_are_served_and_spans_and_boxes_refused_in_one_line() -> None:
    net, fit = judge(), sentences(8)
    labels = torch.arange(8) % 2
    classes = get_task("classification", net.config.num_labels)
    outcome = unlearn(net, classes, ExampleSet(fit.inputs, labels, fit.names), SHORT, 0)
    assert [phase.epochs for phase in outcome.phases] == [2, 1]
    with pytest.raises(EngineFailure, match="labels=uniform is for classes, this network does span-extraction"):
        unlearn(reader(), get_task("span-extraction", 2), records(6), SHORT, 0)
    with pytest.raises(EngineFailure, match="labels=uniform is for classes, this network does detection"):
        unlearn(small_ssd(4), get_task("detection", 4), scenes(4), SHORT, 0)


@pytest.mark.parametrize(("name", "like"), [("meft", "default"), ("images-meft", "images"), ("text-meft", "text")])
def test_presets_differ_from_seam_in_the_labels_alone(name: str, like: str) -> None:
    assert resolve(name).with_phase("forget", labels="random").changed(preset=like) == resolve(like)
