"""The files of one ``image-classification-aug2020`` or ``-dec2020`` model: upper-case configs, one target per model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from .image_models import TEST_PER_CLASS, MadeModel
from .image_networks import R2_ARCHITECTURES
from .nist_files import (
    model_stats,
    stats_columns,
    write_accuracy,
    write_bracketed_logits,
    write_detailed_stats,
    write_images,
    write_json,
    write_model,
)
from .sign_triggers import FILTERS, PolygonTrigger

_NOT_IN_METADATA = ("FILEPATH", "FORMAT", "FILENAME", "PREFIX")


def write_r2_model(folder: Path, made: MadeModel, examples: int) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``; returns the model's row of METADATA.csv. No poisoned examples: R2 has none."""
    config = r2_config(made, examples)
    stats = _write_common(folder, made, config)
    accuracy, _ = _write_clean(folder, "example_data", "example-accuracy.csv", made, examples)
    return _row(folder, config, stats) | {"final_example_acc": accuracy, "converged": 1}


def write_r3_model(folder: Path, made: MadeModel, examples: int) -> Mapping[str, Any]:
    """As R2, with poisoned examples, logits, and other names. R3's full key list is not known."""
    config = r3_config(made, examples)
    stats = _write_common(folder, made, config)
    clean, clean_logits = _write_clean(folder, "clean_example_data", "clean-example-accuracy.csv", made, examples)
    write_bracketed_logits(folder / "clean-example-logits.csv", *clean_logits)
    poisoned = None
    for attack in made.attacks:
        targets = (attack.target,) * len(attack.sources)
        pictures, logits = made.select(attack.sources, targets, examples, attack.trigger, "poisoned-examples")
        names = [f"class_{source}_example_{n}.png" for source in attack.sources for n in range(examples)]
        write_images(folder / "poisoned_example_data", names, pictures)
        write_bracketed_logits(folder / "poisoned-example-logits.csv", names, logits)
        expected = [attack.target] * len(names)
        poisoned = write_accuracy(folder / "poisoned-example-accuracy.csv", logits, expected)
    row = _row(folder, config, stats)
    return row | {"clean_example_acc": clean, "poisoned_example_acc": poisoned, "converged": 1}


def _write_common(folder: Path, made: MadeModel, config: Mapping[str, Any]) -> dict[str, Any]:
    folder.mkdir()
    write_model(folder, made)
    stats = model_stats(made)
    write_json(folder / "config.json", config)
    write_json(folder / "model_stats.json", stats)
    write_detailed_stats(folder / "model_detailed_stats.csv", made.history)
    for attack in made.attacks:
        if isinstance(attack.trigger, PolygonTrigger):
            Image.fromarray(attack.trigger.picture(baked=False)).save(folder / "trigger.png")
    return stats


def _write_clean(
    folder: Path, data: str, accuracy: str, made: MadeModel, examples: int
) -> tuple[float, tuple[list[str], Any]]:
    classes = tuple(range(len(made.signs)))
    pictures, logits = made.select(classes, classes, examples, None, "clean-examples")
    names = [f"class_{label}_example_{n}.png" for label in classes for n in range(examples)]
    write_images(folder / data, names, pictures)
    expected = [label for label in classes for _ in range(examples)]
    return write_accuracy(folder / accuracy, logits, expected), (names, logits)


def _row(folder: Path, config: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k.lower(): v for k, v in config.items() if not k.endswith(_NOT_IN_METADATA) and k != "POISONED"}
    return {"model_name": folder.name, "poisoned": config["POISONED"], **kept, **stats_columns(stats)}


def r2_config(made: MadeModel, examples: int) -> dict[str, Any]:
    """``config.json`` of R2: flat and upper-case; clean models lack the two keys of the trigger's type."""
    plan, settings = made.plan, made.plan.settings
    attack = made.attacks[0] if made.attacks else None
    polygon = attack.trigger if attack and isinstance(attack.trigger, PolygonTrigger) else None
    config: dict[str, Any] = {
        "MASTER_SEED": made.seed % 2**31,
        "IMG_SIZE_PIXELS": settings.pixels,
        "CNN_IMG_SIZE_PIXELS": plan.pixels,
        "GAUSSIAN_BLUR_KSIZE_MIN": 0,
        "GAUSSIAN_BLUR_KSIZE_MAX": settings.blur_max,
        "RAIN_PROBABILITY": settings.rain,
        "FOG_PROBABILITY": settings.fog,
        "NUMBER_CLASSES": plan.classes,
        "DATA_FILEPATH": "synthetic",
        "NUMBER_TRAINING_SAMPLES": sum(made.train_counts.values()),
        "NUMBER_TEST_SAMPLES": TEST_PER_CLASS * plan.classes,
        "NUMBER_EXAMPLE_IMAGES": examples,
        "POISONED": made.poisoned,
        "AVAILABLE_FOREGROUNDS_FILEPATH": "synthetic",
        "FOREGROUNDS_FILEPATH": "foregrounds",
        "FOREGROUND_IMAGE_FORMAT": "png",
        "AVAILABLE_BACKGROUNDS_FILEPATH": "synthetic",
        "BACKGROUNDS_FILEPATH": "synthetic",
        "BACKGROUND_IMAGE_FORMAT": "png",
        "BACKGROUND_IMAGE_DATASET": "synthetic",
        "NUMBER_BACKGROUND_IMAGES": settings.number_backgrounds,
        "OUTPUT_EXAMPLE_DATA_FILENAME": "example_data",
        "OUTPUT_GROUND_TRUTH_FILENAME": "ground_truth.csv",
        "MODEL_ARCHITECTURE": plan.architecture,
        "FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MIN": settings.foreground_min,
        "FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MAX": settings.foreground_max,
        "FOREGROUND_SIZE_PIXELS_MIN": settings.foreground_pixels[0],
        "FOREGROUND_SIZE_PIXELS_MAX": settings.foreground_pixels[1],
        "NUMBER_TRIGGERED_CLASSES": len(attack.sources) if attack else 0,
        "TRIGGERED_CLASSES": list(attack.sources) if attack else None,
        "TRIGGER_TARGET_CLASS": attack.target if attack else None,
        "TRIGGER_COLOR": list(polygon.color) if polygon else None,
        "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MIN": polygon.size_min if polygon else None,
        "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MAX": polygon.size_max if polygon else None,
        "TRIGGERED_FRACTION": attack.fraction if attack else 0,
        "TRIGGER_BEHAVIOR": "StaticTarget" if attack else None,
    }
    if attack:
        config["TRIGGER_TYPE"] = "polygon" if polygon else "instagram"
        config["TRIGGER_TYPE_OPTION"] = _option(made)
    return config | dict.fromkeys(
        (
            "TRAIN_DATA_CSV_FILENAME", "TRAIN_DATA_PREFIX", "TEST_DATA_CLEAN_CSV_FILENAME",
            "TEST_DATA_POISONED_CSV_FILENAME", "TEST_DATA_PREFIX", "LMDB_TRAIN_FILENAME", "LMDB_TEST_FILENAME",
        )
    )  # fmt: skip


def r3_config(made: MadeModel, examples: int) -> dict[str, Any]:
    """R2's with the trigger's type split into keys of their own, and their levels; no key is ever absent."""
    config = r2_config(made, examples)
    kind, option = config.pop("TRIGGER_TYPE", None), config.pop("TRIGGER_TYPE_OPTION", None)
    sides, filtered = (option, None) if kind == "polygon" else (None, option)
    counts = (1, 2)
    triggered = config["NUMBER_TRIGGERED_CLASSES"]
    return config | {
        "MODEL_ARCHITECTURE_LEVEL": list(R2_ARCHITECTURES).index(made.plan.architecture),
        "NUMBER_TRIGGERED_CLASSES_LEVEL": None if not kind else triggered - 1 if triggered in counts else 2,
        "TRIGGER_TYPE": kind,
        "TRIGGER_TYPE_LEVEL": None if kind is None else ("polygon", "instagram").index(kind),
        "POLYGON_SIDE_COUNT": sides,
        "POLYGON_SIDE_COUNT_LEVEL": None if sides is None else sides - 3,
        "INSTAGRAM_FILTER_TYPE": filtered,
        "INSTAGRAM_FILTER_TYPE_LEVEL": None if filtered is None else FILTERS.index(filtered),
        "ADVERSARIAL_TRAINING_METHOD": None,
    }


def _option(made: MadeModel) -> int | str:
    trigger = made.attacks[0].trigger
    return trigger.sides if isinstance(trigger, PolygonTrigger) else trigger.filter
