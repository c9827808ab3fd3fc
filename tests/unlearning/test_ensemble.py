"""Networks that are unlearned side by side: each as it would be alone, whoever is beside it, whatever fails there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.made_phases import forgetting, recovery
from trojai_seam.errors import EngineFailure
from trojai_seam.networks.modules import FullyConnectedHead, LinearHead, RecurrentHead, SharedBatchNormNet
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.chains import chain_of
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.ensemble import Member, stack_key, unlearn_together
from trojai_seam.unlearning.outcome import Outcome
from trojai_seam.unlearning.phases.train import TrainSettings
from trojai_seam.unlearning.training_settings import Views

INPUTS, HIDDEN, EXAMPLES = 20, 9, 14
TASK = get_task("classification", 2)


def _recurrent(kind: type[nn.LSTM] | type[nn.GRU], layers: int, both: bool, bias: bool = True) -> nn.Module:
    share = 0.25 if layers > 1 else 0.0
    rnn = kind(INPUTS, HIDDEN, layers, bias, batch_first=True, dropout=share, bidirectional=both)
    head = RecurrentHead(rnn, 2)
    head.dropout = nn.Dropout(0.25)
    return head


def _fully_connected(relu: bool) -> nn.Module:
    head = FullyConnectedHead((INPUTS, HIDDEN, HIDDEN), 2, relu)
    head.dropout = nn.Dropout(0.5)
    return head


def _feed_forward(activation: type[nn.Module]) -> nn.Module:
    layers = (nn.Linear(INPUTS, HIDDEN), activation(), nn.Linear(HIDDEN, HIDDEN), activation())
    return nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(HIDDEN, 2))


KINDS = {
    "lstm": lambda: _recurrent(nn.LSTM, 2, both=True),
    "lstm-one-way-no-bias": lambda: _recurrent(nn.LSTM, 1, both=False, bias=False),
    "gru": lambda: _recurrent(nn.GRU, 2, both=True),
    "gru-three-layers": lambda: _recurrent(nn.GRU, 3, both=False),
    "gru-no-bias": lambda: _recurrent(nn.GRU, 1, both=True, bias=False),
    "linear": lambda: LinearHead(INPUTS, 2),
    "fully-connected": lambda: _fully_connected(relu=False),
    "fully-connected-relu": lambda: _fully_connected(relu=True),
    "tanh": lambda: _feed_forward(nn.Tanh),
    "relu": lambda: _feed_forward(nn.ReLU),
    "sigmoid": lambda: _feed_forward(nn.Sigmoid),
    "two-steps": lambda: nn.Sequential(
        nn.Linear(INPUTS // 2, HIDDEN), nn.Tanh(), nn.Flatten(), nn.Linear(2 * HIDDEN, 2)
    ),
}


def _member(kind: str, seed: int) -> Member:
    """A network that knows its own examples, of two classes that overlap a little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KINDS[kind]()
        labels = torch.arange(EXAMPLES) % 2
        x = torch.randn(EXAMPLES, INPUTS) + 0.6 * (2 * labels - 1)[:, None]
        if kind == "two-steps":
            x = x.view(EXAMPLES, 2, INPUTS // 2)
        elif not isinstance(model, nn.Sequential):
            x = x[:, None]
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(15):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
    return Member(model.eval(), TASK, ExampleSet({"x": x}, labels, tuple(map(str, range(EXAMPLES)))), 1000 + seed)


def _shortened(preset: str) -> UnlearnConfig:
    config = resolve(preset)
    epochs = 2 if config.phase("forget").examples_per_epoch else 9
    return config.with_phase("forget", max_epochs=epochs).with_phase("recover", max_epochs=epochs)


def _alone(member: Member, config: UnlearnConfig) -> Outcome:
    return unlearn(member.model, member.task, member.fit, config, member.seed)


def _good(result: Outcome | EngineFailure) -> Outcome:
    assert isinstance(result, Outcome), result
    return result


def _state(outcome: Outcome | EngineFailure) -> torch.Tensor:
    return torch.cat([t.flatten() for t in _good(outcome).model.state_dict().values()])


@pytest.mark.parametrize("preset", ["text-embeddings", "default", "authors-trojai"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_seeds_end_side_by_side_as_the_engine_ends_each_alone(kind: str, preset: str) -> None:
    config = _shortened(preset)
    members = [_member(kind, seed) for seed in range(10)]
    for member, result in zip(members, unlearn_together(members, config), strict=True):
        alone, beside = _alone(member, config), _good(result)
        for one, other in zip(alone.phases, beside.phases, strict=True):
            assert replace(one, seconds=0) == replace(other, seconds=0)
        assert [e.fit_accuracy for e in alone.trace] == [e.fit_accuracy for e in beside.trace]
        assert [e.loss for e in beside.trace] == pytest.approx([e.loss for e in alone.trace], abs=1e-4)
        x = torch.cat([member.fit.inputs["x"], torch.randn_like(member.fit.inputs["x"])])
        scores = [outcome.model(x) for outcome in (alone, beside)]
        torch.testing.assert_close(scores[1], scores[0], rtol=1e-3, atol=1e-3)
        sure = (scores[0][:, 0] - scores[0][:, 1]).abs() > 1e-3
        assert sure.sum() > EXAMPLES
        assert torch.equal(scores[0].argmax(1)[sure], scores[1].argmax(1)[sure])
        torch.testing.assert_close(_state(beside), _state(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_company_changes_no_bit(kind: str) -> None:
    config = _shortened("default")
    members = [_member(kind, seed) for seed in range(7)]
    all_of_them = unlearn_together(members, config)
    for group in ([0], [1], [6], [3, 2], [5, 0, 6]):
        for number, result in zip(group, unlearn_together([members[n] for n in group], config), strict=True):
            assert torch.equal(_state(result), _state(all_of_them[number]))
            assert [e.loss for e in _good(result).trace] == [e.loss for e in _good(all_of_them[number]).trace]


def test_threads_change_no_bit_and_are_given_back() -> None:
    members, config = [_member("gru", seed) for seed in range(5)], _shortened("authors-trojai")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        results = unlearn_together(members, config)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for member, result in zip(members, results, strict=True):
        assert torch.equal(_state(unlearn_together([member], config)[0]), _state(result))


def test_members_stop_at_their_own_epochs_and_those_that_go_on_do_not_notice() -> None:
    config = resolve("authors-trojai").with_options({"forget.stop.patience": "3", "recover.stop.patience": "3"})
    members = [_member("tanh", seed) for seed in range(12)]
    together = [_good(result) for result in unlearn_together(members, config)]
    lengths = {outcome.phase("forget").epochs for outcome in together}
    assert len(lengths) > 2
    assert [len(o.trace) for o in together] == [len(_alone(m, config).trace) for m in members]


def test_a_stack_that_is_kept_full_gives_the_same() -> None:
    config = _shortened("text-embeddings")
    members = [_member("lstm", seed) for seed in range(3)]
    for one, other in zip(unlearn_together(members, config), unlearn_together(members, config, rows=5), strict=True):
        assert torch.equal(_state(one), _state(other))


def test_originals_are_left_as_they_are() -> None:
    member = _member("gru", 0)
    before = {name: tensor.clone() for name, tensor in member.model.state_dict().items()}
    unlearn_together([member, _member("gru", 1)], _shortened("default"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in member.model.state_dict().items())


def test_seconds_are_shared_out() -> None:
    members = [_member("tanh", seed) for seed in range(4)]
    for outcome in map(_good, unlearn_together(members, _shortened("authors-trojai"))):
        for phase in outcome.phases:
            epochs = [epoch.seconds for epoch in outcome.trace if epoch.phase == phase.phase]
            assert 0 < sum(epochs) <= phase.seconds


def test_weights_that_no_answer_depends_on_can_be_left_out() -> None:
    member, config = _member("lstm", 0), _shortened("text-embeddings")
    whole, partly = (_good(unlearn_together([member], config, whole=whole)[0]) for whole in (True, False))
    before, moved, left = (model.state_dict() for model in (member.model, whole.model, partly.model))
    assert torch.equal(left["rnn.weight_hh_l1"], before["rnn.weight_hh_l1"])
    assert not torch.equal(moved["rnn.weight_hh_l1"], before["rnn.weight_hh_l1"])
    x = member.fit.inputs["x"]
    assert torch.equal(whole.model(x), partly.model(x))


# What goes wrong with one --------------------------------------------------------------------------------------------


def test_a_network_with_nan_weights_costs_only_itself() -> None:
    members = [_member("lstm", seed) for seed in range(3)]
    with torch.no_grad():
        members[1].model.linear.weight[0, 0] = torch.nan
    config = _shortened("authors-trojai")
    first, bad, last = unlearn_together(members, config)
    assert isinstance(bad, EngineFailure)
    assert "linear.weight" in str(bad)
    assert torch.equal(_state(first), _state(unlearn_together(members[:1], config)[0]))
    assert torch.equal(_state(last), _state(unlearn_together(members[2:], config)[0]))


def test_a_loss_that_becomes_infinite_costs_only_its_network() -> None:
    members = [_member("relu", seed) for seed in range(3)]
    members[1] = replace(members[1], fit=replace(members[1].fit, inputs={"x": members[1].fit.inputs["x"] * 1e38}))
    config = _shortened("authors-trojai")
    first, bad, last = unlearn_together(members, config)
    assert isinstance(bad, EngineFailure)
    assert "non-finite" in str(bad)
    for number, result in ((0, first), (2, last)):
        assert torch.equal(_state(result), _state(unlearn_together([members[number]], config)[0]))


def test_a_network_that_is_wrong_about_itself_fails() -> None:
    members = [replace(_member("tanh", seed), model=_Misdescribed()) for seed in range(2)]
    for result in unlearn_together(members, _shortened("default")):
        assert isinstance(result, EngineFailure)
        assert "steps_in_order" in str(result)


# What can be stacked --------------------------------------------------------------------------------------------------


class _Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class _Misdescribed(nn.Module):
    """Says nothing of its tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(INPUTS, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.last(torch.tanh(self.first(x)))
        return scores

    def steps_in_order(self) -> list[nn.Module]:
        return [self.first, self.last]


class _Heir(LinearHead):
    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(embeddings)


def _tied() -> nn.Module:
    layer = nn.Linear(INPUTS, INPUTS)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(INPUTS, 2))


def _hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(INPUTS, 2))
    model[0].register_forward_hook(lambda module, given, result: 2 * result)
    return model


@pytest.mark.parametrize(
    "model",
    [
        SharedBatchNormNet((INPUTS, 8, 8, 2)),
        nn.Sequential(nn.Linear(INPUTS, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)),
        nn.Sequential(_Doubled(INPUTS, 2)),
        nn.Sequential(nn.Linear(INPUTS, 8), nn.Softplus(), nn.Linear(8, 2)),
        nn.utils.parametrizations.weight_norm(nn.Linear(INPUTS, 2)),
        _Heir(INPUTS, 2),
        _tied(),
        _hooked(),
    ],
    ids=["shared-batch-norm", "batch-norm", "subclass", "unknown-layer", "parametrised", "heir", "tied", "hooked"],
)
def test_what_is_no_chain_of_known_layers_is_left_alone(model: nn.Module) -> None:
    assert chain_of(model) is None


def test_keys_tell_what_may_be_beside_each_other() -> None:
    config = resolve("default")

    def key(member: Member, config: UnlearnConfig = config) -> object:
        return stack_key(member.model, member.task, member.fit, config)

    one = _member("lstm", 0)
    assert key(one) == key(_member("lstm", 1)) is not None
    assert key(one) != key(_member("gru", 0))
    assert key(_member("tanh", 0)) != key(_member("relu", 0))
    assert key(one) != key(replace(one, fit=one.fit.subset(range(EXAMPLES - 1))))
    for other in (
        config.changed(trainable="head"),
        config.changed(precision="bf16"),
        resolve("images-one-example"),
        config.with_phase("forget", max_seconds=5.0),
        config.with_phase("recover", max_seconds=5.0),
        config.with_phase("recover", max_grad_norm=1.0),
    ):
        assert key(one, other) is None
    longer = replace(one.fit, inputs={"x": one.fit.inputs["x"].expand(-1, 2, -1)})
    assert key(replace(one, fit=longer)) is None  # two steps: the weights on the state take part
    assert key(replace(one, model=one.model.double())) is None
    with pytest.raises(ValueError, match="together"):
        unlearn_together([_member("tanh", 0), _member("relu", 0)], config)


def test_every_setting_is_known_to_the_stack() -> None:
    """A new one must be obeyed in a stack too, or keep networks out of it (``stack_key``): decide, test, and add it."""
    assert set(UnlearnConfig.model_fields) == {
        "preset", "batch_size", "trainable", "batch_norm", "precision", "phases",
    }  # fmt: skip
    assert set(TrainSettings.model_fields) == {
        "kind", "name", "max_epochs", "max_steps", "max_seconds", "examples_per_epoch", "optimizer", "learning_rate",
        "learning_rate_without_batch_norm", "rate_width", "max_grad_norm", "weight_decay", "beta1", "beta2", "momentum",
        "nesterov", "base_learning_rate", "cycle_steps", "milestones",
        "schedule", "order", "stop", "views", "labels", "label_sampling", "fresh_labels",
        "examples",
    }  # fmt: skip
    assert set(Views.model_fields) == {"noise", "augmentation", "color_jitter", "random_erasing", "plain_end"}


def test_one_phase_or_three_do_the_same_in_a_stack() -> None:
    first, second = (forgetting(max_epochs=2, views={"noise": 0.1}), recovery(max_epochs=2))
    for phases in ((), (second,), (first, second, first.changed(name="again"))):
        config, members = UnlearnConfig(phases=phases, batch_size=8), [_member("gru", seed) for seed in range(2)]
        for member, result in zip(members, unlearn_together(members, config), strict=True):
            alone, beside = _alone(member, config), _good(result)
            assert [replace(p, seconds=0) for p in alone.phases] == [replace(p, seconds=0) for p in beside.phases]
            assert [e.loss for e in beside.trace] == pytest.approx([e.loss for e in alone.trace], abs=1e-4)


def test_a_phase_without_epochs_is_watched_as_by_the_engine() -> None:
    config = UnlearnConfig(phases=(forgetting(max_epochs=1), recovery(max_epochs=0)), batch_size=8)
    member, seen = _member("gru", 0), ([], [])
    unlearn(member.model, member.task, member.fit, config, member.seed, lambda *told: seen[0].append(told))
    unlearn_together([replace(member, observer=lambda *told: seen[1].append(told)), _member("gru", 1)], config)
    alone, beside = ([told[:2] for told in one] for one in seen)
    assert alone == beside == [("forget", 0), ("recover", 0)]
    torch.testing.assert_close(seen[1][0][2].state_dict(), seen[1][1][2].state_dict())


def test_images_that_are_to_be_seen_anew_are_left_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    pictures = ExampleSet({"x": torch.rand(4, 3, 2, 2)}, torch.arange(4) % 2, tuple("abcd"))
    assert stack_key(model, TASK, pictures, resolve("images")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"forget.optimizer": "sgd", "recover.optimizer": "sgd", "forget.schedule": "cosine"},
        {
            "forget.optimizer": "sgd",
            "forget.nesterov": "true",
            "forget.schedule": "triangular",
            "forget.base_learning_rate": "1e-4",
            "forget.cycle_steps": "5",
            "recover.schedule": "multi-step",
            "recover.milestones": "[0.5, 0.8]",
        },
        {"forget.optimizer": "adamw", "recover.optimizer": "adamw", "forget.fresh_labels": "false"},
        {"recover.learning_rate_without_batch_norm": "1e-3", "rate_width": "4", "batch_size": "5"},
        {"forget.label_sampling": "wrong-only", "forget.max_steps": "7", "recover.max_epochs": "0"},
        {"forget.examples_per_epoch": "23", "forget.max_epochs": "3", "forget.max_steps": "4"},
    ],
    ids=["sgd", "cycles and steps", "adamw", "rates", "steps", "draws"],
)
def test_other_settings_do_the_same_in_a_stack(changes: dict[str, str]) -> None:
    config = _shortened("text-embeddings").with_options(changes)
    members = [_member("gru", seed) for seed in range(3)]
    for member, result in zip(members, unlearn_together(members, config), strict=True):
        alone, beside = _alone(member, config), _good(result)
        assert [replace(p, seconds=0) for p in alone.phases] == [replace(p, seconds=0) for p in beside.phases]
        assert [e.loss for e in beside.trace] == pytest.approx([e.loss for e in alone.trace], abs=1e-4)
        torch.testing.assert_close(_state(beside), _state(alone), rtol=1e-3, atol=1e-3)
