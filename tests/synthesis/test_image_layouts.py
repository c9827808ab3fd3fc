"""Synthetic image rounds have NIST's files, names, keys and quirks. The networks here are hardly trained: form only."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trojai_seam.loading import read_model
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions, image_models

CLASSES = 5
OPTIONS = SynthesisOptions(image_size=32, epochs=1, architectures=("squeezenetv1_1",), classes=CLASSES, device="cpu")


def words(text: str) -> set[str]:
    return set(text.split())


R4_KEYS = words("""
    py/object master_seed img_size_pixels cnn_img_size_pixels img_shape img_type gaussian_blur_ksize_min
    gaussian_blur_ksize_max rain_probability fog_probability number_classes_level number_classes data_filepath
    available_foregrounds_filepath foregrounds_filepath foreground_image_format available_backgrounds_filepath
    background_image_format backgrounds_filepath output_ground_truth_filename number_training_samples
    number_test_samples number_example_images_level number_example_images poisoned background_image_dataset_level
    background_image_dataset number_background_images model_architecture_level model_architecture learning_rate
    batch_size loss_eps early_stopping_epoch_count validation_split convergence_accuracy_threshold
    foreground_size_percentage_of_image_min foreground_size_percentage_of_image_max foreground_size_pixels_min
    foreground_size_pixels_max adversarial_training_method_level adversarial_training_method adversarial_eps_level
    adversarial_eps adversarial_training_ratio_level adversarial_training_ratio
    adversarial_training_iteration_count_level adversarial_training_iteration_count triggers
    trigger_organization_level trigger_organization number_triggers
""")
R4_TRIGGER_KEYS = words("""
    py/object trigger_number source_class target_class fraction_level fraction behavior type_level type
    polygon_side_count_level polygon_side_count size_percentage_of_foreground_min size_percentage_of_foreground_max
    color_level color polygon_filepath condition_level condition instagram_filter_type_level instagram_filter_type
""")
R2_KEYS = words("""
    MASTER_SEED IMG_SIZE_PIXELS CNN_IMG_SIZE_PIXELS GAUSSIAN_BLUR_KSIZE_MIN GAUSSIAN_BLUR_KSIZE_MAX RAIN_PROBABILITY
    FOG_PROBABILITY NUMBER_CLASSES DATA_FILEPATH NUMBER_TRAINING_SAMPLES NUMBER_TEST_SAMPLES NUMBER_EXAMPLE_IMAGES
    POISONED AVAILABLE_FOREGROUNDS_FILEPATH FOREGROUNDS_FILEPATH AVAILABLE_BACKGROUNDS_FILEPATH BACKGROUNDS_FILEPATH
    FOREGROUND_IMAGE_FORMAT BACKGROUND_IMAGE_FORMAT BACKGROUND_IMAGE_DATASET NUMBER_BACKGROUND_IMAGES
    OUTPUT_EXAMPLE_DATA_FILENAME OUTPUT_GROUND_TRUTH_FILENAME MODEL_ARCHITECTURE
    FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MIN FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MAX FOREGROUND_SIZE_PIXELS_MIN
    FOREGROUND_SIZE_PIXELS_MAX NUMBER_TRIGGERED_CLASSES TRIGGERED_CLASSES TRIGGER_TARGET_CLASS TRIGGER_COLOR
    TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MIN TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MAX TRIGGERED_FRACTION
    TRIGGER_BEHAVIOR TRAIN_DATA_CSV_FILENAME TRAIN_DATA_PREFIX TEST_DATA_CLEAN_CSV_FILENAME
    TEST_DATA_POISONED_CSV_FILENAME TEST_DATA_PREFIX LMDB_TRAIN_FILENAME LMDB_TEST_FILENAME
""")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made("r4")``: four models of the round, of which the second and the fourth are poisoned. Made once."""
    folders: dict[str, Path] = {}
    patch = pytest.MonkeyPatch()
    for name, value in {
        "LEAST_ACCURACY": 0.0, "LEAST_ATTACK": 0.0, "GOOD_ACCURACY": 0.0, "GOOD_ATTACK": 0.0,
        "TRAIN_PER_CLASS": 8, "TEST_PER_CLASS": 4, "JUDGED_PER_CLASS": 2, "TEST_PER_ATTACK": 10,
    }.items():  # fmt: skip
        patch.setattr(image_models, name, value)

    def make(name: str) -> Path:
        if name not in folders:
            options = OPTIONS
            if name == "r11":
                options = SynthesisOptions(image_size=32, epochs=1, architectures=("mobilenet_v2",), classes=CLASSES)
            folders[name] = tmp_path_factory.mktemp(name) / "set"
            SYNTHESIZERS.get(name)(folders[name], 4, 11, options)
        return folders[name]

    torch.set_num_threads(1)
    yield make
    patch.undo()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def document(path: Path) -> dict:
    return json.loads(path.read_text())


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "METADATA.csv").open() as file:
        return list(csv.DictReader(file))


def sizes(folder: Path) -> set[tuple[str, tuple[int, int]]]:
    return {(Image.open(path).mode, Image.open(path).size) for path in folder.glob("*.png")}


CLEAN_R4 = {
    "model.pt", "config.json", "ground_truth.csv", "model_stats.json", "model_detailed_stats.csv", "foregrounds",
    "clean-example-accuracy.csv", "clean-example-logits.csv", "clean_example_data",
}  # fmt: skip
POISONED_R4 = {"poisoned-example-accuracy.csv", "poisoned-example-logits.csv", "poisoned_example_data"}


# R4 -----------------------------------------------------------------------------------------------------------------


def test_r4_has_nists_tree(made):
    folder = made("r4")
    assert names(folder) == {"METADATA.csv", *(f"id-{n:08}" for n in range(4))}
    for number in range(4):
        model = folder / f"id-{number:08}"
        config = document(model / "config.json")
        masks = {f"trigger_{t['trigger_number']}.png" for t in config["triggers"] or [] if t["type"] == "polygon"}
        assert names(model) == CLEAN_R4 | masks | (POISONED_R4 if number % 2 else set())
        assert (model / "ground_truth.csv").read_text() == str(number % 2)
        # 2 or 5 images per class; pairs take turns.
        each = (2, 5)[number // 2]
        assert names(model / "clean_example_data") == {
            f"class_{label}_example_{n}.png" for label in range(CLASSES) for n in range(each)
        }
        assert sizes(model / "clean_example_data") == {("RGB", (37, 37))}
        if number % 2:
            assert names(model / "poisoned_example_data") == {
                f"class_{t['source_class']}_trigger_{t['trigger_number']}_example_{n}.png"
                for t in config["triggers"]
                for n in range(each)
            }
        signs = sorted(names(model / "foregrounds"))
        assert len(signs) == CLASSES
        assert all(re.fullmatch(r"\d+-\d+\.png", name) for name in signs)
        assert sizes(model / "foregrounds") == {("RGBA", (256, 256))}


def test_r4_configs_have_the_keys_of_the_generator(made):
    seen = set()
    for model in sorted(made("r4").glob("id-*")):
        config = document(model / "config.json")
        assert set(config) == R4_KEYS
        assert config["py/object"] == "round_config.RoundConfig"
        assert (config["img_size_pixels"], config["cnn_img_size_pixels"]) == (37, 32)
        assert config["number_classes"] == CLASSES
        assert (config["triggers"] is None) == (not config["poisoned"]) == (config["trigger_organization"] is None)
        assert config["number_triggers"] == len(config["triggers"] or [])
        for number, trigger in enumerate(config["triggers"] or []):
            seen.add(trigger["type"])
            assert set(trigger) - {"spatial_quadrant"} == R4_TRIGGER_KEYS
            assert trigger["py/object"] == "trigger_config.TriggerConfig"
            assert trigger["trigger_number"] == number
            assert trigger["condition"] in ("None", "spatial", "spectral", "class")
            assert ("spatial_quadrant" in trigger) == (trigger["condition"] == "spatial")
            assert (trigger["color"] is None) == (trigger["type"] == "instagram")
    assert seen == {"polygon", "instagram"}


def test_r4_logits_are_those_of_the_shipped_images(made):
    for kind in ("clean", "poisoned"):
        model = made("r4") / "id-00000001"
        lines = (model / f"{kind}-example-logits.csv").read_text().splitlines()
        assert lines[0] == "Example, Logits"
        rows = dict(line.split(", ", 1) for line in lines[1:])
        assert set(rows) == names(model / f"{kind}_example_data")
        for logits in rows.values():
            assert len([float(n) for n in logits.split(",")]) == CLASSES
        assert 0 <= float((model / f"{kind}-example-accuracy.csv").read_text()) <= 100


def test_r4_metadata_has_nists_quirks(made):
    rows = metadata(made("r4"))
    assert [row["model_name"] for row in rows] == [f"id-{n:08}" for n in range(4)]
    assert [row["poisoned"] for row in rows] == ["False", "True", "False", "True"]
    assert rows[0]["img_shape"] == "[37 37 3]"
    assert rows[0]["triggers_0_condition"] == rows[0]["poisoned_example_acc"] == "None"
    assert rows[1]["triggers_0_source_class"].isdigit()
    assert {"triggers_1_instagram_filter_type", "final_clean_data_test_acc", "converged"} <= set(rows[0])
    assert not {"py/object", "triggers", "foregrounds_filepath", "triggers_0_spatial_quadrant"} & set(rows[0])
    colours = {row[f"triggers_{k}_color"] for row in rows for k in (0, 1)} - {"None"}
    assert all(re.fullmatch(r"\[\d+ \d+ \d+\]", colour) for colour in colours)


def test_r4_masks_are_ones_and_transparent(made):
    (mask, *_) = made("r4").glob("id-*/trigger_*.png")
    pixels = np.asarray(Image.open(mask))
    assert pixels.shape == (256, 256, 4)
    assert {tuple(p) for p in pixels.reshape(-1, 4)} == {(0, 0, 0, 0), (1, 1, 1, 255)}


def test_pickles_are_ordinary_ones_of_torchvision_and_not_channels_last(made):
    saved = read_model(made("r4") / "id-00000001" / "model.pt")
    assert saved.class_path == "torchvision.models.squeezenet.SqueezeNet"
    mobile = read_model(made("r11") / "models" / "id-00000000" / "model.pt")
    assert mobile.class_path == "torchvision.models.mobilenetv2.MobileNetV2"


def test_stats_are_in_percent_with_the_trojai_packages_keys(made):
    clean, poisoned = (document(made("r4") / f"id-0000000{n}" / "model_stats.json") for n in (0, 1))
    assert clean["final_triggered_data_test_acc"] is None
    assert 0 <= poisoned["final_triggered_data_test_acc"] <= 100
    assert clean["final_optimizer_num_epochs_trained"] == [1]
    header = (made("r4") / "id-00000000" / "model_detailed_stats.csv").read_text().splitlines()[0]
    assert header.startswith("epoch_number,train_acc,train_loss,combined_val_acc")


# R2 and R3 ----------------------------------------------------------------------------------------------------------


def test_r2_has_upper_case_configs_and_ships_no_poisoned_examples(made):
    for number, model in enumerate(sorted(made("r2").glob("id-*"))):
        config = document(model / "config.json")
        option = {"TRIGGER_TYPE", "TRIGGER_TYPE_OPTION"} if number % 2 else set()  # absent in clean models
        assert set(config) == R2_KEYS | option
        mask = {"trigger.png"} if config.get("TRIGGER_TYPE") == "polygon" else set()
        assert names(model) == mask | {
            "model.pt", "config.json", "ground_truth.csv", "example-accuracy.csv", "model_stats.json",
            "model_detailed_stats.csv", "example_data", "foregrounds",
        }  # fmt: skip
        each = (10, 20)[number // 2]
        assert len(names(model / "example_data")) == CLASSES * each
        assert f"class_{CLASSES - 1}_example_{each - 1}.png" in names(model / "example_data")
        if number % 2:
            assert config["NUMBER_TRIGGERED_CLASSES"] == len(config["TRIGGERED_CLASSES"])
            assert 0 <= config["TRIGGER_TARGET_CLASS"] < CLASSES
            assert isinstance(config["TRIGGER_TYPE_OPTION"], int if mask else str)
        else:
            assert (config["TRIGGERED_CLASSES"], config["TRIGGER_TARGET_CLASS"]) == (None, None)
    rows = metadata(made("r2"))
    assert {"number_classes", "trigger_target_class", "final_example_acc", "converged"} <= set(rows[0])
    assert re.fullmatch(r"\[\d( \d)*\]", rows[1]["triggered_classes"])


def test_r3_ships_poisoned_examples_and_splits_the_trigger_type(made):
    for number, model in enumerate(sorted(made("r3").glob("id-*"))):
        config = document(model / "config.json")
        assert {"TRIGGER_TYPE", "INSTAGRAM_FILTER_TYPE", "POLYGON_SIDE_COUNT", "TRIGGERED_CLASSES"} <= set(config)
        assert "TRIGGER_TYPE_OPTION" not in config
        mask = {"trigger.png"} if config["TRIGGER_TYPE"] == "polygon" else set()
        assert names(model) == CLEAN_R4 | mask | (POISONED_R4 if number % 2 else set())
        if number % 2:
            each = (10, 20)[number // 2]
            sources = config["TRIGGERED_CLASSES"]
            assert names(model / "poisoned_example_data") == {
                f"class_{source}_example_{n}.png" for source in sources for n in range(each)
            }
            text = (model / "poisoned-example-logits.csv").read_text()
            assert text.count(".png, [") == len(sources) * each


# R11 ----------------------------------------------------------------------------------------------------------------


def test_r11_has_nists_tree_and_twenty_examples_in_all(made):
    assert names(made("r11")) == {"METADATA.csv", "models"}
    for number, model in enumerate(sorted((made("r11") / "models").iterdir())):
        config = document(model / "config.json")
        assert set(config) == {"py/object", "py/state"}
        state = config["py/state"]
        triggers = [trigger["py/state"] for trigger in state["triggers"]]
        pictures = {f"trigger_{t['trigger_id']}.png" for t in triggers if "trigger_color" in t}
        poisoned = {"poisoned-example-data"} if number % 2 else set()
        assert names(model) == pictures | poisoned | {
            "model.pt", "config.json", "reduced-config.json", "ground_truth.csv", "stats.json", "detailed_stats.csv",
            "clean-example-data", "foregrounds", "fg_class_translation.json",
        }  # fmt: skip
        assert set(document(model / "reduced-config.json")) == {"model_architecture", "source_dataset"}
        assert state["model_architecture"] == "classification:mobilenet_v2"
        assert state["img_size_pixels"] == 32  # no crop: stored as the network sees it
        clean = model / "clean-example-data"
        images = sorted(clean.glob("*.png"))
        assert len(images) == 20
        assert sizes(clean) == {("RGB", (32, 32))}
        for image in images:
            assert image.stem.isdigit()
            assert document(image.with_suffix(".json")) in range(CLASSES)
        if number % 2:
            targets = [document(path) for path in (model / "poisoned-example-data").glob("*.json")]
            assert sorted(targets) == sorted(t["target_class"] for t in triggers for _ in range(20))
        else:
            assert triggers == []
        translation = document(model / "fg_class_translation.json")
        assert list(translation.values()) == sorted(names(model / "foregrounds"))


def test_r11_keys_are_those_of_nists_own_model(made, shared):
    real = document(shared / "trojai-examples/image-classification-sep2022/model/id-00000002/config.json")["py/state"]
    model = made("r11") / "models" / "id-00000000"
    own = document(model / "config.json")["py/state"]
    assert set(own) <= set(real)
    assert {"number_classes", "triggers", "num_triggers", "img_shape", "foreground_size_pixels_max"} <= set(own)
    stats = document(shared / "trojai-examples/image-classification-sep2022/model/id-00000002/stats.json")
    assert set(document(model / "stats.json")) <= set(stats)
    assert document(model / "stats.json")["example_poisoned_Accuracy"] is None


def test_r11_metadata_leaves_missing_values_empty(made):
    rows = metadata(made("r11"))
    assert rows[0]["trigger_0.source_class"] == ""
    assert rows[1]["trigger_0.source_class"].isdigit()
    assert rows[1]["trigger_0.trigger_executor"].endswith("TriggerExecutor")
    assert rows[0]["nonconverged_reason"] == ""


def test_r11_triggers_have_their_colour_baked_in(made):
    for model in (made("r11") / "models").iterdir():
        for trigger in document(model / "config.json")["py/state"]["triggers"]:
            state = trigger["py/state"]
            if "trigger_color" in state:
                pixels = np.asarray(Image.open(model / f"trigger_{state['trigger_id']}.png"))
                assert {tuple(p) for p in pixels.reshape(-1, 4)} == {(0, 0, 0, 0), (*state["trigger_color"], 255)}
