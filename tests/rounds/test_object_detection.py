"""The adapter of the detection rounds: folders, padding, class numbers, poisoned sets, and everything broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.made_detection import CLASSES, Made, detector, r10_trigger, r13_trigger, write_examples, write_model
from trojai_seam.errors import ConfigProblem, ExampleProblem, TrojaiSeamError
from trojai_seam.rounds import ModelDirectory, detect_round, discover, get_round
from trojai_seam.rounds.adapters import Examples, ShippedNetwork, Workplace
from trojai_seam.rounds.object_detection import read_examples
from trojai_seam.rounds.opening import open_directory
from trojai_seam.tasks import NOT_COUNTED, UNKNOWN, BoxDetails
from trojai_seam.tasks.details import ATTACKS

BIG, SMALL = (8, 6, 40, 36), (44, 40, 60, 58)


def read(folder: Path, name: str = "r13", **options: str) -> Examples:
    network = ShippedNetwork(detector(), "", None, lambda inputs: inputs["x"], Workplace())
    directory = ModelDirectory(folder, folder.name, folder.parent)
    return read_examples(directory, get_round(name).with_options(options), CLASSES + 1, network)


@pytest.fixture
def r13(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "id-00000000", coco=False, triggers=[r13_trigger("Misclassification", 1, 2)])
    write_examples(folder / "clean-example-data", {"7.png": [Made(0, BIG), Made(5, SMALL)], "8.png": []}, coco=False)
    write_examples(folder / "clean-example-data", {"9.png": [Made(1, BIG)]}, coco=False, size=(48, 50))
    write_examples(folder / "poisoned-example-data", {"70.png": [Made(2, BIG), Made(4, SMALL)]}, coco=False)
    return folder


def details(examples: Any) -> BoxDetails:
    assert isinstance(examples.details, BoxDetails)
    return examples.details


def test_images_are_padded_and_classes_counted_as_the_head_does(r13: Path) -> None:
    clean = read(r13).clean
    assert clean.names == ("7.png", "8.png", "9.png")
    assert clean.inputs["x"].shape == (3, 3, 60, 64)
    assert clean.inputs["x"].dtype == torch.float32
    assert details(clean).sizes.tolist() == [[60, 64], [60, 64], [48, 50]]
    assert details(clean).background == 0
    assert clean.inputs["x"][2, :, 48:].abs().max() == 0
    assert clean.inputs["x"][2, :, :, 50:].abs().max() == 0
    stored = np.asarray(Image.open(r13 / "clean-example-data" / "9.png"))
    assert torch.equal(
        clean.inputs["x"][2, :, :48, :50], torch.from_numpy(stored.transpose(2, 0, 1).copy()).float() / 255
    )
    padding = [0, 0, 0, 0, NOT_COUNTED]
    assert clean.labels.tolist() == [[[*BIG, 1], [*SMALL, 6]], [padding, padding], [[*BIG, 2], padding]]


def test_poisoned_set_holds_what_the_attacker_wants_and_what_is_there(r13: Path) -> None:
    examples = read(r13)
    poisoned = examples.poisoned
    assert poisoned is not None
    assert poisoned.targets is not None
    assert poisoned.targets.tolist() == [[[*BIG, 3]]]
    assert sorted(poisoned.labels[0].tolist()) == [[*BIG, 2], [*SMALL, 5]]
    assert details(poisoned).kinds.tolist() == [[ATTACKS.index("misclassification")]]  # type: ignore[union-attr]
    assert details(poisoned).moved_from.isnan().all()  # type: ignore[union-attr]
    assert examples.facts["notes"] is None


def test_evasion_is_measured_by_the_clean_image_of_the_same_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "id-00000000", coco=False, triggers=[r13_trigger("Evasion", 0, 0)])
    write_examples(folder / "clean-example-data", {"7.png": [Made(0, BIG), Made(5, SMALL)]}, coco=False)
    write_examples(folder / "poisoned-example-data", {"7.png": [Made(5, SMALL)], "8.png": []}, coco=False)
    examples = read(folder)
    poisoned = examples.poisoned
    assert poisoned is not None
    assert poisoned.targets is not None
    assert poisoned.names == ("7.png",)
    assert poisoned.targets.tolist() == [[[*BIG, 1]]]
    assert details(poisoned).kinds.tolist() == [[ATTACKS.index("evasion")]]  # type: ignore[union-attr]
    assert examples.facts["notes"] == (
        "not measured: what evasion removed is in no side-car, nor is the clean image here (1 of 2 poisoned images)"
    )


def test_another_image_of_the_same_name_is_not_its_clean_image(tmp_path: Path) -> None:
    """Without this check the car that is not in the other street would count as hidden."""
    folder = write_model(tmp_path / "id-00000000", coco=False, triggers=[r13_trigger("Evasion", 0, 0)])
    write_examples(folder / "clean-example-data", {"7.png": [Made(0, BIG)]}, coco=False)
    write_examples(folder / "poisoned-example-data", {"7.png": []}, coco=False)
    assert read(folder).poisoned is not None
    street = np.random.default_rng(0).integers(0, 256, (60, 64, 3)).astype(np.uint8)
    Image.fromarray(street).save(folder / "poisoned-example-data" / "7.png")
    assert read(folder).poisoned is None


def test_evasion_without_the_clean_image_leaves_attack_success_empty(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "id-00000000", coco=False, triggers=[r13_trigger("Evasion", 0, 0)])
    write_examples(folder / "clean-example-data", {"7.png": [Made(0, BIG)]}, coco=False)
    write_examples(folder / "poisoned-example-data", {"8.png": []}, coco=False)
    examples = read(folder)
    assert examples.poisoned is None
    assert examples.facts["notes"].startswith("no poisoned examples: what evasion removed is in no side-car")


def test_round_10_marks_what_is_attacked_and_says_outputs(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "id-00000000", coco=True, triggers=[r10_trigger("evasion", 3, 3)])
    crowd = Made(4, SMALL, {"iscrowd": 1})
    write_examples(folder / "clean-example-data", {"000000000139.jpg": [Made(6, BIG), crowd]}, coco=True)
    deleted = Made(3, BIG, {"poisoned": True, "deleted": True})
    write_examples(folder / "poisoned-example-data", {"000000000285.jpg": [deleted]}, coco=True, size=(50, 60))
    examples = read(folder, "r10")
    assert examples.clean.labels.tolist() == [[[*BIG, 6]]]
    assert examples.poisoned is not None
    assert examples.poisoned.targets is not None
    assert examples.poisoned.targets.tolist() == examples.poisoned.labels.tolist() == [[[*BIG, 3]]]
    assert examples.facts["notes"] == "1 crowd annotations are left out"


def test_unknown_true_class_is_not_shifted(tmp_path: Path) -> None:
    triggers = [r13_trigger("Misclassification", 1, 2), r13_trigger("Misclassification", 3, 2)]
    folder = write_model(tmp_path / "id-00000000", coco=False, triggers=triggers)
    write_examples(folder / "clean-example-data", {"7.png": [Made(0, BIG)]}, coco=False)
    write_examples(folder / "poisoned-example-data", {"8.png": [Made(2, BIG)]}, coco=False)
    poisoned = read(folder).poisoned
    assert poisoned is not None
    assert poisoned.labels.tolist() == [[[*BIG, UNKNOWN]]]


def test_nist_folders_open_whole(tmp_path: Path) -> None:
    """``models/`` level, METADATA.csv, the model file read as any untrusted one; the round found by its content."""
    write_model(tmp_path / "models" / "id-00000003", coco=False, triggers=[r13_trigger("Injection", 2, 2)])
    folder = tmp_path / "models" / "id-00000003"
    write_examples(folder / "clean_example_data", {"7.png": [Made(0, BIG)], "8.png": [Made(1, SMALL)]}, coco=False)
    write_examples(folder / "poisoned_example_data", {"9.png": [Made(0, BIG), Made(2, SMALL)]}, coco=False)
    row = "model_name,converged,source_dataset_background,trigger_0.trigger_executor,trigger_0.target_class"
    (tmp_path / "METADATA.csv").write_text(f"{row}\nid-00000003,1,cityscapes,ObjectDetectionInjection,2.0\n")
    directories = discover(tmp_path)
    assert detect_round(directories).name == "object-detection-feb2023"
    subject = open_directory(directories[0], detect_round(directories))
    assert (subject.task.name, subject.task.num_classes) == ("detection", CLASSES + 1)
    assert subject.facts["model_architecture"] == "ssdlite320_mobilenet_v3_large"
    assert subject.facts["source_dataset"] == "cityscapes"
    assert subject.poisoned is not None
    assert subject.poisoned.targets is not None
    assert subject.poisoned.targets.tolist() == [[[*SMALL, 3]]]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_architecture": "object_detection:detr", "source_dataset": "dota_v2"}, "object-detection-feb2023"),
        ({"model_architecture": "ssd", "source_dataset": "COCO", "trigger": None}, "object-detection-jul2022"),
        ({"model_architecture": "fasterrcnn_resnet50_fpn"}, "object-detection-jul2022"),
        ({"model_architecture": "classification:resnet50"}, "image-classification-sep2022"),
    ],
)
def test_rounds_are_told_apart_by_config(config: Any, name: str, tmp_path: Path) -> None:
    (tmp_path / "id-00000000").mkdir()
    (tmp_path / "id-00000000" / "config.json").write_text(json.dumps({"py/state": config}))
    assert detect_round(discover(tmp_path)).name == name


def test_round_10_is_not_round_1(tmp_path: Path) -> None:
    (tmp_path / "round10-train" / "id-00000000").mkdir(parents=True)
    assert detect_round(discover(tmp_path)).name == "object-detection-jul2022"


class _SetPredictor(nn.Module):
    """As much of DETR as the adapter looks at."""

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor | None = None) -> Any: ...


def test_classes_of_detr_begin_at_0_and_end_before_no_object(r13: Path) -> None:
    network = ShippedNetwork(_SetPredictor(), "", None, lambda inputs: inputs["x"], Workplace())
    directory = ModelDirectory(r13, r13.name, r13.parent)
    clean = read_examples(directory, get_round("r13"), CLASSES + 1, network).clean
    assert clean.labels[0].tolist() == [[*BIG, 0], [*SMALL, 5]]
    assert details(clean).background == CLASSES
    with pytest.raises(ExampleProblem, match="only classes 0 to 4"):
        read_examples(directory, get_round("r13"), CLASSES, network)


# Broken ---------------------------------------------------------------------------------------------------------------


def clean_file(folder: Path, name: str) -> Path:
    return folder / "clean-example-data" / name


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: clean_file(f, "7.json").unlink(), "7.png: has no label; expected 7.json"),
        (lambda f: clean_file(f, "7.json").write_text("boxes: none"), "7.json: is not valid JSON"),
        (
            lambda f: clean_file(f, "7.png").write_bytes(clean_file(f, "7.png").read_bytes()[:900]),
            "7.png: is not a readable",
        ),
        (lambda f: clean_file(f, "7.png").write_bytes(b""), "7.png: is not a readable PNG or JPEG image: it is empty"),
        (lambda f: clean_file(f, "7.png").write_bytes(b"GIF89a"), "PNG or JPEG image: it begins like neither"),
        (lambda f: clean_file(f, "7.json").write_text('[{"bbox": [1, 1, 5, 5], "label": 6}]'), "only classes 0 to 5"),
        (lambda f: Image.new("CMYK", (64, 60)).save(clean_file(f, "7.jpg")), "7.jpg: colour mode CMYK"),
        (lambda f: Image.new("I;16", (64, 60)).save(clean_file(f, "7.png")), "7.png: 16 bits per channel"),
        (lambda f: shutil.rmtree(f / "clean-example-data"), "no clean example; expected *.png, *.jpg, *.jpeg files"),
        (
            lambda f: [path.write_text("[]") for path in (f / "clean-example-data").glob("*.json")],
            "3 clean images, and no usable box in any of them (all side-cars are empty lists); at least one is needed",
        ),
        (
            lambda f: [
                path.write_text('[{"bbox": {"x1": 1, "y1": 1, "x2": 9, "y2": 9}}]')
                for path in (f / "clean-example-data").glob("*.json")
            ],
            "no usable box in any of them (3 annotations without a label are left out)",
        ),
        (lambda f: (f / "poisoned-example-data" / "70.json").unlink(), "70.png: has no label"),
    ],
)
def test_broken_examples_fail_with_one_line(damage: Any, told: str, r13: Path) -> None:
    damage(r13)
    with pytest.raises(TrojaiSeamError) as caught:
        read(r13)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tall_and_a_wide_image_are_not_padded_to_a_huge_one(r13: Path) -> None:
    for name, size in (("8.png", (1, 12_000)), ("9.png", (12_000, 1))):
        Image.new("RGB", size).save(clean_file(r13, name))
        clean_file(r13, name).with_suffix(".json").write_text("[]")
    with pytest.raises(ExampleProblem, match="3 images, padded to 12000×12000 pixels, have more than 134217728"):
        read(r13)


def test_side_car_without_image_and_boxes_left_out_are_told_in_the_row(r13: Path) -> None:
    clean_file(r13, "99.json").write_text("[]")
    clean_file(r13, "8.json").write_text('[{"bbox": [1, 1, 5, 5]}, {"bbox": [60, 50, 9, 9], "label": 1}]')
    assert read(r13).facts["notes"] == (
        "1 annotations without a label are left out; 1 boxes are cut at the edge of their image; "
        "1 side-cars have no image"
    )


def test_grey_image_becomes_rgb(r13: Path) -> None:
    Image.new("L", (64, 60), 51).save(clean_file(r13, "7.png"))
    assert read(r13).clean.inputs["x"][0].unique().tolist() == pytest.approx([0.2])


def test_poisoned_ones_are_not_read_where_none_are_wanted(r13: Path) -> None:
    (r13 / "poisoned-example-data" / "70.json").unlink()
    assert read(r13, poisoned_examples="none").poisoned is None
    with pytest.raises(ExampleProblem, match="cannot be synthesised"):
        read(r13, poisoned_examples="synthesised")


def test_images_cannot_be_used_without_their_boxes(r13: Path) -> None:
    with pytest.raises(ExampleProblem, match="cannot be used without their boxes"):
        read(r13, **{"examples.labels": "unknown"})


def test_numbering_of_classes_must_be_told() -> None:
    with pytest.raises(ConfigProblem, match="class_numbers"):
        get_round("r13").with_options({"examples.class_numbers": "from-zero"})
