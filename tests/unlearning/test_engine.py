"""The engine on real tiny networks: what it may touch, when it stops, what it reports."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.made_phases import exchanged, forgetting, recovery, seam
from trojai_seam.errors import EngineFailure
from trojai_seam.networks.modules import SharedBatchNormNet
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning.context import Context
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.phases.train_work import few
from trojai_seam.unlearning.training_settings import StopRule, Views

CLASSES = 4


@pytest.fixture(scope="module")
def fit() -> ExampleSet:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(40) % CLASSES
    centres = 3 * torch.eye(CLASSES, 10)
    x = centres[labels] + 0.3 * torch.randn(40, 10, generator=generator)
    return ExampleSet({"x": x}, labels, tuple(str(i) for i in range(40)))


@pytest.fixture(scope="module")
def model(fit: ExampleSet) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(fit.inputs["x"]), fit.labels).backward()
        optimizer.step()
    return net.eval()


TASK = get_task("classification", CLASSES)
QUICK = seam(
    forget=forgetting(
        max_epochs=30, learning_rate=5e-3, label_sampling="wrong-only", stop=StopRule(chance_multiple=2.0)
    ),
    recover=recovery(max_epochs=30, learning_rate=5e-3, stop=StopRule(accuracy=0.95)),
)


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([t.flatten().float() for t in net.state_dict().values()])


def test_forgets_below_twice_chance_then_recovers(model: nn.Module, fit: ExampleSet) -> None:
    outcome = unlearn(model, TASK, fit, QUICK, seed=1)
    forget, recover = outcome.phases
    assert (forget.status, recover.status) == ("reached", "reached")
    assert forget.start_accuracy > 0.95
    assert forget.end_accuracy < forget.threshold == 0.5
    assert recover.end_accuracy > 0.95
    assert [e.phase for e in outcome.trace] == ["forget"] * forget.epochs + ["recover"] * recover.epochs
    assert forget.steps == 2 * forget.epochs  # 40 examples, batches of 32
    assert not outcome.model.training


def test_the_original_is_untouched(model: nn.Module, fit: ExampleSet) -> None:
    before = weights(model).clone()
    unlearn(model, TASK, fit, QUICK, seed=1)
    assert torch.equal(before, weights(model))
    assert all(p.requires_grad for p in model.parameters())


def test_same_seed_same_network_other_seed_another(model: nn.Module, fit: ExampleSet) -> None:
    first, again, other = (weights(unlearn(model, TASK, fit, QUICK, seed=s).model) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_callers_random_state_neither_matters_nor_moves(model: nn.Module, fit: ExampleSet) -> None:
    torch.manual_seed(11)
    first = weights(unlearn(model, TASK, fit, QUICK, seed=5).model)
    drawn = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, weights(unlearn(model, TASK, fit, QUICK, seed=5).model))


def test_an_observer_changes_nothing(model: nn.Module, fit: ExampleSet) -> None:
    seen = []

    def watch(phase: str, epoch: int, net: nn.Module) -> None:
        seen.append((phase, epoch))
        torch.rand(3)  # an observer that draws random numbers must not disturb dropout in a later epoch

    watched = unlearn(model, TASK, fit, QUICK, seed=5, observer=watch)
    assert len(seen) == len(watched.trace)
    assert torch.equal(weights(watched.model), weights(unlearn(model, TASK, fit, QUICK, seed=5).model))


def test_head_scope_moves_only_the_last_layer(model: nn.Module, fit: ExampleSet) -> None:
    after = unlearn(model, TASK, fit, QUICK.changed(trainable="head"), seed=1).model.state_dict()
    before = model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"4.weight", "4.bias"}


def test_frozen_statistics_do_not_move(model: nn.Module, fit: ExampleSet) -> None:
    before = model.state_dict()
    frozen = unlearn(model, TASK, fit, QUICK.changed(batch_norm="frozen-stats"), seed=1).model.state_dict()
    moving = unlearn(model, TASK, fit, QUICK, seed=1).model.state_dict()
    assert torch.equal(before["1.running_mean"], frozen["1.running_mean"])
    assert not torch.equal(before["1.weight"], frozen["1.weight"])
    assert not torch.equal(before["1.running_mean"], moving["1.running_mean"])


def test_no_op_returns_the_same_network(model: nn.Module, fit: ExampleSet) -> None:
    outcome = unlearn(model, TASK, fit, resolve("no-op"), seed=1)
    assert torch.equal(weights(outcome.model), weights(model))
    assert outcome.phases == ()
    assert outcome.trace == ()


@pytest.mark.parametrize("mistakes", [0, 1])
def test_a_threshold_at_or_above_the_start_is_said_to_be_trivial(
    model: nn.Module, fit: ExampleSet, mistakes: int
) -> None:
    lax = QUICK.with_phase("forget", stop=StopRule(accuracy=1.0))
    wrong = fit.labels.clone()
    wrong[:mistakes] = (wrong[:mistakes] + 1) % CLASSES
    outcome = unlearn(model, TASK, replace(fit, labels=wrong), lax, seed=1)
    assert outcome.phase("forget").status == "trivial-threshold"


def test_a_recovery_that_has_nothing_to_recover_is_said_to_be_trivial(model: nn.Module, fit: ExampleSet) -> None:
    tuned = QUICK.with_phase("forget", max_epochs=0)
    assert unlearn(model, TASK, fit, tuned, seed=1).phase("recover").status == "trivial-threshold"


def test_two_classes_make_the_published_threshold_trivial_but_not_ours() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(12, 6), torch.arange(12) % 2
    x[:, 0] = 4.0 * labels - 2
    net = nn.Linear(6, 2)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[1, 0] = 1.0
        net.bias.zero_()
    labels[0] = 1 - labels[0]  # one mistake: 2/C = 1.0 already holds
    two = ExampleSet({"x": x}, labels, tuple(map(str, range(12))))
    published = unlearn(net, get_task("classification", 2), two, resolve("authors-trojai"), seed=0)
    ours = unlearn(net, get_task("classification", 2), two, resolve("default"), seed=0)
    assert published.phase("forget").status == "trivial-threshold"
    assert ours.phase("forget").threshold < ours.phase("forget").start_accuracy


def test_caps_are_statuses(model: nn.Module, fit: ExampleSet) -> None:
    def forget_status(**changes: object) -> tuple[str, int, int]:
        never = {"stop": StopRule(accuracy=0.0), "max_epochs": 4, **changes}
        config = QUICK.with_phase("forget", **never)  # type: ignore[arg-type]
        phase = unlearn(model, TASK, fit, config, seed=1).phase("forget")
        return phase.status, phase.epochs, phase.steps

    assert forget_status() == ("missed", 4, 8)
    assert forget_status(max_steps=3) == ("missed", 2, 3)
    assert forget_status(max_steps=0) == ("no-steps", 0, 0)
    assert forget_status(max_seconds=0.0) == ("time-limit", 1, 2)
    assert forget_status(stop=StopRule()) == ("no-rule", 4, 8)
    assert forget_status(examples_per_epoch=100) == ("missed", 4, 16)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_and_schedule_runs_to_its_caps(
    model: nn.Module, fit: ExampleSet, schedule: str, optimizer: str
) -> None:
    recover = recovery(max_epochs=5, max_steps=9, optimizer=optimizer, schedule=schedule, learning_rate=1e-3)
    config = seam(forget=forgetting(max_epochs=0), recover=recover)
    outcome = unlearn(model, TASK, fit, config, seed=1)
    assert outcome.phase("recover").steps == 9
    assert not torch.equal(weights(outcome.model), weights(model))


def test_a_diverging_run_is_a_failure_not_a_score(model: nn.Module, fit: ExampleSet) -> None:
    wild = QUICK.with_phase("forget", optimizer="sgd", learning_rate=1e3, stop=StopRule(accuracy=0.0))
    with pytest.raises(EngineFailure, match="non-finite"):
        unlearn(nn.Sequential(nn.Linear(10, 64), nn.Linear(64, 64), nn.Linear(64, 4)), TASK, fit, wild, seed=1)


def test_an_infinite_weight_is_a_failure_not_a_score(model: nn.Module, fit: ExampleSet) -> None:
    broken = nn.Linear(10, CLASSES)
    with torch.no_grad():
        broken.weight[0, 0] = float("inf")
    for preset in ("default", "no-op"):
        with pytest.raises(EngineFailure, match="non-finite"):
            unlearn(broken, TASK, fit, resolve(preset), seed=1)


def test_one_example_and_batch_norm_is_refused_with_advice(model: nn.Module, fit: ExampleSet) -> None:
    with pytest.raises(EngineFailure, match="batch_norm=frozen-stats"):
        unlearn(model, TASK, fit.subset([0]), QUICK, seed=1)
    unlearn(model, TASK, fit.subset([0]), QUICK.changed(batch_norm="frozen-stats"), seed=1)


def test_batches_of_one_example_and_batch_norm_are_refused_with_advice(model: nn.Module, fit: ExampleSet) -> None:
    with pytest.raises(EngineFailure, match=r"batches of one .*batch_norm=frozen-stats"):
        unlearn(model, TASK, fit, QUICK.changed(batch_size=1), seed=1)


def test_no_op_needs_no_second_example(model: nn.Module, fit: ExampleSet) -> None:
    outcome = unlearn(model, TASK, fit.subset([0]), resolve("no-op"), seed=1)
    assert torch.equal(weights(outcome.model), weights(model))


def test_a_network_whose_head_takes_no_part_is_refused(fit: ExampleSet) -> None:
    network = nn.Sequential(nn.Linear(10, CLASSES))
    network[0].register_module("aside", nn.Linear(2, 2))
    with pytest.raises(EngineFailure, match=r"trainable=head.* takes part in the output"):
        unlearn(network, TASK, fit, QUICK.changed(trainable="head"), seed=1)


def test_the_head_is_not_a_batch_norm_that_was_registered_last(fit: ExampleSet) -> None:
    network = SharedBatchNormNet((10, 6, 6, CLASSES))
    after = unlearn(network, TASK, fit, QUICK.changed(trainable="head"), seed=1).model.state_dict()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, after[name])}
    assert moved == {"fc3.weight", "fc3.bias"}


def test_gradients_that_the_caller_switched_off_do_not_matter(model: nn.Module, fit: ExampleSet) -> None:
    expected = unlearn(model, TASK, fit, QUICK, seed=1).model
    with torch.no_grad():
        assert torch.equal(weights(unlearn(model, TASK, fit, QUICK, seed=1).model), weights(expected))


def test_a_trailing_single_example_does_not_break_batch_norm(model: nn.Module, fit: ExampleSet) -> None:
    outcome = unlearn(model, TASK, fit.subset(range(33)), QUICK, seed=1)  # 32 + 1
    assert outcome.phase("forget").steps == outcome.phase("forget").epochs


def test_no_example_is_refused(model: nn.Module, fit: ExampleSet) -> None:
    with pytest.raises(EngineFailure, match="no fit example"):
        unlearn(model, TASK, fit.subset([]), QUICK, seed=1)


def test_fixed_labels_stay_and_fresh_ones_change(fit: ExampleSet) -> None:
    class Spy:
        name, num_classes = "spy", CLASSES

        def __init__(self) -> None:
            self.drawn: list[torch.Tensor] = []
            self.real = TASK

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def random_labels(self, *given: object) -> torch.Tensor:
            self.drawn.append(TASK.random_labels(*given))  # type: ignore[arg-type]
            return self.drawn[-1]

    for fresh, expected in ((True, 3), (False, 1)):  # once per epoch, or once
        spy = Spy()
        forget = forgetting(max_epochs=3, fresh_labels=fresh, stop=StopRule(accuracy=0.0))
        config = seam(forget=forget, recover=recovery(max_epochs=0))
        unlearn(nn.Linear(10, CLASSES), spy, fit, config, seed=1)  # type: ignore[arg-type]
        assert len(spy.drawn) == expected
        assert not any(torch.equal(a, b) for a, b in pairwise(spy.drawn))


def test_views_are_plain_in_the_last_share_of_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def noting(images: torch.Tensor, views: Views, still: bool, plain: bool) -> torch.Tensor:
        seen.append(plain)
        return images

    monkeypatch.setattr("trojai_seam.unlearning.context.view", noting)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES))
    pictures = ExampleSet({"x": torch.rand(8, 3, 2, 2)}, torch.arange(8) % CLASSES, tuple("abcdefgh"))
    phases = {"forget": forgetting(max_epochs=2), "recover": recovery(max_epochs=4, views={"plain_end": 0.25})}
    unlearn(net, TASK, pictures, seam(batch_size=4, **phases), seed=0)
    assert seen == [False] * 4 + [False] * 6 + [True] * 2


def test_without_batch_norm_another_learning_rate_can_be_given(fit: ExampleSet, model: nn.Module) -> None:
    still = recovery(max_epochs=1, learning_rate=1e-3, learning_rate_without_batch_norm=0.0)
    config = seam(forget=forgetting(max_epochs=0), recover=still)
    plain = nn.Sequential(nn.Linear(10, CLASSES))
    assert torch.equal(weights(unlearn(plain, TASK, fit, config, seed=0).model), weights(plain))
    assert not torch.equal(weights(unlearn(model, TASK, fit, config, seed=0).model), weights(model))
    frozen = config.changed(batch_norm="frozen-stats")
    assert torch.equal(weights(unlearn(model, TASK, fit, frozen, seed=0).model), weights(model))


def test_a_phase_may_see_few_of_the_examples(model: nn.Module, fit: ExampleSet) -> None:
    def steps(**forget: int) -> list[int]:
        config = seam(forget=forgetting(max_epochs=1, **forget), recover=recovery(max_epochs=1), batch_size=2)
        return [epoch.steps for epoch in unlearn(model, TASK, fit, config, seed=1).trace]

    assert steps(examples=6) == [3, 20]  # the next phase has all of them again
    assert steps(examples=400) == steps() == [20, 20]


def test_the_few_are_of_all_classes_and_more_have_the_fewer_among_them(model: nn.Module, fit: ExampleSet) -> None:
    config, seen = seam(), {}
    for seed in (1, 2):
        context = Context(model, model, TASK, fit, config, seed, None)
        chosen = [few(context, count) for count in range(1, 41)]
        assert all(set(a) < set(b) for a, b in pairwise(chosen))
        for count, places in enumerate(chosen, 1):
            counts = torch.bincount(fit.labels[places], minlength=CLASSES)
            assert len(places) == count
            assert int(counts.max() - counts.min()) <= 1
        seen[seed] = chosen[7]
    assert seen[1] != seen[2]


class Asked(type(TASK)):
    """Counts how often all fit examples are asked."""

    times = 0

    def predictions(self, outputs, examples):
        self.times += 1
        return super().predictions(outputs, examples)


def test_a_phase_without_a_stop_rule_asks_now_and_then_and_ends_with_the_same_network(
    model: nn.Module, fit: ExampleSet
) -> None:
    config = exchanged(QUICK, forgetting(max_epochs=3, stop=StopRule(chance_multiple=0.01)), recovery(max_epochs=12))
    outcomes, times = [], []
    for every in (1, 5):
        task = Asked(CLASSES)
        outcomes.append(unlearn(model, task, fit, config, seed=2, trace_every=every))
        times.append(task.times)
    often, seldom = outcomes
    assert torch.equal(weights(often.model), weights(seldom.model))
    assert often.phases[1].end_accuracy == seldom.phases[1].end_accuracy == seldom.trace[-1].fit_accuracy
    assert times == [1 + 3 + 1 + 12, 1 + 3 + 1 + 3]
    asked = [e.epoch for e in seldom.trace if e.phase == "recover" and e.fit_accuracy is not None]
    assert asked == [4, 9, 11]
    for one, other in zip(often.trace, seldom.trace, strict=True):
        assert one.loss == other.loss
        assert other.fit_accuracy in (None, one.fit_accuracy)
    assert all(e.fit_accuracy is not None for e in seldom.trace if e.phase == "forget")  # its rule is looked at


def test_a_phase_that_runs_out_of_time_knows_where_it_ended(model: nn.Module, fit: ExampleSet) -> None:
    config = QUICK.changed(phases=(recovery(max_epochs=1000, max_seconds=0.0),))
    (phase,) = unlearn(model, TASK, fit, config, seed=2).phases
    assert (phase.status, phase.epochs) == ("time-limit", 1)
    assert phase.end_accuracy == pytest.approx(1, abs=0.1)
