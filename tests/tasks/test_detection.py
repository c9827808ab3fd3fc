"""Detection: shapes, losses of each family, random boxes, and what is asked of a network in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.made_scenes import detr, faster_rcnn, scenes, small_ssd
from trojai_seam.errors import UsageProblem
from trojai_seam.tasks import NOT_COUNTED, BoxDetails, ExampleSet, get_task
from trojai_seam.tasks.calling import all_outputs
from trojai_seam.tasks.details import SIZES
from trojai_seam.tasks.detector_calls import background_class

CLASSES = 4
TASK = get_task("detection", CLASSES)
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "faster-rcnn": lambda: faster_rcnn(CLASSES),
    "ssd": lambda: small_ssd(CLASSES),
    "detr": lambda: detr(CLASSES - 1),
}


@pytest.fixture(scope="module", params=FAMILIES)
def detector(request: pytest.FixtureRequest) -> nn.Module:
    return FAMILIES[request.param]()


def scenes_for(network: nn.Module, count: int = 6, **options: int) -> ExampleSet:
    return scenes(count, background=background_class(network, CLASSES), **options)


def test_outputs_are_boxes_inside_the_image(detector: nn.Module) -> None:
    examples = scenes_for(detector, 11)
    with torch.no_grad():
        said = all_outputs(detector.eval(), TASK, examples)
    assert said.shape[::2] == (11, 6)
    assert said.dtype == torch.float32
    real = said[..., 5] > 0
    assert real.any()
    background = background_class(detector, CLASSES)
    assert {int(label) for label in said[..., 4][real]} <= set(range(CLASSES)) - {background}
    assert isinstance(examples.details, BoxDetails)
    if background == 0:  # DETR may reach over the edge
        limits = examples.details.sizes[:, None, [1, 0]].float()
        assert ((said[..., 2:4] <= limits + 1e-3) | ~real[..., None]).all()


def test_an_image_gets_the_same_answer_in_every_batch(detector: nn.Module) -> None:
    """DETR's backbone sees the padding of the batch; where nothing is padded, nothing differs."""
    examples = scenes_for(detector, 7).subset([0, 6])  # both have the full size
    alone = [all_outputs(detector.eval(), TASK, examples.subset([k])) for k in range(2)]
    both = all_outputs(detector.eval(), TASK, examples)
    for one, row in zip(alone, both, strict=True):
        assert torch.allclose(one[0], row[: one.shape[1]], atol=1e-3)
        assert not row[one.shape[1] :].any()


def test_loss_is_that_of_the_family_and_teaches(detector: nn.Module) -> None:
    examples = scenes_for(detector)
    where = torch.arange(len(examples))
    inputs = examples.rows(where, where)
    detector.train()
    torch.manual_seed(0)
    loss = TASK.loss(detector, inputs, examples.labels)
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in detector.parameters())
    detector.zero_grad()


@pytest.mark.parametrize("which", ["none at all", "none in one image"])
def test_images_without_boxes_break_nothing(which: str, detector: nn.Module) -> None:
    examples = scenes_for(detector)
    labels = examples.labels.clone()
    labels[: 1 if which.endswith("image") else None, :, 4] = NOT_COUNTED
    where = torch.arange(len(examples))
    loss = TASK.loss(detector.train(), examples.rows(where, where), labels)
    assert torch.isfinite(loss)
    assert loss.requires_grad
    key = replace(examples, labels=labels).ground_truth()
    with torch.no_grad():
        answers = all_outputs(detector.eval(), TASK, examples)
    assert 0 <= TASK.fit_accuracy(answers, key) <= 1
    assert (TASK.marks(answers, key).accuracy.share is None) == (which == "none at all")


def test_degenerate_boxes_are_left_out(detector: nn.Module) -> None:
    examples = scenes_for(detector, 3)
    where = torch.arange(3)
    labels = examples.labels.clone()
    labels[1, :3] = torch.tensor([[5.0, 5, 5, 20, 1], [9, 9, 4, 4, 1], [3, 3, 3.5, 40, 1]])
    without = labels.clone()
    without[1, :3, 4] = NOT_COUNTED
    losses = []
    for given in (labels, without):
        torch.manual_seed(0)
        losses.append(float(TASK.loss(detector.train(), examples.rows(where, where), given).detach()))
    assert losses[0] == losses[1]


def test_rows_are_cut_to_the_largest_image_of_the_batch() -> None:
    examples = scenes(6)
    where = torch.tensor([1, 5])
    inputs = examples.rows(where, where)
    assert inputs["x"].shape == (2, 3, 60, 58)
    assert inputs[SIZES].tolist() == [[60, 58], [56, 58]]
    assert examples.subset([5]).details.sizes.tolist() == [[56, 58]]


def test_random_classes_keep_boxes_and_never_say_background() -> None:
    for background in (0, 3):
        key = scenes(40, background=background).ground_truth()
        order = torch.arange(40).repeat(5)
        for sampling in ("uniform", "wrong-only"):
            drawn = TASK.random_labels(key, order, sampling, torch.Generator().manual_seed(0))
            true = key.labels[order]
            real = true[..., 4] >= 0
            assert torch.equal(drawn[..., :4], true[..., :4])
            assert torch.equal(drawn[~real], true[~real])
            assert {int(c) for c in drawn[..., 4][real]} == set(range(4)) - {background}
            same = (drawn[..., 4] == true[..., 4])[real].float().mean()
            assert same == 0 if sampling == "wrong-only" else 0.2 < same < 0.45


def test_places_can_be_drawn_too() -> None:
    key = scenes(20).ground_truth()
    order = torch.arange(20)
    drawn = TASK.random_labels(key, order, "uniform-anywhere", torch.Generator().manual_seed(0))
    real = key.labels[..., 4] >= 0
    assert isinstance(key.details, BoxDetails)
    limits = key.details.sizes[:, None, [1, 0]]
    assert (drawn[..., :2] >= 0).all()
    assert ((drawn[..., 2:4] <= limits + 1e-3) | ~real[..., None]).all()
    sides = [rows[..., 2:4] - rows[..., :2] for rows in (drawn, key.labels)]
    assert torch.allclose(sides[0][real], sides[1][real], atol=1e-4)
    assert ((drawn[..., :2] - key.labels[..., :2]).abs().amax(-1)[real] > 1).float().mean() > 0.9
    with pytest.raises(UsageProblem, match="label sampling 'other'"):
        TASK.random_labels(key, order, "other", torch.Generator())


def test_right_boxes_make_every_figure_one_and_no_boxes_none() -> None:
    key = scenes(6).ground_truth()
    perfect = torch.cat([key.labels, (key.labels[..., 4:] >= 0).float()], dim=2)
    marks = TASK.marks(perfect, key)
    assert marks.accuracy.share == marks.further["ap50"].share == pytest.approx(1)
    assert TASK.fit_accuracy(perfect, key) == 1
    assert TASK.fit_accuracy(perfect * 0, key) == 0
    assert TASK.guess(key) == TASK.chance(key) == pytest.approx(1 / 3)


def test_naming_every_class_everywhere_is_no_more_than_guessing() -> None:
    key = scenes(60).ground_truth()
    places = torch.cat([key.labels, (key.labels[..., 4:] >= 0).float()], dim=2)
    everything = torch.cat([places] * 3, dim=1)
    everything[..., 4] = torch.arange(1, 4).repeat_interleave(places.shape[1])
    everything[..., 5] *= 0.33 + 0.01 * torch.rand(everything.shape[:2], generator=torch.Generator().manual_seed(0))
    assert TASK.marks(everything, key).accuracy.share > 0.3
    assert abs(TASK.fit_accuracy(everything, key) - TASK.guess(key)) < 0.1


def test_attacks_are_counted_by_image() -> None:
    clean = scenes(3).ground_truth()
    targets = torch.tensor(
        [[[0.0, 0, 10, 10, 2], [20, 20, 40, 40, 3]], [[5, 5, 25, 25, 1], [0, 0, 0, 0, -100]], [[0, 0, 0, 0, -100]] * 2]
    )
    kinds = torch.tensor([[2, 2], [1, -100], [-100, -100]])
    details = BoxDetails(torch.full((3, 2), 64), 0, kinds)
    key = replace(clean, labels=torch.full((3, 1, 5), -100.0), targets=targets, details=details)
    said = torch.zeros(3, 2, 6)
    said[0, 0] = torch.tensor([0, 0, 10, 10, 2, 0.9])
    marks = TASK.attack_marks(said, key)
    hits, resisted = marks.attack_success, marks.robust
    assert (hits.points.tolist(), hits.counted.tolist(), hits.share) == ([1, 1, 0], [2, 1, 0], 2 / 3)
    assert (resisted.points.tolist(), resisted.counted.tolist()) == ([1, 0, 0], [2, 1, 0])
    assert TASK.attack_marks(said, clean).attack_success.share is None


def test_strata_are_the_rarest_class_of_an_image() -> None:
    key = scenes(3).ground_truth()
    labels = torch.full((3, 2, 5), float(NOT_COUNTED))
    labels[0, :, 4], labels[1, 0, 4] = torch.tensor([1.0, 2.0]), 1.0
    assert TASK.strata(replace(key, labels=labels)) == [2, 1, -1]


def test_details_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        BoxDetails(torch.zeros(3, 2), 0, kinds=torch.zeros(2, 1))
