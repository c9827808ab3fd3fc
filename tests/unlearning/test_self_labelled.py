"""One image, cut up and labelled by the network itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning import run as unlearn
from trojai_seam.unlearning.phases.self_label_work import SoftClassification, extrapolated

CLASSES = 3
CONFIG = resolve(
    "images-one-example",
    {"label.count": "60", "forget.max_epochs": "3", "recover.max_epochs": "15", "recover.learning_rate": "5e-3"},
)
TASK = get_task("classification", CLASSES)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Answers with the strongest channel."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(8, CLASSES))
    images = torch.rand(96, 3, 1, 1) * torch.ones(96, 3, 12, 12)
    labels = images.mean(dim=(2, 3)).argmax(dim=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-2)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def one_image(label: int) -> ExampleSet:
    generator = torch.Generator().manual_seed(1)
    return ExampleSet({"x": torch.rand(1, 3, 12, 12, generator=generator)}, torch.tensor([label]), ("one.png",))


def test_pieces_have_the_shape_and_range_of_the_images_and_differ() -> None:
    torch.manual_seed(0)
    image = 5 * one_image(0).inputs["x"] + 2
    made = extrapolated(image, 50)
    assert made.shape == (50, 3, 12, 12)
    assert made.min() >= image.min() - 1e-5
    assert made.max() <= image.max() + 1e-5
    assert len(made.flatten(1).unique(dim=0)) == 50


def test_a_network_recovers_what_it_knew_from_a_single_image(model: nn.Module) -> None:
    """BatchNorm and one image: plain SEAM refuses, and could teach one class at most."""
    torch.manual_seed(5)
    tests = torch.rand(200, 3, 1, 1) * torch.ones(200, 3, 12, 12)
    before = model(tests).argmax(dim=1)
    fit = one_image(int(model(one_image(0).inputs["x"]).argmax()))
    with pytest.raises(EngineFailure, match="one fit example"):
        unlearn(model, TASK, fit, resolve("images"), 0)
    outcome = unlearn(model, TASK, fit, CONFIG, 0)
    with torch.no_grad():
        kept = (outcome.model(tests).argmax(dim=1) == before).float().mean()
    assert kept > 0.6  # a third would be chance
    assert outcome.num_fit == 1
    assert outcome.phase("forget").epochs >= 1
    again, other = (unlearn(model, TASK, fit, CONFIG, seed).model for seed in (0, 1))
    assert torch.equal(again[0].weight, outcome.model[0].weight)
    assert not torch.equal(other[0].weight, outcome.model[0].weight)


def test_what_has_no_label_is_labelled_by_the_network(model: nn.Module) -> None:
    told = int(model(one_image(0).inputs["x"]).argmax())
    known, unknown = (unlearn(model, TASK, one_image(label), CONFIG, 0) for label in (told, -1))
    assert known.phase("recover").end_accuracy == pytest.approx(unknown.phase("recover").end_accuracy, abs=0.2)


def test_soft_labels_answer_the_questions_of_hard_ones() -> None:
    task, labels = SoftClassification(CLASSES), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])
    key = ExampleSet({}, labels, ("a", "b", "c"))
    assert task.chance(key) == pytest.approx(2 / 3)
    assert task.fit_accuracy(torch.tensor([0, 2, 1]), key) == pytest.approx(2 / 3)
    drawn = task.random_labels(key, torch.tensor([1, 0, 0, 2]), "wrong-only", torch.Generator().manual_seed(0))
    assert drawn.sum(dim=1).tolist() == [1] * 4
    assert drawn.argmax(dim=1)[0] != 2


def test_what_holds_no_images_is_refused(model: nn.Module) -> None:
    fit = ExampleSet({"x": torch.rand(4, 10)}, torch.zeros(4, dtype=torch.int64), tuple("abcd"))
    with pytest.raises(EngineFailure, match="is for images"):
        unlearn(model, TASK, fit, CONFIG, 0)
