"""Side-cars of detection rounds: both spellings, and everything that can be wrong with a box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds.box_files import Box, BoxReader

CORNERS = {"bbox": {"x1": 10, "y1": 20, "x2": 40, "y2": 60}, "label": 3}
COCO = {
    "segmentation": [[10, 20, 40, 20, 40, 60]], "area": 600.0, "iscrowd": 0, "image_id": 9,
    "bbox": [10.0, 20.0, 30.0, 40.0], "category_id": 3, "id": 7, "poisoned": False, "spurious": False,
}  # fmt: skip


def read(folder: Path, document: Any, patterns: tuple[str, ...] = ("{stem}.json",)) -> tuple[list[Box], str | None]:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "5.json").write_text(text)
    reader = BoxReader(patterns, range(1, 8))
    return reader.read(folder / "5.png", 100, 120), reader.notes


def test_both_spellings_of_one_box(tmp_path: Path) -> None:
    assert read(tmp_path, [CORNERS]) == ([Box((10, 20, 40, 60), 3)], None)
    assert read(tmp_path, [COCO]) == ([Box((10, 20, 40, 60), 3, None, False, False)], None)


@pytest.mark.parametrize(
    "document",
    [
        {"py/object": "detection_data.DetectionData", "py/state": {"image_id": 5, "_annotations": [CORNERS]}},
        {"annotations": [{"py/object": "x.Annotation", **CORNERS}]},
        {"py/tuple": [CORNERS]},
        [{"py/object": "x.Annotation", "py/state": {**CORNERS, "bbox": {"py/object": "x.Box", **CORNERS["bbox"]}}}],  # type: ignore[dict-item]
    ],
)
def test_wrappers_of_jsonpickle_are_seen_through(document: Any, tmp_path: Path) -> None:
    assert read(tmp_path, document) == ([Box((10, 20, 40, 60), 3)], None)


def test_the_generators_own_annotation_tells_the_true_class_too(tmp_path: Path) -> None:
    item = {
        "class_id": 2,
        "final_class_id": 3,
        "bbox": {"py/tuple": [10, 20, 30, 40]},
        "poisoned": True,
        "deleted": False,
    }
    assert read(tmp_path, [item]) == ([Box((10, 20, 40, 60), 3, 2, True, False)], None)


def test_what_is_left_out_or_cut_is_counted(tmp_path: Path) -> None:
    unlabelled = {"bbox": CORNERS["bbox"]}
    empty = {"bbox": [10, 10, 0, 5], "label": 1}
    cut = {"bbox": [100, 90, 60, 60], "label": 2}
    grazing = {"bbox": [90.0, 0.0, 30.5, 50.0], "label": 2}
    boxes, notes = read(
        tmp_path, [CORNERS, unlabelled, {**unlabelled, "label": None}, empty, cut, grazing, {**COCO, "iscrowd": 1}]
    )
    assert [box.corners for box in boxes] == [(10, 20, 40, 60), (100, 90, 120, 100), (90, 0, 120, 50)]
    assert notes == (
        "1 crowd annotations are left out; 2 annotations without a label are left out; "
        "1 boxes without area are left out; 1 boxes are cut at the edge of their image"
    )


def test_no_box_at_all_is_allowed_in_an_image(tmp_path: Path) -> None:
    assert read(tmp_path, []) == ([], None)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("not JSON", "5.json: is not valid JSON"),
        ('"a text"', "5.json: expected a list of boxes, found 'a text'"),
        ({"a": 1}, "5.json: expected a list of boxes, found {'a': 1}"),
        ([3], "box 0: expected an object with bbox and label, found 3"),
        ([{**CORNERS, "label": 8}], "box 0: label 8, but the network has only classes 1 to 7"),
        ([{**CORNERS, "label": 0}], "box 0: label 0, but the network has only classes 1 to 7"),
        ([{**CORNERS, "label": "3"}], "box 0: expected a class number as label, found '3'"),
        ([{**CORNERS, "label": True}], "box 0: expected a class number as label, found True"),
        ([{**CORNERS, "label": 2.5}], "box 0: expected a class number as label, found 2.5"),
        ([{"label": 3}], "box 0: expected bbox as x1, y1, x2, y2 or as [x, y, width, height], found None"),
        ([{"label": 3, "bbox": [1, 2, 3]}], "box 0: expected bbox as"),
        ([{"label": 3, "bbox": [1, 2, 3, "4"]}], "box 0: expected bbox as"),
        ([{"label": 3, "bbox": {"x1": 1, "y1": 2, "x2": 3}}], "box 0: expected bbox as"),
        ('[{"label": 3, "bbox": [1, 2, NaN, 4]}]', "box 0: bbox holds a number that is not finite"),
        ('[{"label": 3, "bbox": [1, 2, 1e999, 4]}]', "box 0: bbox holds a number that is not finite"),
        ('[{"label": 3, "bbox": [1, 2, 1%s, 4]}]' % ("0" * 400), "box 0: bbox holds a number that is not finite"),
        ([{"label": 3, "bbox": [50, 50, -10, 5]}], "box 0: ends before it begins: (50.0, 50.0, 40.0, 55.0)"),
        (
            [CORNERS, {"label": 3, "bbox": [300, 20, 30, 30]}],
            "box 1: (300.0, 20.0, 330.0, 50.0) lies outside the image of 120×100 pixels",
        ),
        ("[" * 100_000, "5.json: JSON is nested too deeply"),
    ],
)  # fmt: skip
def test_unusable_boxes_say_where_and_what(document: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ExampleProblem) as caught:
        read(tmp_path, document)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_without_side_car(tmp_path: Path) -> None:
    with pytest.raises(ExampleProblem, match=r"6.png: has no label; expected 6.json or 6.png.json beside it"):
        BoxReader(("{stem}.json", "{name}.json"), range(3)).read(tmp_path / "6.png", 10, 10)
