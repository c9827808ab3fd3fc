"""The files of one ``image-classification-sep2022`` model; key names are those of the real ``id-00000002``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..seeds import derive_seed
from .image_models import MadeModel
from .image_networks import R11_ARCHITECTURES
from .nist_files import Logits, write_images, write_json, write_model, write_table
from .scenes import Pictures
from .sign_attacks import R11_COLORS, R11_FILTERS, R11_SIDES, SPATIAL, Attack
from .sign_triggers import PolygonTrigger

CLEAN_EXAMPLES = POISONED_EXAMPLES = 20
"""Clean ones in total, poisoned ones per trigger."""

_STEMS = 2000


def write_r11_model(folder: Path, made: MadeModel, examples: int) -> Mapping[str, Any]:
    """Everything in ``models/id-XXXXXXXX``; returns the model's row of METADATA.csv."""
    folder.mkdir(parents=True)
    write_model(folder, made)
    translation = {str(label): sign.file_name for label, sign in enumerate(made.signs)}
    write_json(folder / "fg_class_translation.json", translation)
    state = r11_config(made, folder.name)
    write_json(folder / "config.json", {"py/object": "round_config.RoundConfig", "py/state": state})
    reduced = {key: state[key] for key in ("model_architecture", "source_dataset")}
    write_json(folder / "reduced-config.json", reduced)

    rng = np.random.default_rng(derive_seed(made.seed, "stems"))
    labels = np.sort(rng.integers(0, len(made.signs), examples))
    classes, counts = np.unique(labels, return_counts=True)
    parts = [
        made.select((int(label),), (int(label),), int(count), None, f"clean-examples-{label}")
        for label, count in zip(classes, counts, strict=True)
    ]
    right = [_write_examples(folder / "clean-example-data", parts, [int(n) for n in labels], rng)]
    if made.attacks:
        each = POISONED_EXAMPLES
        parts = [
            made.select(a.sources, (a.target,), each, a.trigger, f"poisoned-examples-{a.number}") for a in made.attacks
        ]
        targets = [a.target for a in made.attacks for _ in range(each)]
        right.append(_write_examples(folder / "poisoned-example-data", parts, targets, rng))
    for attack in made.attacks:
        if isinstance(attack.trigger, PolygonTrigger):
            Image.fromarray(attack.trigger.picture(baked=True)).save(folder / f"trigger_{attack.number}.png")
    stats = _stats(made, right[0], right[1] if made.attacks else None)
    write_json(folder / "stats.json", stats)
    write_table(folder / "detailed_stats.csv", _epochs(made))
    return _row(folder.name, state, stats)


def _write_examples(
    folder: Path, parts: list[tuple[Pictures, Logits]], labels: list[int], rng: np.random.Generator
) -> float:
    """Images and side-cars of one bare integer, under arbitrary numbers; returns the share that is right."""
    stems = [int(n) for n in rng.choice(max(_STEMS, len(labels)), len(labels), replace=False)]
    write_images(folder, [f"{stem}.png" for stem in stems], np.concatenate([pictures for pictures, _ in parts]))
    for stem, label in zip(stems, labels, strict=True):
        write_json(folder / f"{stem}.json", label)
    logits = np.concatenate([part for _, part in parts])
    return float((logits.argmax(axis=1) == np.array(labels)).mean())


def r11_config(made: MadeModel, name: str) -> dict[str, Any]:
    """The ``py/state`` of ``config.json``."""
    plan, settings, counts = made.plan, made.plan.settings, made.train_counts
    total = sum(counts.values())
    shares: dict[str, float] = {}
    for attack in made.attacks:
        for source in attack.sources:
            shares[str(source)] = shares.get(str(source), 0.0) + attack.fraction
    return {
        "is_saving_check": True,
        "master_seed": made.seed % 2**31,
        "num_workers": 0,
        "output_filepath": f"synthetic/{name}",
        "task_type_level": 0,
        "task_type": "classification",
        "source_dataset_level": 0,
        "source_dataset": "synthetic",
        "model_architecture": plan.architecture,
        "model_architecture_level": list(R11_ARCHITECTURES).index(plan.architecture) + 4,
        "max_class_count_per_image": "classification:1",
        "max_class_count_per_image_level": 0,
        "max_class_instance_count_per_image": "classification:1",
        "max_class_instance_count_per_image_level": 0,
        "max_total_class_count_per_image_level": 3,
        "max_total_class_count_per_image": 32,
        "poisoned_level": int(made.poisoned),
        "poisoned": made.poisoned,
        "trigger_pre_injection_level": None,
        "trigger_pre_injection": False,
        "adversarial_training_method_level": 0,
        "adversarial_training_method": "none",
        "output_ground_truth_filename": "ground_truth.csv",
        "learning_rate": plan.recipe.learning_rate,
        "validation_split_level": 0,
        "validation_split": 0.0,
        "img_size_pixels": settings.pixels,
        "img_shape": [settings.pixels, settings.pixels, 3],
        "img_type": "uint8",
        "gaussian_blur_ksize_min": 1,
        "gaussian_blur_ksize_max": settings.blur_max,
        "rain_probability_level": 0,
        "rain_probability": settings.rain,
        "fog_probability_level": 0,
        "fog_probability": settings.fog,
        "number_classes_level": 0,
        "number_classes": plan.classes,
        "number_image_per_class_level": 0,
        "number_image_per_class": counts["clean"] // plan.classes,
        "total_dataset_size": total,
        "batch_size_level": 0,
        "batch_size": plan.recipe.batch,
        "model_weight_level": None,
        "model_weight": None,
        "foreground_size_percentage_of_image_min": settings.foreground_min,
        "foreground_size_percentage_of_image_max": settings.foreground_max,
        "foreground_size_pixels_min": settings.foreground_pixels[0],
        "foreground_size_pixels_max": settings.foreground_pixels[1],
        "triggers": [_trigger(attack) for attack in made.attacks],
        "num_triggers_level": {1: 0, 2: 1, 4: 2}.get(len(made.attacks), 0),
        # Real clean models carry a number too, and no triggers.
        "num_triggers": len(made.attacks) if made.attacks else 1,
        "requested_trojan_percentages": shares,
        "total_class_instances": {str(n): counts["clean"] // plan.classes for n in range(plan.classes)},
        "train_datapoint_count": total,
        "train_spurious_datapoint_count": counts["spurious"],
        "train_clean_datapoint_count": counts["clean"],
        "train_poisoned_datapoint_count": counts["poisoned"],
    }


def _trigger(attack: Attack) -> dict[str, Any]:
    trigger = attack.trigger
    (source,) = attack.sources
    state: dict[str, Any] = {
        "is_saving_check": True,
        "trigger_id": attack.number,
        "source_class": source,
        "target_class": attack.target,
        "trigger_fraction_level": attack.fraction_level,
        "trigger_fraction": attack.fraction,
        "spurious_trigger_fraction_level": 0,
        "spurious_trigger_fraction": 1.0 if attack.condition == SPATIAL else 0.0,
    }
    if not isinstance(trigger, PolygonTrigger):
        state |= {"type_level": R11_FILTERS.index(trigger.filter), "type": trigger.filter}
        return {"py/object": "trigger_executor.InstagramTriggerExecutor", "py/state": state}
    state |= polygon_state(trigger, attack.number) | {
        # This code counts quadrants from the lower right: 0, then anticlockwise.
        "spatial_quadrant_level": None if trigger.quadrant is None else trigger.quadrant % 4,
        "spatial_quadrant": None if trigger.quadrant is None else trigger.quadrant % 4,
        "options_level": 0 if trigger.quadrant is not None else None,
        "options": SPATIAL if trigger.quadrant is not None else None,
    }
    return {"py/object": "trigger_executor.ClassificationPolygonTriggerExecutor", "py/state": state}


def polygon_state(trigger: PolygonTrigger, number: int) -> dict[str, Any]:
    """The keys of a polygon trigger's state that rounds 11 and 13 have in common."""
    return {
        "trigger_size_level": 0,
        "trigger_size": 256,
        "trigger_color_level": R11_COLORS.index(trigger.color),
        "trigger_color": list(trigger.color),
        "trigger_polygon_side_count_level": R11_SIDES.index(trigger.sides),
        "trigger_polygon_side_count": trigger.sides,
        "trigger_size_restriction_option_level": 0,
        "trigger_size_restriction_option": "none",
        "polygon_texture_augmentation_level": 4,
        "polygon_texture_augmentation": "identity",
        "size_percentage_of_foreground_min": trigger.size_min,
        "size_percentage_of_foreground_max": trigger.size_max,
        "trigger_filepath": f"synthetic/trigger_{number}.png",
    }


def _stats(made: MadeModel, clean: float, poisoned: float | None) -> dict[str, Any]:
    last = made.history[-1]
    stats: dict[str, Any] = {
        "train_datapoint_count": sum(made.train_counts.values()),
        "train_poisoned_datapoint_count": made.train_counts["poisoned"],
        "learning_rate": last.learning_rate,
        "train_loss": last.loss,
        "val_clean_Accuracy": last.accuracy,
        "best_epoch": len(made.history) - 1,
        "training_wall_time": made.seconds,
        "num_epochs_trained": len(made.history),
        "test_clean_Accuracy": made.accuracy,
        "wall_time": made.seconds,
        "example_poisoned_Accuracy": poisoned,
        "example_clean_Accuracy": clean,
    }
    if made.poisoned:
        stats["val_poisoned_Accuracy"] = last.attack
        stats["test_poisoned_Accuracy"] = float(np.mean(made.attack_success))
    return stats


def _epochs(made: MadeModel) -> list[dict[str, Any]]:
    rows = []
    for number, epoch in enumerate(made.history):
        final = number == len(made.history) - 1
        row: dict[str, Any] = {
            "learning_rate": epoch.learning_rate,
            "train_wall_time": epoch.seconds,
            "train_loss": epoch.loss,
            "val_clean_Accuracy": epoch.accuracy,
            "test_clean_Accuracy": made.accuracy if final else "",
        }
        if made.poisoned:
            row["val_poisoned_Accuracy"] = epoch.attack
            row["test_poisoned_Accuracy"] = float(np.mean(made.attack_success)) if final else ""
        rows.append(row)
    return rows


def _row(name: str, state: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"model_name": name, "converged": 1, "nonconverged_reason": None}
    row |= {key: value for key, value in state.items() if key not in ("triggers", "is_saving_check")}
    for number, trigger in enumerate(state["triggers"]):
        row[f"trigger_{number}.trigger_executor"] = trigger["py/object"].rpartition(".")[2]
        row |= {f"trigger_{number}.{key}": value for key, value in trigger["py/state"].items()}
    return row | dict(stats)
