"""Rows of detectors: average precision is pooled over folds, in-sample too, and what is not measured is empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.made_scenes import scenes, small_ssd
from tests.tasks.test_box_matching import made
from trojai_seam.scoring import (
    AttackPredictions,
    FoldPredictions,
    Predictions,
    Split,
    SplitPlan,
    predict,
    predict_attacks,
)
from trojai_seam.scoring.score import score
from trojai_seam.tasks import BoxDetails, ExampleSet, Marks, detection, get_task
from trojai_seam.tasks.box_matching import match


def said(seed: int, objects: np.ndarray) -> tuple[np.ndarray, Predictions]:
    boxes = made(seed, images=len(objects))[0]
    finite = np.ones(len(objects), bool)
    further = {"ap50": match(boxes, objects, (0.5,))}
    return boxes, Predictions(boxes.astype(np.float32), finite, match(boxes, objects), further)


def attacked(hits: list[int]) -> AttackPredictions:
    marks = Marks(np.array(hits, float), np.array([2, 1, 2]), graded=True)
    return AttackPredictions(np.zeros((3, 1, 6), np.float32), np.ones(3, bool), marks, Marks.nothing(3))


def test_folds_are_pooled_into_one_figure() -> None:
    before_boxes, objects = made(0, images=6)
    _, before = said(0, objects)
    (one_boxes, one), (two_boxes, two) = said(1, objects), said(2, objects)
    splits = (Split((0, 1, 2), (3, 4, 5)), Split((3, 4, 5), (0, 1, 2)))
    plan = SplitPlan("kfold", "cross-validated", splits)
    attacks = attacked([2, 1, 0]), attacked([1, 0, 0])
    folds = [FoldPredictions(*fold) for fold in zip(splits, (one, two), attacks, strict=True)]
    row = score(plan, before, attacked([2, 1, 2]), folds, 0, is_clean=False)
    assert "foreign_boxes_after" not in row  # nothing was counted
    mixed = np.concatenate([two_boxes[:3], one_boxes[3:]])
    assert row["acc_after"] == pytest.approx(match(mixed, objects).share)
    assert row["ap50_after"] == pytest.approx(match(mixed, objects, (0.5,)).share)
    fitted = np.concatenate([one_boxes[:3], two_boxes[3:]])
    assert row["fit_acc_after"] == pytest.approx(match(fitted, objects).share)
    assert row["acc_before"] == row["acc_before_all"] == pytest.approx(match(before_boxes, objects).share)
    assert (row["n_acc_after"], row["units_acc_after"]) == (6, int((objects[..., 4] >= 0).sum()))
    assert (row["asr_before"], row["asr_after"], row["units_asr_after"]) == (1.0, pytest.approx(0.4), 5)
    assert row["fidelity"] == pytest.approx((row["acc_after"] - row["asr_after"]) / row["acc_before"])
    for name in ("acc_after", "ap50_before", "fidelity", "kept_accuracy", "fit_acc_before"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_without_held_out_images_only_in_sample_figures_are_there() -> None:
    boxes, objects = made(0, images=4)
    _, before = said(0, objects)
    plan = SplitPlan("paper", "in-sample", (Split((0, 1, 2, 3), ()),))
    row = score(plan, before, None, [FoldPredictions(plan.splits[0], before, None)], 0, is_clean=True)
    assert row["fit_acc_after"] == pytest.approx(match(boxes, objects).share)
    assert (row["acc_after"], row["n_acc_after"], row["acc_after_low"]) == (None, 0, None)
    assert (row["ap50_before"], row["fidelity"], row["kept_accuracy_low"]) == (None, None, None)


def test_boxes_are_matched_once_per_clean_set_and_never_in_poisoned_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching by pycocotools is what scoring detectors costs."""
    calls: list[int] = []

    def counted(detections: np.ndarray, objects: np.ndarray) -> Any:
        calls.append(len(objects))
        return match(detections, objects)

    monkeypatch.setattr(detection, "match", counted)
    network, task, examples = small_ssd(4), get_task("detection", 4), scenes(3)
    targets = torch.tensor([[[0.0, 0, 20, 20, 2]]] * 3)
    details = replace(examples.details, kinds=torch.zeros(3, 1, dtype=torch.int64))
    found = predict(network, task, examples)
    assert calls == [3]
    assert found.further["ap50"].units == found.accuracy.units == int((examples.labels[..., 4] >= 0).sum())
    attacks = predict_attacks(network, task, replace(examples, targets=targets, details=details))
    assert calls == [3]
    assert attacks.attack_success.units == 3
    np.testing.assert_array_equal(attacks.outputs, found.outputs)


def test_boxes_of_classes_that_no_image_holds_are_counted() -> None:
    nowhere = [float("nan")] * 4
    box = [0.0, 0.0, 9.0, 9.0]
    labels = torch.tensor([[[*box, 1], [*box, 2]], [[*box, 2], [*nowhere, -100]], [[*box, 1], [*nowhere, -100]]])
    key = ExampleSet({"x": torch.zeros(3, 3, 8, 8)}, labels, BoxDetails(torch.full((3, 2), 8), 0))
    said = torch.tensor([
        [[*box, 1, 0.9], [*box, 3, 0.9], [*box, 4, 0.5]],  # two classes that are in no image
        [[*box, 3, 0.49], [*box, 1, 0.9], [*nowhere, -100, 0.0]],  # not sure enough; a class of another image; padding
        [[*box, 3, 0.7], [*box, 2, 0.9], [*nowhere, -100, float("nan")]],
    ])  # fmt: skip
    assert detection.foreign_boxes(said, key).tolist() == [2, 0, 1]


def test_counts_are_of_held_out_images_from_the_fold_that_did_not_see_them() -> None:
    _, objects = made(0, images=6)
    before, one, two = (
        replace(said(seed, objects)[1], counts={"foreign_boxes": np.array(counts)})
        for seed, counts in ((0, [1, 0, 0, 0, 0, 2]), (1, [9, 9, 9, 1, 0, 1]), (2, [0, 3, 0, 9, 9, 9]))
    )
    splits = (Split((0, 1, 2), (3, 4, 5)), Split((3, 4, 5), (0, 1, 2)))
    folds = [FoldPredictions(splits[0], one, None), FoldPredictions(splits[1], two, None)]
    row = score(SplitPlan("kfold", "cross-validated", splits), before, None, folds, 0, is_clean=True)
    assert (row["foreign_boxes_before"], row["foreign_boxes_after"]) == (3, 5)
