"""Labels and targets of example images: names, side-cars and lookup files, in every spelling of the folders."""

from __future__ import annotations

import json

import pytest

from tests.made_images import (
    CLASSES,
    R4,
    R11,
    UPPER,
    nested,
    write_metadata,
    write_model,
    write_named,
    write_poisoned,
    write_sidecars,
)
from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.image_classification import read_examples
from trojai_seam.rounds.image_labels import UNKNOWN, name_tokens

SMALL = {"preprocessing.size": "32"}


def examples_of(folder, alias, num_classes=CLASSES, **options):
    config = get_round(alias).with_options({key.replace("__", "."): value for key, value in options.items()})
    return read_examples(model_directory(folder), config, num_classes)


# labels ---------------------------------------------------------------------------------------------------------------


def test_names_are_split_never_matched_by_prefix(tmp_path):
    assert name_tokens(tmp_path / "class_1_example_10.png") == {"class": 1, "example": 10}
    assert name_tokens(tmp_path / "class_12_trigger_1_example_3.jpg") == {"class": 12, "trigger": 1, "example": 3}
    for bad in ("1.png", "class_x_example_0.png", "class_1.png", "class__example_0.png", "class_1_example_0_extra.png",
                "class_-1_example_0.png", "klass_1_example_0.png", "class_1_example_².png", "class_1_example_9999999999.png"):  # fmt: skip  # noqa: E501
        with pytest.raises(ExampleProblem, match=r"expected a name such as class_3_example_0\.png"):
            name_tokens(tmp_path / bad)


@pytest.mark.parametrize(
    ("alias", "config", "spelling"),
    [
        ("r2", UPPER, "example_data"),
        ("r2", UPPER, "clean-example-data"),
        ("r2", {"MODEL_ARCHITECTURE": "x"}, "example_data"),
        ("r3", UPPER, "clean_example_data"),
        ("r3", UPPER, "clean-example-data"),
        ("r4", R4, "clean_example_data"),
        ("r4", R4, "clean-example-data"),
        ("r4", {"model_architecture": "x"}, "new-clean-example-data"),
        ("r0", None, "example_data"),
        ("r1", None, "clean-example-data"),
    ],
)
def test_every_spelling_with_labels_in_names(tmp_path, alias, config, spelling):
    folder = write_model(tmp_path / "models" / "id-00000001", config, model=False)
    write_named(folder / spelling)
    (folder / spelling / "data.csv").write_text("file,true_label\n")
    (folder / spelling / "._class_0_example_0.png").write_bytes(b"Mac")
    examples = examples_of(folder, alias, **SMALL)
    assert len(examples.clean) == 2 * CLASSES
    assert examples.clean.labels.tolist() == [int(name.split("_")[1]) for name in examples.clean.names]
    assert examples.clean.inputs["x"].shape == (2 * CLASSES, 3, 32, 32)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("spelling", ["clean-example-data", "clean_example_data"])
def test_labels_in_sidecars(tmp_path, suffix, spelling):
    folder = write_model(tmp_path / "id-00000001", nested(R11), False, model=False)
    write_sidecars(folder / spelling, [4, 0, {"clean_label": 2}], suffix)
    examples = examples_of(folder, "r11")
    assert examples.clean.labels.tolist() == [4, 0, 2]
    assert examples.clean.inputs["x"].shape == (3, 3, 40, 40)
    assert examples.poisoned is None


# targets --------------------------------------------------------------------------------------------------------------


def test_targets_of_round_3_are_in_the_config_or_the_metadata(tmp_path):
    for name, config, row in (
        ("a", {**UPPER, "TRIGGER_TARGET_CLASS": 4, "TRIGGERED_CLASSES": [0, 3]}, {}),
        ("b", {"MODEL_ARCHITECTURE": "x"}, {"trigger_target_class": "4", "triggered_classes": "[0 3]"}),
        ("c", {**UPPER, "TRIGGERED_CLASSES": [0, 3]}, {"trigger_target_class": 4}),
    ):
        folder = write_model(tmp_path / name / "id-00000001", config, True, model=False)
        write_metadata(tmp_path / name, [{"model_name": "id-00000001", "poisoned": "True", **row}])
        write_named(folder / "clean_example_data", 1)
        write_poisoned(folder / "poisoned_example_data", ["class_0_example_0.png", "class_3_example_0.png"])
        examples = examples_of(folder, "r3", **SMALL)
        assert (examples.poisoned.labels.tolist(), examples.poisoned.targets.tolist()) == ([0, 3], [4, 4])
        assert examples.poisoned.origin == "shipped"


def test_targets_of_round_4_are_those_of_the_trigger_in_the_name(tmp_path):
    triggers = [{"source_class": 3, "target_class": 1}, {"source_class": 3, "target_class": 0, "type": "polygon"}]
    folder = write_model(tmp_path / "id-00000001", {**R4, "triggers": triggers}, True, model=False)
    write_named(folder / "clean_example_data", 1)
    names = ["class_3_trigger_0_example_0.png", "class_3_trigger_1_example_0.png", "class_3_trigger_1_example_1.png"]
    write_poisoned(folder / "poisoned_example_data", names)
    examples = examples_of(folder, "r4")
    assert examples.poisoned.labels.tolist() == [3, 3, 3]
    assert examples.poisoned.targets.tolist() == [1, 0, 0]
    assert examples.poisoned.names == tuple(names)


def test_targets_of_round_11_are_the_sidecars_and_sources_are_in_the_config(tmp_path):
    triggers = [
        {"source_class": 1, "target_class": 2, "type": "LomoFilterXForm"},
        {"source_class": 3, "target_class": 0, "trigger_color": [64, 64, 64]},
        {"source_class": 4, "target_class": 0, "trigger_color": [64, 64, 64]},
    ]
    folder = write_model(tmp_path / "id-00000001", nested({**R11, "triggers": triggers}), True, model=False)
    write_sidecars(folder / "clean-example-data", [0, 1])
    write_sidecars(folder / "poisoned-example-data", [2, 0, {"clean_label": 4, "poisoned_label": 0}], first=50)
    examples = examples_of(folder, "r11")
    assert examples.poisoned.targets.tolist() == [2, 0, 0]
    assert examples.poisoned.labels.tolist() == [1, UNKNOWN, 4]  # two sources share target 0
    assert examples.facts["notes"] == "true class of 1 poisoned examples is unknown; they are left out of RA"


def test_mitigation_lookup_file(tmp_path):
    folder = write_model(tmp_path / "id-00000001", nested(R11), True, model=False)
    write_sidecars(folder / "mitigate-example-data", [1])
    write_sidecars(folder / "clean-example-data", [3, 3, 3])
    for file in write_sidecars(folder / "test-example-data", [0, 1, 2, 3]).glob("*.json"):
        file.unlink()
    lookup = {
        "1000.png": {"clean_label": 0, "poisoned_label": None},
        "1001.png": {"clean_label": 1, "poisoned_label": 4},
        "1002": {"clean_label": 2},
        "1003.png": {"clean_label": 3, "poisoned_label": 0},
    }
    (folder / "test_example_data_lookup.json").write_text(json.dumps(lookup))
    examples = examples_of(folder, "mitigation")
    assert examples.clean.labels.tolist() == [0, 2]
    assert (examples.poisoned.labels.tolist(), examples.poisoned.targets.tolist()) == ([1, 3], [4, 0])
    assert examples_of(folder, "mitigation", poisoned_examples="none").poisoned is None
    del lookup["1001.png"]
    (folder / "test_example_data_lookup.json").write_text(json.dumps(lookup))
    with pytest.raises(ExampleProblem, match=r"1001\.png: has no entry with clean_label and poisoned_label"):
        examples_of(folder, "mitigation")
    for text in ("[]", "{", '{"1000.png": 3}'):
        (folder / "test_example_data_lookup.json").write_text(text)
        with pytest.raises(ExampleProblem):
            examples_of(folder, "mitigation")


def test_mitigation_training_folders_and_the_single_image(tmp_path):
    folder = write_model(tmp_path / "id-00000001", nested(R11), True, model=False)
    write_sidecars(folder / "mitigate-example-data", [1])
    assert examples_of(folder, "mitigation").clean.labels.tolist() == [1]
    write_sidecars(folder / "clean-example-data", [3, 3])
    write_sidecars(folder / "new-clean-example-data", [{"clean_label": 0}, {"clean_label": 2}])
    pairs = [{"clean_label": 1, "poisoned_label": 4}, {"clean_label": 1, "poisoned_label": None}]
    write_sidecars(folder / "new-poisoned-example-data", pairs)
    examples = examples_of(folder, "mitigation")
    assert examples.clean.labels.tolist() == [0, 2]
    assert (examples.poisoned.labels.tolist(), examples.poisoned.targets.tolist()) == ([1], [4])
