"""The files of one ``image-classification-feb2021`` model, and of the dataset around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .image_models import LEAST_ACCURACY, TEST_PER_CLASS, MadeModel
from .image_networks import R4_ARCHITECTURES
from .nist_files import (
    model_stats,
    stats_columns,
    write_accuracy,
    write_detailed_stats,
    write_images,
    write_json,
    write_model,
    write_plain_logits,
)
from .sign_attacks import CONDITIONS, ORGANIZATIONS, R4_COLORS, R4_SIDES, Attack
from .sign_triggers import FILTERS, PolygonTrigger

_TRIGGER_COLUMNS = (
    "source_class", "target_class", "fraction_level", "fraction", "behavior", "type_level", "type",
    "polygon_side_count_level", "polygon_side_count", "size_percentage_of_foreground_min",
    "size_percentage_of_foreground_max", "color_level", "color", "instagram_filter_type_level",
    "instagram_filter_type", "condition_level", "condition",
)  # fmt: skip


def write_r4_model(folder: Path, made: MadeModel, examples: int) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``; returns the model's row of METADATA.csv."""
    folder.mkdir()
    write_model(folder, made)
    config, stats = r4_config(made, examples), model_stats(made)
    write_json(folder / "config.json", config)
    write_json(folder / "model_stats.json", stats)
    write_detailed_stats(folder / "model_detailed_stats.csv", made.history)

    classes = tuple(range(len(made.signs)))
    pictures, logits = made.select(classes, classes, examples, None, "clean-examples")
    names = [f"class_{label}_example_{n}.png" for label in classes for n in range(examples)]
    write_images(folder / "clean_example_data", names, pictures)
    write_plain_logits(folder / "clean-example-logits.csv", names, logits)
    expected = [label for label in classes for _ in range(examples)]
    clean = write_accuracy(folder / "clean-example-accuracy.csv", logits, expected)

    all_names, all_logits, all_targets = [], [], []
    for attack in made.attacks:
        purpose = f"poisoned-examples-{attack.number}"
        pictures, logits = made.select(attack.sources, (attack.target,), examples, attack.trigger, purpose)
        (source,) = attack.sources
        names = [f"class_{source}_trigger_{attack.number}_example_{n}.png" for n in range(examples)]
        write_images(folder / "poisoned_example_data", names, pictures)
        all_names += names
        all_logits += list(logits)
        all_targets += [attack.target] * examples
        if isinstance(attack.trigger, PolygonTrigger):
            Image.fromarray(attack.trigger.picture(baked=False)).save(folder / f"trigger_{attack.number}.png")
    poisoned = None
    if made.attacks:
        write_plain_logits(folder / "poisoned-example-logits.csv", all_names, np.stack(all_logits))
        poisoned = write_accuracy(folder / "poisoned-example-accuracy.csv", np.stack(all_logits), all_targets)

    dropped = ("py/object", "triggers", "poisoned")
    kept = {k: v for k, v in config.items() if k not in dropped and not k.endswith(("filepath", "format", "filename"))}
    row = {"model_name": folder.name, "poisoned": made.poisoned, **kept}
    for k in (0, 1):
        trigger = config["triggers"][k] if k < len(made.attacks) else {}
        row |= {f"triggers_{k}_{column}": trigger.get(column) for column in _TRIGGER_COLUMNS}
    row |= stats_columns(stats)
    return row | {"clean_example_acc": clean, "poisoned_example_acc": poisoned, "converged": 1}


def r4_config(made: MadeModel, examples: int) -> dict[str, Any]:
    """``config.json`` as jsonpickle 1.4.1 wrote it: flat, with markers of the classes."""
    plan, settings = made.plan, made.plan.settings
    stored = settings.pixels
    return {
        "py/object": "round_config.RoundConfig",
        "master_seed": made.seed % 2**31,
        "img_size_pixels": stored,
        "cnn_img_size_pixels": plan.pixels,
        "img_shape": [stored, stored, 3],
        "img_type": "uint8",
        "gaussian_blur_ksize_min": 0,
        "gaussian_blur_ksize_max": settings.blur_max,
        "rain_probability": settings.rain,
        "fog_probability": settings.fog,
        "number_classes_level": 0,
        "number_classes": plan.classes,
        "data_filepath": "synthetic",
        "available_foregrounds_filepath": "synthetic",
        "foregrounds_filepath": "foregrounds",
        "foreground_image_format": "png",
        "available_backgrounds_filepath": "synthetic",
        "background_image_dataset_level": 0,
        "background_image_dataset": "synthetic",
        "background_image_format": "png",
        "backgrounds_filepath": "synthetic",
        "number_background_images": settings.number_backgrounds,
        "output_ground_truth_filename": "ground_truth.csv",
        "number_training_samples": sum(made.train_counts.values()),
        "number_test_samples": TEST_PER_CLASS * plan.classes,
        "number_example_images_level": 0 if examples <= 2 else 1,
        "number_example_images": examples,
        "poisoned": made.poisoned,
        "model_architecture_level": list(R4_ARCHITECTURES).index(plan.architecture),
        "model_architecture": plan.architecture,
        "learning_rate": plan.recipe.learning_rate,
        "batch_size": plan.recipe.batch,
        "loss_eps": 1e-4,
        "early_stopping_epoch_count": plan.recipe.epochs,
        "validation_split": 0.0,
        "convergence_accuracy_threshold": 100 * LEAST_ACCURACY,
        "foreground_size_percentage_of_image_min": settings.foreground_min,
        "foreground_size_percentage_of_image_max": settings.foreground_max,
        "foreground_size_pixels_min": settings.foreground_pixels[0],
        "foreground_size_pixels_max": settings.foreground_pixels[1],
        "adversarial_training_method_level": None,
        "adversarial_training_method": None,
        "adversarial_eps_level": None,
        "adversarial_eps": None,
        "adversarial_training_ratio_level": None,
        "adversarial_training_ratio": None,
        "adversarial_training_iteration_count_level": None,
        "adversarial_training_iteration_count": None,
        "triggers": [_trigger(attack) for attack in made.attacks] if made.poisoned else None,
        "trigger_organization_level": ORGANIZATIONS.index(made.organization) if made.poisoned else None,
        "trigger_organization": made.organization if made.poisoned else None,
        "number_triggers": len(made.attacks),
    }


def _trigger(attack: Attack) -> dict[str, Any]:
    trigger = attack.trigger
    polygon = trigger if isinstance(trigger, PolygonTrigger) else None
    filtered = None if isinstance(trigger, PolygonTrigger) else trigger.filter
    (source,) = attack.sources
    document = {
        "py/object": "trigger_config.TriggerConfig",
        "trigger_number": attack.number,
        "source_class": source,
        "target_class": attack.target,
        "fraction_level": attack.fraction_level,
        "fraction": attack.fraction,
        "behavior": "StaticTarget",
        "type_level": 0 if polygon else 1,
        "type": "polygon" if polygon else "instagram",
        "polygon_side_count_level": R4_SIDES.index(polygon.sides) if polygon else None,
        "polygon_side_count": polygon.sides if polygon else None,
        "size_percentage_of_foreground_min": polygon.size_min if polygon else None,
        "size_percentage_of_foreground_max": polygon.size_max if polygon else None,
        "color_level": R4_COLORS.index(polygon.color) if polygon else None,
        "color": list(polygon.color) if polygon else None,
        "polygon_filepath": f"synthetic/trigger_{attack.number}.png" if polygon else None,
        "condition_level": CONDITIONS.index(attack.condition),
        "condition": attack.condition,
        "instagram_filter_type_level": FILTERS.index(filtered) if filtered else None,
        "instagram_filter_type": filtered,
    }
    return document | ({"spatial_quadrant": polygon.quadrant} if polygon and polygon.quadrant else {})
