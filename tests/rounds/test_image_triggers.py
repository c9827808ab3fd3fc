"""Triggers: what the configs of all generations say, and poisoned examples made from it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from tests.made_images import (
    CLASSES,
    R4,
    R11,
    UPPER,
    nested,
    picture,
    write_metadata,
    write_model,
    write_named,
    write_poisoned,
    write_shape,
)
from trojai_seam.errors import DatasetProblem, ExampleProblem
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.image_classification import read_examples
from trojai_seam.rounds.instagram_filters import apply_filter
from trojai_seam.rounds.polygon_triggers import read_shape, stick
from trojai_seam.rounds.trigger_facts import Trigger, read_triggers

FILTERED = {"TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "KelvinFilterXForm"}
POLYGON = {
    "TRIGGER_TYPE": "polygon",
    "TRIGGER_TYPE_OPTION": 4,
    "TRIGGER_COLOR": [250, 10, 20],
    "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MIN": 0.05,
    "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MAX": 0.1,
}


def triggers_of(folder, config, poisoned=True, metadata=None):
    write_model(folder, config, poisoned, model=False)
    if metadata is not None:
        write_metadata(folder.parent, [{"model_name": folder.name, **metadata}])
    return read_triggers(model_directory(folder))


# what the configs say -------------------------------------------------------------------------------------------------


def test_round_2(tmp_path):
    config = {**UPPER, **POLYGON, "TRIGGERED_CLASSES": [0, 3], "TRIGGER_TARGET_CLASS": 1}
    assert triggers_of(tmp_path / "id-00000001", config) == (
        Trigger(0, "polygon", (0, 3), 1, color=(250, 10, 20), size_share=(0.05, 0.1)),
    )
    config = {**UPPER, **FILTERED, "TRIGGERED_CLASSES": [2], "TRIGGER_TARGET_CLASS": 0}
    assert triggers_of(tmp_path / "id-00000002", config) == (
        Trigger(0, "instagram", (2,), 0, filter="KelvinFilterXForm"),
    )
    assert triggers_of(tmp_path / "id-00000003", UPPER) == ()


def test_round_3_spells_the_filter_elsewhere_and_metadata_fills_in(tmp_path):
    config = {**UPPER, "TRIGGER_TYPE": "instagram", "INSTAGRAM_FILTER_TYPE": "LomoFilterXForm"}
    row = {"trigger_target_class": "4.0", "triggered_classes": "[0 3]"}
    assert triggers_of(tmp_path / "id-00000001", config, metadata=row) == (
        Trigger(0, "instagram", (0, 3), 4, filter="LomoFilterXForm"),
    )


def test_rounds_0_and_1_have_metadata_only(tmp_path):
    row = {
        "ground_truth": "TRUE",
        "triggered_classes": "[0 1 2 3 4]",
        "trigger_target_class": "2",
        "trigger_color": "[99 169 73]",
        "trigger_size": "52",
    }
    assert triggers_of(tmp_path / "a" / "id-00000001", None, None, row) == (
        Trigger(0, "polygon", (0, 1, 2, 3, 4), 2, color=(99, 169, 73), size_pixels=52),
    )
    clean = {**row, "ground_truth": "FALSE", "triggered_classes": "[]", "trigger_target_class": "None"}
    assert triggers_of(tmp_path / "b" / "id-00000001", None, None, clean) == ()
    assert triggers_of(tmp_path / "c" / "id-00000001", None, None, {**clean, "ground_truth": "TRUE"}) == ()


def test_round_4_resolves_a_colour_that_jsonpickle_points_back_to(era_model):
    first, second = read_triggers(model_directory(era_model("r4-mobilenetv2")))
    assert (first.sources, first.target, first.color) == ((2,), 9, (200, 200, 0))
    assert (second.sources, second.target, second.color) == ((14,), 0, (200, 200, 0))
    assert first.size_share == (0.03, 0.1)
    (spatial,) = read_triggers(model_directory(era_model("r4-resnet18")))
    assert spatial.quadrant == 2


def test_round_4_from_metadata_alone(tmp_path):
    row = {f"triggers_1_{k}": v for k, v in (("source_class", 3), ("target_class", 1), ("type", "polygon"))}
    row |= {f"triggers_0_{k}": "None" for k in ("source_class", "target_class", "type")}
    assert triggers_of(tmp_path / "id-00000001", {"model_architecture": "resnet18"}, metadata=row) == (
        Trigger(1, "polygon", (3,), 1),
    )


def test_round_11(tmp_path):
    triggers = [
        {"trigger_id": 0, "source_class": 1, "target_class": 2, "type": "GothamFilterXForm"},
        {
            "source_class": 3,
            "target_class": 0,
            "trigger_color": [64, 64, 64],
            "trigger_polygon_side_count": 4,
            "options": "spatial",
            "spatial_quadrant": 0,
            "size_percentage_of_foreground_min": 0.03,
            "size_percentage_of_foreground_max": 0.16,
        },
    ]
    found = triggers_of(tmp_path / "id-00000001", nested({**R11, "triggers": triggers}))
    assert found == (
        Trigger(0, "instagram", (1,), 2, filter="GothamFilterXForm"),
        Trigger(1, "polygon", (3,), 0, color=(64, 64, 64), size_share=(0.03, 0.16), quadrant=4),
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**R4, "triggers": "yes"}, "triggers: expected a list"),
        ({**R4, "triggers": [3]}, "trigger 0: expected an object"),
        ({**R4, "triggers": [{"source_class": 1}]}, "trigger 0: target_class: expected a class number, found None"),
        ({**R4, "triggers": [{"source_class": "a", "target_class": 1}]}, "trigger 0: source_class"),
        ({**UPPER, "TRIGGER_TARGET_CLASS": "stop\nsign"}, "trigger_target_class: expected a class number"),
        ({**UPPER, "TRIGGER_TARGET_CLASS": 1.5}, "trigger_target_class"),
        ({**UPPER, "TRIGGER_TARGET_CLASS": 1, "TRIGGERED_CLASSES": ["x"]}, "triggered_classes"),
    ],
)
def test_nonsense_is_one_line_that_names_the_file(tmp_path, config, words):
    with pytest.raises(DatasetProblem) as caught:
        triggers_of(tmp_path / "id-00000001", config)
    assert words in str(caught.value)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_clean_model_has_no_trigger_whatever_its_config_lists(tmp_path):
    config = {**R4, "triggers": [{"source_class": 0, "target_class": 1}]}
    assert triggers_of(tmp_path / "id-00000001", config, poisoned=False) == ()


# making poisoned examples ---------------------------------------------------------------------------------------------


def examples_of(folder, name="r2", **options):
    config = get_round(name).with_options({k.replace("__", "."): v for k, v in options.items()})
    return read_examples(model_directory(folder), config, CLASSES)


def test_filters_are_applied_to_the_whole_image_of_the_source_classes(tmp_path):
    config = {**UPPER, **FILTERED, "TRIGGERED_CLASSES": [0, 3], "TRIGGER_TARGET_CLASS": 1}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data")
    examples = examples_of(folder)
    assert examples.poisoned.origin == "synthesised"
    assert sorted(examples.poisoned.labels.tolist()) == [0, 0, 3, 3]
    assert examples.poisoned.targets.tolist() == [1] * 4
    whole = np.asarray(Image.open(folder / "example_data" / "class_0_example_1.png"))
    at = examples.poisoned.names.index("class_0_example_1.png + trigger 0")
    expected = apply_filter("KelvinFilterXForm", whole)[4:36, 4:36].astype(np.float32)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert np.allclose(examples.poisoned.inputs["x"][at].numpy().transpose(1, 2, 0), expected, atol=1e-6)


def test_when_all_classes_are_triggered_the_target_itself_is_no_attack(tmp_path):
    config = {**UPPER, **FILTERED, "TRIGGERED_CLASSES": list(range(CLASSES)), "TRIGGER_TARGET_CLASS": 2}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data", 1)
    assert sorted(examples_of(folder).poisoned.labels.tolist()) == [0, 1, 3, 4]


def test_polygons_are_approximate_and_the_same_every_time(tmp_path):
    config = {**UPPER, **POLYGON, "TRIGGERED_CLASSES": [0], "TRIGGER_TARGET_CLASS": 1}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data", 3)
    write_shape(folder / "trigger.png")
    scaling = {"preprocessing__scaling": "/255", "preprocessing__channel_order": "rgb"}
    first, second = (examples_of(folder, **scaling) for _ in range(2))
    assert first.poisoned.origin == "synthesised-approximate"
    assert (first.poisoned.inputs["x"] == second.poisoned.inputs["x"]).all()
    for name, triggered in zip(first.poisoned.names, first.poisoned.inputs["x"], strict=True):
        clean = first.clean.inputs["x"][first.clean.names.index(name.split(" + ")[0])]
        changed = (triggered != clean).any(dim=0)
        assert 9 <= changed.sum() <= 100
        painted = triggered[:, changed].T * 255
        assert np.allclose(painted.numpy(), [250, 10, 20], atol=0.01)


def test_round_1_colours_are_bgr_and_shapes_lie_in_a_folder(tmp_path):
    row = {"model_name": "id-00000001", "ground_truth": "TRUE", "triggered_classes": "[0 1 2 3 4]"}
    row |= {"trigger_target_class": 2, "trigger_color": "[10 20 250]", "trigger_size": 8}
    write_metadata(tmp_path, [row])
    folder = write_model(tmp_path / "id-00000001", model=False)
    write_named(folder / "example_data", 1)
    write_shape(folder / "triggers" / "trigger_9_11.png")
    examples = examples_of(folder, "r1", preprocessing__size="32", preprocessing__scaling="/255")
    assert examples.poisoned.origin == "synthesised-approximate"
    assert len(examples.poisoned) == 4
    clean = examples.clean.inputs["x"][[i for i in range(5) if examples.clean.labels[i] != 2]]
    changed = (examples.poisoned.inputs["x"] != clean).any(dim=1)
    painted = examples.poisoned.inputs["x"].permute(0, 2, 3, 1)[changed] * 255
    assert np.allclose(painted.numpy(), [10, 20, 250], atol=0.01)  # the network takes BGR: red is last


def test_poisoned_option(tmp_path):
    config = {**UPPER, **FILTERED, "TRIGGERED_CLASSES": [0], "TRIGGER_TARGET_CLASS": 1}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data", 1)
    assert examples_of(folder, poisoned_examples="none").poisoned is None
    assert examples_of(folder, poisoned_examples="shipped").poisoned is None
    write_poisoned(folder / "poisoned_example_data", ["class_0_example_0.png", "class_0_example_7.png"])
    assert examples_of(folder).poisoned.origin == "shipped"
    assert len(examples_of(folder, poisoned_examples="shipped").poisoned) == 2
    assert examples_of(folder, poisoned_examples="synthesised").poisoned.origin == "synthesised"
    assert examples_of(folder, poisoned_examples="none").poisoned is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (POLYGON, "polygon, but no trigger.png"),
        ({"TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "SepiaXForm"}, "unknown filter 'SepiaXForm'"),
        ({"TRIGGER_TYPE": "sound"}, "unknown type 'sound'"),
        ({"TRIGGER_TARGET_CLASS": None}, "no trigger is described"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path, change, words):
    config = {**UPPER, "TRIGGERED_CLASSES": [0], "TRIGGER_TARGET_CLASS": 1, **change}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data", 1)
    examples = examples_of(folder)
    assert examples.poisoned is None
    assert words in examples.facts["notes"]
    with pytest.raises(ExampleProblem, match=words):
        examples_of(folder, poisoned_examples="synthesised")


def test_a_clean_model_gets_no_poisoned_examples(tmp_path):
    folder = write_model(tmp_path / "id-00000001", {**UPPER, **FILTERED, "TRIGGER_TARGET_CLASS": 1}, False, model=False)
    write_named(folder / "example_data", 1)
    for option in ("auto", "synthesised"):
        examples = examples_of(folder, poisoned_examples=option)
        assert examples.poisoned is None
        assert examples.facts["notes"] is None


def test_a_target_beyond_the_head_names_the_config(tmp_path):
    config = {**UPPER, **FILTERED, "TRIGGERED_CLASSES": [0], "TRIGGER_TARGET_CLASS": 40}
    folder = write_model(tmp_path / "id-00000001", config, True, model=False)
    write_named(folder / "example_data", 1)
    with pytest.raises(ExampleProblem, match=r"config\.json: label 40, but the network has only classes 0 to 4"):
        examples_of(folder)


@pytest.mark.parametrize(("quadrant", "right", "down"), [(1, 1, -1), (2, -1, -1), (3, -1, 1), (4, 1, 1)])
def test_a_spatial_condition_keeps_to_its_quadrant(tmp_path, quadrant, right, down):
    write_shape(tmp_path / "t.png")
    shape, image = read_shape(tmp_path / "t.png"), np.zeros((256, 256, 3), dtype=np.uint8)
    trigger = Trigger(0, "polygon", None, 1, size_share=(0.03, 0.1), quadrant=quadrant)
    centres = []
    for seed in range(20):
        made = stick(image, shape, trigger, (200, 0, 0), 140, random.Random(seed))
        y, x = np.nonzero(made.any(axis=2))
        assert 15 <= max(np.ptp(x), np.ptp(y)) <= 64
        centres.append((x.mean() - 128, y.mean() - 128))
    assert all(right * x > -3 and down * y > -3 for x, y in centres)
    assert max(abs(x) + abs(y) for x, y in centres) < 64


def test_shapes_without_anything_visible_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(ExampleProblem, match=r"empty\.png: .*no visible pixel"):
        read_shape(tmp_path / "empty.png")
    black = np.zeros((8, 8, 3), dtype=np.uint8)
    black[2:4] = 9
    Image.fromarray(black).save(tmp_path / "flat.png")
    assert (read_shape(tmp_path / "flat.png")[..., 3] > 0).sum() == 16


def test_a_small_image_takes_the_largest_sticker_that_fits(tmp_path):
    write_shape(tmp_path / "t.png")
    trigger = Trigger(0, "polygon", None, 1, size_pixels=10**6)
    made = stick(picture(0, 16), read_shape(tmp_path / "t.png"), trigger, None, 9, random.Random(0))
    assert made.shape == (16, 16, 3)
