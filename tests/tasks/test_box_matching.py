"""Average precision: COCO's own figure with equal weights, by hand where it is easy, and pooled, never averaged."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trojai_seam.scoring import Rate
from trojai_seam.tasks.box_matching import MatchedBoxes, match


def made(seed: int, images: int = 5, classes: int = 3, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Objects, and detections that are near them, elsewhere, doubled, or of another class; with one digit many scores
    are equal."""
    rng = np.random.default_rng(seed)
    objects, said = np.full((images, 4, 5), -100.0), np.zeros((images, 9, 6))
    for image in range(images):
        for number in range(rng.integers(0, 5)):
            corner, side = rng.uniform(0, 60, 2), rng.uniform(5, 30, 2)
            objects[image, number] = [*corner, *(corner + side), rng.integers(classes)]
        for number in range(rng.integers(0, 10)):
            box = objects[image, rng.integers(4)].copy()
            if box[4] < 0 or rng.random() < 0.3:
                corner = rng.uniform(0, 60, 2)
                box = np.array([*corner, *(corner + rng.uniform(5, 30, 2)), rng.integers(classes)])
            box[:4] += rng.normal(0, 1.5, 4)
            box[2:4] = np.maximum(box[2:4], box[:2] + 1)
            said[image, number] = [*box, round(rng.uniform(0.05, 1), digits)]
    return said, objects


def coco_says(said: np.ndarray, objects: np.ndarray) -> tuple[float, float]:
    """mAP and AP50 from the whole of pycocotools."""
    annotations, results = [], []
    for image in range(len(objects)):
        for box in objects[image]:
            if box[4] >= 0:
                sides = (box[2:4] - box[:2]).tolist()
                entry = {"id": len(annotations) + 1, "image_id": image, "category_id": int(box[4]), "iscrowd": 0}
                annotations.append({**entry, "bbox": [*box[:2].tolist(), *sides], "area": sides[0] * sides[1]})
        for box in said[image]:
            if box[5] > 0:
                sides = (box[2:4] - box[:2]).tolist()
                results.append({"image_id": image, "category_id": int(box[4]), "bbox": [*box[:2].tolist(), *sides],
                                "score": float(box[5])})  # fmt: skip
    truth: Any = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {"images": [{"id": k} for k in range(len(objects))], "annotations": annotations,
                         "categories": [{"id": k} for k in range(3)]}  # fmt: skip
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])


@pytest.mark.parametrize("seed", range(8))
def test_equal_weights_give_cocos_own_figures(seed: int) -> None:
    said, objects = made(seed, images=6)
    whole, half = coco_says(said, objects)
    assert match(said, objects).share == pytest.approx(whole, abs=1e-9)
    assert match(said, objects, (0.5,)).share == pytest.approx(half, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_one_threshold_of_ten_is_that_threshold_alone(seed: int) -> None:
    """What stands as AP50 in a row, interval included, need not be matched for itself."""
    said, objects = made(seed)
    first, alone = match(said, objects).at_threshold(0), match(said, objects, (0.5,))
    assert np.array_equal(first.found, alone.found)
    rates = [Rate.of(boxes.at(np.array([0, 2, 3]))) for boxes in (first, alone)]
    assert rates[0].value == rates[1].value
    assert rates[0].interval == rates[1].interval


def test_by_hand() -> None:
    objects = np.array([[[0, 0, 10, 10, 1], [20, 20, 30, 30, 1]], [[0, 0, 10, 10, 1], [0, 0, 0, 0, -100]]], float)
    right, wrong = [0, 0, 10, 10, 1, 0.9], [40, 40, 50, 50, 1, 0.8]
    later = [20, 20, 30, 30, 1, 0.7]
    said = np.array([[right, wrong, later], [[0] * 6] * 3], float)
    # Found after 1, 3 of 3 detections: precision 1 up to recall 1/3, 2/3 up to 2/3, nothing beyond.
    assert match(said, objects).share == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    boxes = match(said, objects)
    assert (len(boxes), boxes.units, boxes.found.shape) == (2, 3, (3, 10))
    assert match(said * 0, objects).share == 0.0
    assert match(said, objects * 0 - 100).share is None


def test_a_detection_with_non_finite_numbers_does_not_count() -> None:
    objects = np.array([[[0, 0, 10, 10, 1]]], float)
    said = np.array([[[0, 0, np.nan, 10, 1, 0.9], [0, 0, 10, 10, 1, np.nan]]])
    assert match(said, objects).share == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), times=st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_an_image_of_weight_two_is_an_image_twice(seed: int, times: list[int]) -> None:
    said, objects = made(seed, digits=9)
    often = np.repeat(np.arange(5), times)
    repeated = match(said[often], objects[often]).share
    if repeated is not None:
        assert match(said, objects).draws(np.array([times], float), ())[0] == pytest.approx(repeated, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), places=st.lists(st.integers(0, 4), min_size=1, unique=True))
def test_some_images_are_what_they_are_alone(seed: int, places: list[int]) -> None:
    said, objects = made(seed)
    where = np.array(sorted(places))
    assert match(said, objects).at(where).share == match(said[where], objects[where]).share


def test_folds_are_pooled_and_not_averaged() -> None:
    first, objects = made(1)
    second, _ = made(2)
    folds = [(match(first, objects), np.array([0, 3])), (match(second, objects), np.array([1, 2, 4]))]
    pooled = folds[0][0].over_folds(folds)
    mixed = np.array([first[0], second[1], second[2], first[3], second[4]])
    assert pooled.share == pytest.approx(match(mixed, objects).share, abs=1e-12)
    assert isinstance(pooled, MatchedBoxes)
    assert pooled.objects.tolist() == match(mixed, objects).objects.tolist()


def test_pseudo_images_pull_towards_one_and_zero() -> None:
    boxes = match(*made(3))
    assert boxes.share is not None
    ones = np.ones((1, 7))
    assert boxes.draws(ones, (1, 0))[0] == pytest.approx((5 * boxes.share + 1) / 7)
