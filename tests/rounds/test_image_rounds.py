"""The sign rounds: their configs, how a folder is recognised, and models that NIST corrected later."""

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
)
from trojai_seam.errors import ConfigProblem, DatasetProblem
from trojai_seam.rounds import RoundConfig, detect_round, get_round, list_rounds, model_directory
from trojai_seam.rounds.image_classification import read_examples
from trojai_seam.rounds.opening import open_network

ALIASES = ("r0", "r1", "r2", "r3", "r4", "r11", "mitigation")
FILTER = {"TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "GothamFilterXForm"}
SMALL = {"preprocessing.size": "32"}


def examples_of(folder, alias, num_classes=CLASSES, **options):
    config = get_round(alias).with_options({key.replace("__", "."): value for key, value in options.items()})
    return read_examples(model_directory(folder), config, num_classes)


# configs --------------------------------------------------------------------------------------------------------------


def test_all_image_rounds_are_shipped():
    found = [r for r in list_rounds() if r.adapter == "image-classification"]
    assert {alias for r in found for alias in r.aliases} >= set(ALIASES)
    assert [r for r in found if r.task != "classification"] == []


@pytest.mark.parametrize(
    ("alias", "path", "value", "words"),
    [
        ("r4", "examples.labels", None, "'labels' is a required property"),
        ("r4", "preprocessing", None, "'preprocessing' is a required property"),
        ("r4", "preprocessing.size", 7, "minimum"),
        ("r4", "preprocessing.size", 5000, "maximum"),
        ("r4", "preprocessing.crop", 3, "crop"),
        ("r4", "preprocessing.scale_file", "x.npy", "preprocessing: 'scale_file' is not one of"),
        ("r4", "examples.features", 3, "examples: 'features' is not one of"),
        ("r4", "attack.target_source", "guess", "attack.target_source"),
        (
            "r4",
            "attack.target_label",
            0,
            "'target_label': 0} should not be valid",
        ),
        ("r11", "examples.sidecars", None, "'sidecars' is a required property"),
        ("r1", "errata", [{"split": "train", "ids": ["7"], "note": "x"}], "errata.0.ids.0"),
        ("r4", "poisoned_examples", "some", "poisoned_examples"),
        ("r12", "preprocessing.size", 224, "preprocessing"),
        ("r12", "examples.features", None, "'features' is a required property"),
        ("r12", "attack.target_label", None, "'target_label' is a required property"),
        ("r12", "examples.labels", "file-name", "examples.labels: 'file-name' is not one of"),
    ],
)
def test_what_a_config_needs_depends_on_its_adapter(alias, path, value, words):
    document = json.loads(json.dumps(get_round(alias).document))
    node, (*parts, last) = document, path.split(".")
    for part in parts:
        node = node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value
    with pytest.raises(ConfigProblem) as caught:
        RoundConfig.from_document(document, "x.json")
    assert words in str(caught.value)


# detection ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "alias"),
    [
        ("round1-dataset-train/models", "r1"),
        ("trojai-round2-dataset", "r2"),
        ("round3", "r3"),
        ("round4-train-dataset", "r4"),
        ("trojai-round4-fixed-dataset/models", "r4"),
        ("image-classification-sep2022-train/models", "r11"),
        ("mitigation-image-classification-jun2024/models", "mitigation"),
        ("round11-train", "r11"),
        ("round0", "r0"),
    ],
)
def test_a_folder_name_settles_it(tmp_path, parts, alias):
    folder = write_model(tmp_path / parts / "id-00000001", R4, model=False)
    assert detect_round([model_directory(folder)]) is get_round(alias)


@pytest.mark.parametrize(
    ("config", "folders", "alias"),
    [
        (UPPER, ["example_data"], "r2"),
        (UPPER, ["clean-example-data"], "r2"),
        ({**UPPER, **FILTER, "TRIGGER_TARGET_CLASS": 1}, ["example_data"], "r2"),
        ({"MODEL_ARCHITECTURE": "resnet18"}, ["example_data"], "r2"),
        ({**UPPER, "ADVERSARIAL_TRAINING_METHOD": "PGD"}, ["clean_example_data"], "r3"),
        ({**UPPER, "INSTAGRAM_FILTER_TYPE_level": 1}, ["clean-example-data"], "r3"),
        ({"MODEL_ARCHITECTURE": "resnet18"}, ["clean_example_data", "poisoned_example_data"], "r3"),
        (R4, ["clean_example_data"], "r4"),
        (R4, [], "r4"),
        ({"model_architecture": "vgg11bn"}, ["clean-example-data"], "r4"),
        (nested(R11), ["clean-example-data"], "r11"),
        ({"model_architecture": "classification:resnet50", "source_dataset": "cityscapes"}, [], "r11"),
        (nested(R11), ["mitigate-example-data", "test-example-data"], "mitigation"),
        (nested(R11), ["clean-example-data", "new-clean-example-data"], "mitigation"),
    ],
)
def test_content_settles_it_where_it_can(tmp_path, config, folders, alias):
    folder = write_model(tmp_path / "data" / "id-00000001", config, model=False)
    for name in folders:
        (folder / name).mkdir()
    assert detect_round([model_directory(folder)]) is get_round(alias)


def test_where_content_cannot_settle_it_the_user_is_asked(tmp_path):
    row = {"model_name": "id-00000001", "ground_truth": "FALSE", "number_classes": 5, "model_architecture": "resnet50"}
    write_metadata(tmp_path / "data", [row])
    folder = write_model(tmp_path / "data" / "id-00000001", model=False)
    with pytest.raises(DatasetProblem, match=r"jun2020.*image-classification-r0.*--round"):
        detect_round([model_directory(folder)])
    bare = write_model(tmp_path / "other" / "id-00000001", {"MODEL_ARCHITECTURE": "resnet18"}, model=False)
    with pytest.raises(DatasetProblem, match=r"aug2020, image-classification-dec2020; say which with --round"):
        detect_round([model_directory(bare)])  # hyphenated or missing folders, reduced config: R2 or R3


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        ("r2-vgg11bn", "r2"),
        ("r3-densenet121", "r3"),
        ("r4-mobilenetv2", "r4"),
        ("r4-resnet18", "r4"),
        ("r4-squeezenetv1_1", "r4"),
        ("r11-resnet50", "r11"),
    ],
)
def test_period_model_directories(era_model, tmp_path, model, alias):
    directory = model_directory(era_model(model))
    assert detect_round([directory]) is get_round(alias)
    network, facts = open_network(directory)
    golden = json.loads((era_model(model) / "golden.json").read_text())
    assert facts["num_classes"] == golden["num_classes"]
    assert not network.training


# errata ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "name", "expected"),
    [
        ("round1-dataset-train", "id-00000184", "labelled poisoned by mistake, holds no trigger (NIST's errata)"),
        ("round1-dataset-train", "id-00000077", None),
        ("round1-test-dataset", "id-00000077", "labelled poisoned by mistake, holds no trigger (NIST's errata)"),
        ("round1-test-dataset", "id-00000184", None),
        ("round1-holdout-dataset", "id-00000184", None),
        ("round1", "id-00000083", "if this is the test split: labelled poisoned by mistake"),
        ("round1", "id-00000002", None),
    ],
)
def test_models_mislabelled_in_round_1_are_marked(tmp_path, split, name, expected):
    row = {"model_name": name, "ground_truth": "TRUE", "triggered_classes": "[0 1]", "trigger_target_class": 2}
    write_metadata(tmp_path / "d" / split, [{**row, "trigger_color": "[9 9 9]"}])
    folder = write_model(tmp_path / "d" / split / name, model=False)
    write_named(folder / "example_data", 1)
    facts = examples_of(folder, "r1", **SMALL).facts
    assert facts["errata"] is None if expected is None else facts["errata"].startswith(expected)
