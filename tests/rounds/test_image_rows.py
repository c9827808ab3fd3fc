"""Image rounds from folder to row, and one clear row per bad input."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import trojai_seam
from tests.made_images import (
    CLASSES,
    R4,
    R11,
    UPPER,
    nested,
    picture,
    write_model,
    write_named,
    write_poisoned,
    write_sidecars,
)
from trojai_seam.cli import main
from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds import detect_round, get_round, model_directory
from trojai_seam.rounds.image_classification import read_examples

FILTER = {"TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "GothamFilterXForm"}
ONE_TRIGGER = [{"trigger_number": 0, "source_class": 3, "target_class": 1, "type": "instagram"}]


def examples_of(folder, alias, num_classes=CLASSES, **options):
    config = get_round(alias).with_options({key.replace("__", "."): value for key, value in options.items()})
    return read_examples(model_directory(folder), config, num_classes)


# the real folder of round 11 ------------------------------------------------------------------------------------------


def test_the_real_round_11_folder(shared, tmp_path):
    dataset = shared / "trojai-examples" / "image-classification-sep2022"
    folder = dataset / "model" / "id-00000002"
    directory = model_directory(folder)
    assert detect_round([directory]) is get_round("r11")
    assert directory.config["number_classes"] == 118
    assert directory.config["model_architecture"] == "classification:mobilenet_v2"
    examples = examples_of(folder, "r11", num_classes=118)
    assert examples.clean.inputs["x"].shape == (20, 3, 256, 256)
    assert len(set(examples.clean.labels.tolist())) == 19
    assert 71 in examples.clean.labels.tolist()
    (row,) = trojai_seam.evaluate(dataset, tmp_path / "run").to_dict("records")
    assert (row["model_id"], row["status"], row["error_kind"]) == ("id-00000002", "failed", "refused-file")
    assert "model.pt" in row["error"]
    assert row["poisoned"] is False


# from folder to row ---------------------------------------------------------------------------------------------------


def good_model(folder):
    write_model(folder, {**R4, "triggers": ONE_TRIGGER}, True)
    write_named(folder / "clean_example_data", 4)
    write_poisoned(folder / "poisoned_example_data", [f"class_3_trigger_0_example_{n}.png" for n in range(3)])
    return folder


def test_a_whole_round_4_dataset(tmp_path, capsys):
    data = tmp_path / "data"
    good_model(data / "models" / "id-00000000")
    clean = write_model(data / "models" / "id-00000001", R4, False)
    shutil.copytree(data / "models" / "id-00000000" / "clean_example_data", clean / "clean_example_data")
    frame = trojai_seam.evaluate(data, tmp_path / "run", preset="no-op")
    first, second = frame.to_dict("records")
    assert (first["status"], second["status"]) == ("done", "done")
    assert first["round"] == "image-classification-feb2021"
    assert first["num_classes"] == CLASSES
    assert (first["acc_before"], first["n_asr_before"], first["poisoned_origin"]) == (1.0, 3, "shipped")
    assert first["preprocessing"] == "rgb /255 32"
    assert (first["trigger_type"], first["source_dataset"]) == ("instagram", "cityscapes")
    assert second["n_asr_before"] == 0
    words = [
        "evaluate",
        str(data),
        "--out",
        str(tmp_path / "none"),
        "--preset",
        "no-op",
        "--poisoned",
        "none",
        "--quiet",
    ]
    assert main(words) == 0
    assert trojai_seam.read_results(tmp_path / "none")["poisoned_origin"].isna().all()


def test_a_model_with_one_clean_image_gets_the_preset_for_one(tmp_path):
    for number, images in enumerate((1, 12)):
        model = write_model(tmp_path / "models" / f"id-{number:08}", nested(R11))
        write_sidecars(model / "mitigate-example-data", [k % CLASSES for k in range(images)])
    quick = {"forget.max_steps": 1, "recover.max_steps": 1, "label.count": 8}
    rows = trojai_seam.evaluate(tmp_path, tmp_path / "run", "mitigation", options=quick, device="cpu")
    assert rows["status"].tolist() == ["done", "done"], rows["error"].tolist()
    assert rows["preset"].tolist() == ["images-one-example", "images"]
    assert rows["measured_on"].tolist() == ["in-sample", "held-out"]


def test_synthesised_examples_are_said_to_be_so(tmp_path):
    config = {**UPPER, **FILTER, "TRIGGERED_CLASSES": [0, 1, 2, 3, 4], "TRIGGER_TARGET_CLASS": 2}
    folder = write_model(tmp_path / "data" / "id-00000000", config, True)
    write_named(folder / "example_data", 4)
    (row,) = trojai_seam.evaluate(tmp_path / "data", tmp_path / "run", preset="no-op").to_dict("records")
    assert (row["status"], row["round"]) == ("done", "image-classification-aug2020")
    assert (row["poisoned_origin"], row["n_asr_before"]) == ("synthesised", 16)


def test_unknown_true_classes_are_left_out_of_ra_only(tmp_path):
    triggers = [{"source_class": s, "target_class": 0, "type": "LomoFilterXForm"} for s in (3, 4)]
    folder = write_model(tmp_path / "data" / "id-00000000", nested({**R11, "triggers": triggers}), True)
    write_sidecars(folder / "clean-example-data", [0, 1, 2, 3])
    write_sidecars(folder / "poisoned-example-data", [0, 0, {"clean_label": 4, "poisoned_label": 0}])
    (row,) = trojai_seam.evaluate(tmp_path / "data", tmp_path / "run", preset="no-op").to_dict("records")
    assert (row["status"], row["n_asr_before"], row["n_ra_before"]) == ("done", 3, 1)


def save(folder, name, image, **how):
    Image.fromarray(image).save(folder / name, **how)


def break_class(folder):
    save(folder / "clean_example_data", "class_40_example_0.png", picture(1))


def break_poisoned_class(folder):
    save(folder / "poisoned_example_data", "class_40_trigger_0_example_0.png", picture(1))


def break_size(folder):
    save(folder / "clean_example_data", "class_0_example_0.png", np.zeros((1, 1, 3), dtype=np.uint8))


def break_cmyk(folder):
    path = folder / "clean_example_data" / "class_0_example_0.png"
    path.unlink()
    Image.fromarray(picture(1)).convert("CMYK").save(path.with_suffix(".jpg"))


def break_depth(folder):
    save(folder / "clean_example_data", "class_0_example_0.png", picture(1)[..., 0].astype(np.uint16) * 256)


def break_truncated(folder):
    path = folder / "clean_example_data" / "class_0_example_0.png"
    path.write_bytes(path.read_bytes()[:200])


def break_empty(folder):
    for path in (folder / "clean_example_data").iterdir():
        path.unlink()


def break_folder(folder):
    shutil.rmtree(folder / "clean_example_data")


def break_name(folder):
    save(folder / "clean_example_data", "stop-sign.png", picture(1))


def break_trigger_number(folder):
    save(folder / "poisoned_example_data", "class_3_trigger_7_example_0.png", picture(1))


def break_trigger_source(folder):
    save(folder / "poisoned_example_data", "class_2_trigger_0_example_0.png", picture(1))


def break_trigger_target(folder):
    triggers = [{**ONE_TRIGGER[0], "target_class": 99}]
    (folder / "config.json").write_text(json.dumps({**R4, "triggers": triggers}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_class, "class_40_example_0.png: label 40, but the network has only classes 0 to 4"),
        (break_poisoned_class, "class_40_trigger_0_example_0.png: label 40"),
        (break_size, "class_0_example_0.png: 1×1 pixels, smaller than the 32×32"),
        (break_cmyk, "class_0_example_0.jpg: colour mode CMYK"),
        (break_depth, "class_0_example_0.png: 16 bits per channel"),
        (break_truncated, "class_0_example_0.png: is not a readable PNG or JPEG image"),
        (break_empty, "clean_example_data: no clean example; expected *.png"),
        (
            break_folder,
            "no clean example; expected *.png, *.jpg, *.jpeg files in one of the folders clean_example_data",
        ),
        (break_name, "stop-sign.png: expected a name such as class_3_example_0.png"),
        (break_trigger_number, "triggers_7_target_class in the model's row of METADATA.csv"),
        (break_trigger_source, "poisoned example of class 2, but config.json says that trigger 0 is for 3"),
        (break_trigger_target, "config.json: label 99, but the network has only classes 0 to 4"),
    ],
)
def test_bad_input_is_one_clear_row(tmp_path, damage, words):
    folder = good_model(tmp_path / "data" / "id-00000000")
    damage(folder)
    (row,) = trojai_seam.evaluate(tmp_path / "data", tmp_path / "run", preset="no-op").to_dict("records")
    assert (row["status"], row["error_kind"]) == ("failed", "examples")
    assert words in row["error"]
    assert "\n" not in row["error"]
    assert str(folder) in row["error"]


@pytest.mark.parametrize("label", ["stop", "71", 7.5, True, None, [1], -1, {"label": 3}])
def test_a_sidecar_that_holds_no_class_is_one_clear_row(tmp_path, label):
    folder = write_model(tmp_path / "data" / "id-00000000", nested(R11), False)
    write_sidecars(folder / "clean-example-data", [0, label])
    (row,) = trojai_seam.evaluate(tmp_path / "data", tmp_path / "run", preset="no-op").to_dict("records")
    assert (row["status"], row["error_kind"]) == ("failed", "examples")
    assert "1001.json" in row["error"]


def test_a_sidecar_with_plain_text_or_none_at_all(tmp_path):
    folder = write_model(tmp_path / "id-00000000", nested(R11), False, model=False)
    write_sidecars(folder / "clean-example-data", [0, 1])
    (folder / "clean-example-data" / "1001.json").write_text("stop sign")
    with pytest.raises(ExampleProblem, match=r"1001\.json: is not valid JSON"):
        examples_of(folder, "r11")
    (folder / "clean-example-data" / "1001.json").unlink()
    with pytest.raises(ExampleProblem, match=r"1001\.png: has no label; expected 1001\.json"):
        examples_of(folder, "r11")


def test_two_triggers_with_py_id_colours(tmp_path):
    one = {"type": "polygon", "color_level": 3, "size_percentage_of_foreground_min": 0.03}
    one["size_percentage_of_foreground_max"] = 0.1
    triggers = [
        {**one, "source_class": 3, "target_class": 1, "color": [200, 200, 0]},
        {**one, "source_class": 2, "target_class": 0, "color": {"py/id": 4}},
    ]
    folder = write_model(tmp_path / "data" / "id-00000000", {**R4, "triggers": triggers}, True)
    write_named(folder / "clean_example_data", 4)
    names = ["class_3_trigger_0_example_0.png", "class_2_trigger_1_example_0.png"]
    write_poisoned(folder / "poisoned_example_data", names)
    (row,) = trojai_seam.evaluate(tmp_path / "data", tmp_path / "run", preset="no-op").to_dict("records")
    assert (row["status"], row["trigger_type"], row["n_asr_before"]) == ("done", "polygon", 2)
