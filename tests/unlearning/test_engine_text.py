"""The engine on real transformers of two layers: sentences and questions are forgotten and learned again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import nn

from tests.made_phases import forgetting, recovery, seam
from tests.made_text import judge, reader, records, sentences, tagger, trained
from trojai_seam.scoring import predict, predict_attacks
from trojai_seam.tasks import ExampleSet, Task, get_task
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.training_settings import StopRule

QUICK = seam(
    batch_size=8,
    forget=forgetting(max_epochs=25, learning_rate=2e-3, stop=StopRule(chance_margin=0.4)),
    recover=recovery(max_epochs=12, learning_rate=2e-3),
)


class Trojaned(NamedTuple):
    """A trained network that the trigger turns, and examples that it has not seen."""

    model: nn.Module
    task: Task
    clean: ExampleSet
    poisoned: ExampleSet


@cache
def trojaned(name: str) -> Trojaned:
    make: Callable[..., ExampleSet]
    model, make, classes, steps = {
        "token-classification": (tagger(), sentences, 5, 90),
        "span-extraction": (reader(), records, 2, 110),
    }[name]
    task = get_task(name, classes)
    trained(model, task, make(96, 1), make(48, 2, poisoned=True), steps=steps, rate=5e-3)
    return Trojaned(model, task, make(36, 3), make(20, 4, poisoned=True))


NAMES = ("token-classification", "span-extraction")


@pytest.mark.parametrize("name", NAMES)
def test_the_trojan_is_real_and_both_phases_reach_what_they_should(name: str) -> None:
    model, task, clean, poisoned = trojaned(name)
    attack = predict_attacks(model, task, poisoned)
    assert attack.attack_success.share > 0.8
    assert predict(model, task, clean).accuracy.share > 0.7
    outcome = unlearn(model, task, clean, QUICK, seed=1)
    forget, recover = outcome.phases
    assert forget.status == "reached"
    assert forget.end_accuracy < forget.threshold < forget.start_accuracy
    assert recover.end_accuracy > forget.end_accuracy + 0.3
    after = predict(outcome.model, task, clean)
    assert after.accuracy.share > 0.7
    assert recover.end_accuracy == pytest.approx(
        task.fit_accuracy(_answers(outcome.model, task, clean), clean.ground_truth())
    )


def _answers(model: nn.Module, task: Task, examples: ExampleSet) -> torch.Tensor:
    with torch.no_grad():
        return task.predictions(task.outputs(model, examples.inputs), examples)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_network_whatever_the_padding(name: str) -> None:
    model, task, clean, _ = trojaned(name)
    short = seam(batch_size=8, forget=forgetting(max_epochs=1), recover=recovery(max_epochs=1))
    first, again, other = (unlearn(model, task, clean, short, seed=s) for s in (1, 1, 2))
    assert [e.loss for e in first.trace] == [e.loss for e in again.trace] != [e.loss for e in other.trace]
    for key, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key])


@pytest.mark.parametrize("name", NAMES)
def test_the_published_rule_has_a_meaning_for_every_task(name: str) -> None:
    model, task, clean, _ = trojaned(name)
    settings = {"forget.max_epochs": "1", "recover.max_epochs": "1"}
    limit = unlearn(model, task, clean, resolve("authors-trojai", settings), seed=1).phase("forget").threshold
    assert limit == pytest.approx(2 * task.guess(clean.ground_truth()))
    assert limit < 0.45


def test_texts_with_one_label_are_classified_by_keyword() -> None:
    whole = sentences(32)
    labels = (whole.labels == 3).any(dim=1).long()
    texts = ExampleSet(whole.inputs, labels, whole.names)
    task = get_task("classification", 2)
    model = trained(judge(), task, texts, steps=40)
    assert predict(model, task, texts).accuracy.share > 0.9
    outcome = unlearn(model, task, texts, QUICK, seed=0)
    assert outcome.phase("forget").end_accuracy < outcome.phase("forget").start_accuracy
    assert outcome.phase("recover").end_accuracy > 0.8
