"""ULRL: which rows are suspicious, by hand; that the network is put back and only those begin anew."""

from __future__ import annotations

import torch
from torch import nn

from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.phases.reinitialise_rows import suspicious

CLASSES = 5
TASK = get_task("classification", CLASSES)


def test_rows_are_suspicious_by_their_deviation_from_the_median() -> None:
    # Median 1.0, absolute deviations 0 0.1 0.1 0.2 4: their median 0.1, times 1.4826; 3.5 of these are 0.519.
    moved = torch.tensor([1.0, 0.9, 5.0, 1.2, 1.1])
    assert suspicious(moved, 3.5, 2).tolist() == [2]
    assert suspicious(torch.tensor([1.0, 0.9, 1.51, 1.2, 1.1]), 3.5, 2).tolist() == []
    assert suspicious(torch.tensor([1.0, 0.9, 1.52, 1.2, 1.0, 1.1, 0.9]), 3.5, 2).tolist() == [2]
    assert suspicious(torch.tensor([1.0, 0.9, 0.1, 1.2, 1.1]), 3.5, 2).tolist() == []  # moved less, not more
    many = torch.tensor([1.0, 1.1, 0.9, 1.05, 0.95, 7.0, 8.0, 6.0])
    assert suspicious(many, 3.5, 2).tolist() == [6, 5]
    assert suspicious(many, 3.5, 0).tolist() == []
    assert suspicious(torch.tensor([1.0, 3.0]), 3.5, 2).tolist() == []  # two classes have no deviation


def made() -> tuple[nn.Sequential, ExampleSet]:
    """The row of class 3 answers to ten features at once, those of the others to one each."""
    torch.manual_seed(0)
    labels = torch.arange(50) % CLASSES
    x = 0.05 * torch.rand(50, 20)
    for label in range(CLASSES):
        x[labels == label, label] = 1.0
    x[labels == 3, 6:] = 1.0
    net = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, CLASSES))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(20))
        net[0].bias.zero_()
        net[2].weight.zero_()
        net[2].weight[:, :CLASSES] = 3 * torch.eye(CLASSES)
        net[2].bias.fill_(0.1)
    return net.eval(), ExampleSet({"x": x}, labels, tuple(map(str, range(50))))


FORGET = {"kind": "reinitialise-rows", "name": "forget", "optimizer": "sgd", "learning_rate": 0.05, "max_epochs": 3,
          "max_grad_norm": 20.0}  # fmt: skip
RECOVER = {"kind": "train-away", "name": "recover", "likeness": "cosine", "rows": "changed", "alpha": 0.7,
           "optimizer": "sgd", "learning_rate": 0.05, "max_epochs": 15}  # fmt: skip


def test_only_the_row_that_moved_begins_anew() -> None:
    net, fit = made()
    outcome = unlearn(net, TASK, fit, UnlearnConfig(batch_size=10, phases=[FORGET]), 1)
    figures = outcome.phases[0].figures
    assert (figures["rows"], figures["row_0"]) == (1.0, 3.0)
    assert figures["ascent_accuracy"] < 0.9
    assert len(outcome.trace) == outcome.phases[0].epochs == 3
    for name, tensor in outcome.model.state_dict().items():
        shipped = net.state_dict()[name]
        same = (tensor == shipped).reshape(len(tensor), -1).all(dim=1)
        assert same.tolist() == [True, True, True, not name.startswith("2."), *[True] * (len(tensor) - 4)]
    assert outcome.model[2].bias[3] == 0
    row = outcome.model[2].weight[3]
    assert (2 / 20) ** 0.5 * 0.7 < row.abs().max() <= (2 / 20) ** 0.5
    never = unlearn(net, TASK, fit, UnlearnConfig(batch_size=10, phases=[{**FORGET, "mad_score": 1e6}]), 1)
    pairs = zip(never.model.parameters(), net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_relearning_leads_that_row_away_and_no_other() -> None:
    net, fit = made()

    def cosines(alpha: float) -> torch.Tensor:
        config = UnlearnConfig(batch_size=10, phases=[FORGET, {**RECOVER, "alpha": alpha}])
        outcome = unlearn(net, TASK, fit, config, 1)
        assert outcome.phase("recover").end_accuracy == 1.0
        return nn.functional.cosine_similarity(outcome.model[2].weight, net[2].weight, dim=1).detach()

    away, back = cosines(0.7), cosines(0.0)
    assert away[3] < back[3] - 0.2
    assert bool((away[[0, 1, 2, 4]] > 0.8).all())


def test_the_preset_has_its_published_numbers_and_runs() -> None:
    config = resolve("ulrl")
    forget, recover = config.phases
    assert (config.batch_size, forget.mad_score, forget.most_rows) == (128, 3.5, 2)
    assert (forget.learning_rate, forget.max_epochs, forget.max_grad_norm) == (0.01, 20, 20.0)
    assert (forget.stop.accuracy, forget.momentum, forget.weight_decay) == (0.2, 0.9, 5e-4)
    assert (recover.alpha, recover.likeness, recover.rows) == (0.7, "cosine", "changed")
    assert (recover.learning_rate, recover.max_epochs, recover.schedule) == (0.005, 20, "cosine")
    net, fit = made()
    first, again = (unlearn(net, TASK, fit, config, 2) for _ in range(2))
    assert [phase.phase for phase in first.phases] == ["forget", "recover"]
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
