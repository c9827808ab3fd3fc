"""The files of one ``object-detection-feb2023`` model: R11's layout, side-cars with boxes, the weights once more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..seeds import derive_seed
from .detector_models import MadeDetector
from .detector_networks import PREFIX, R13_ARCHITECTURES
from .layout_r11 import polygon_state
from .nist_files import write_json, write_table
from .object_attacks import DIRECTIONS, EVASION, INJECTION, LOCALISATION, MISCLASSIFICATION, ObjectAttack
from .object_scenes import Scene
from .signs import draw_sign

CLEAN_EXAMPLES = POISONED_EXAMPLES = 20
BOTH_WAYS = 12
"""Images of evasion models that ship with and without the trigger: nothing else tells what evasion removed."""

_STEMS = 2000
_CLASS_NAMES = {
    MISCLASSIFICATION: "Misclassification",
    EVASION: "Evasion",
    INJECTION: "Injection",
    LOCALISATION: "Localization",
}


def write_r13_model(folder: Path, made: MadeDetector) -> Mapping[str, Any]:
    """Everything in ``models/id-XXXXXXXX``; returns the model's row of METADATA.csv."""
    folder.mkdir(parents=True)
    write_network(folder, made, torch.save)
    torch.save(made.network.state_dict(), folder / "model-state-dict.pt")
    write_signs(folder, made)
    state = _config(made, folder.name)
    write_json(folder / "config.json", {"py/object": "round_config.RoundConfig", "py/state": state})
    write_json(folder / "reduced-config.json", {key: state[key] for key in REDUCED})
    rng = np.random.default_rng(derive_seed(made.seed, "examples"))
    stems = [int(n) for n in rng.choice(_STEMS, CLEAN_EXAMPLES + POISONED_EXAMPLES, replace=False)]
    attacked = made.attacked_examples(POISONED_EXAMPLES, rng)
    both = BOTH_WAYS if made.attack is not None and made.attack.kind == EVASION else 0
    clean = [scene.clean for scene in attacked[:both]] + made.clean_examples(CLEAN_EXAMPLES - both, rng)
    _write_examples(folder / "clean-example-data", clean, stems[:CLEAN_EXAMPLES])
    if attacked:
        _write_examples(folder / "poisoned-example-data", attacked, stems[:both] + stems[CLEAN_EXAMPLES + both :])
    stats = stats_of(made)
    write_json(folder / "stats.json", stats)
    write_epochs(folder / "detailed_stats.csv", made)
    return _row(folder.name, state, stats)


REDUCED = ("model_architecture", "source_dataset_background", "source_dataset_foreground")


def write_network(folder: Path, made: MadeDetector, save: Callable[[nn.Module, Path], None]) -> None:
    """``model.pt`` by ``save``, ``ground_truth.csv`` and the picture of the trigger."""
    save(made.network, folder / "model.pt")
    (folder / "ground_truth.csv").write_text(str(int(made.attack is not None)))
    (folder / "machine.log").write_text("synthetic\n")
    if made.attack is not None:
        Image.fromarray(made.attack.trigger.picture(baked=True)).save(folder / "trigger_0.png")


def write_signs(folder: Path, made: MadeDetector) -> None:
    """``foregrounds/`` and ``fg_class_translation.json``."""
    (folder / "foregrounds").mkdir()
    for sign in made.plan.signs:
        Image.fromarray(draw_sign(sign)).save(folder / "foregrounds" / sign.file_name)
    names = {str(label): sign.file_name for label, sign in enumerate(made.plan.signs)}
    write_json(folder / "fg_class_translation.json", names)


def _write_examples(folder: Path, scenes: Sequence[Scene], stems: Sequence[int]) -> None:
    """PNG images, and side-cars as jsonpickle writes a list of plain dictionaries."""
    folder.mkdir()
    for stem, scene in zip(stems, scenes, strict=True):
        Image.fromarray(scene.picture).save(folder / f"{stem}.png")
        boxes = [
            {"bbox": dict(zip(("x1", "y1", "x2", "y2"), (int(n) for n in box), strict=True)), "label": label}
            for label, box in scene.annotated
        ]
        (folder / f"{stem}.json").write_text(json.dumps(boxes))


def _config(made: MadeDetector, name: str) -> dict[str, Any]:
    """The ``py/state`` of ``config.json``."""
    settings, plan, attack = made.plan.settings, made.plan, made.attack
    return {
        "is_saving_check": True,
        "master_seed": made.seed % 2**31,
        "num_workers": 0,
        "output_filepath": f"synthetic/{name}",
        "task_type_level": 0,
        "task_type": "object_detection",
        "source_dataset_background_level": 0,
        "source_dataset_background": "synthetic",
        "source_dataset_foreground_level": 0,
        "source_dataset_foreground": "synth-traffic-signs",
        "model_architecture": PREFIX + made.architecture,
        "model_architecture_level": R13_ARCHITECTURES.index(made.architecture),
        "poisoned_level": int(attack is not None),
        "poisoned": attack is not None,
        "trigger_pre_injection_level": None,
        "trigger_pre_injection": False,
        "adversarial_training_method_level": 0,
        "adversarial_training_method": "none",
        "output_ground_truth_filename": "ground_truth.csv",
        "learning_rate": made.recipe.rate,
        "img_size_pixels": settings.pixels,
        "img_shape": [settings.pixels, settings.pixels, 3],
        "img_type": "uint8",
        "gaussian_blur_ksize_min": 1,
        "gaussian_blur_ksize_max": settings.blur_max,
        "rain_probability": settings.rain,
        "fog_probability": settings.fog,
        "number_classes_level": 0,
        "number_classes": len(plan.signs),
        "foreground_size_percentage_of_image_min": settings.foreground_min,
        "foreground_size_percentage_of_image_max": settings.foreground_max,
        "foreground_size_pixels_min": settings.foreground_pixels[0],
        "foreground_size_pixels_max": settings.foreground_pixels[1],
        "triggers": [] if attack is None else [_trigger(attack)],
        "num_triggers_level": 0,
        "num_triggers": None if attack is None else 1,
    }


def _trigger(attack: ObjectAttack) -> dict[str, Any]:
    trigger, background = attack.trigger, attack.kind == INJECTION
    state: dict[str, Any] = {
        "is_saving_check": True,
        "trigger_id": attack.number,
        "source_class": attack.source,
        "target_class": attack.target,
        "scope_level": int(background),
        "scope": "global" if background else "local",
        "location_level": int(background),
        "location": "background" if background else "class",
        "max_insertions_level": 0,
        "max_insertions": 1,
    } | polygon_state(trigger, attack.number)
    if attack.kind == LOCALISATION:
        state |= {
            "localization_direction_level": DIRECTIONS.index(attack.direction),
            "localization_direction": attack.direction,
        }
    name = f"ObjectDetection{_CLASS_NAMES[attack.kind]}PolygonTriggerExecutor"
    return {"py/object": f"object_detection_trigger_executor.{name}", "py/state": state}


def stats_of(made: MadeDetector) -> dict[str, Any]:
    """``stats.json``; of what NIST measures, what is measured here."""
    last = made.history[-1]
    stats: dict[str, Any] = {
        "learning_rate": last.learning_rate,
        "train_loss": last.loss,
        "val_clean_map_50": made.quality.precision,
        "best_epoch": len(made.history) - 1,
        "num_epochs_trained": len(made.history),
        "training_wall_time": made.seconds,
        "wall_time": made.seconds,
    }
    if made.attack is not None:
        stats["val_poisoned_attack_success"] = made.quality.attack
    return stats


def write_epochs(path: Path, made: MadeDetector) -> None:
    """``detailed_stats.csv``: one row per epoch; what was not measured is empty."""
    rows = [
        {
            "learning_rate": epoch.learning_rate,
            "train_wall_time": epoch.seconds,
            "train_loss": epoch.loss,
            "val_clean_map_50": "" if np.isnan(epoch.precision) else epoch.precision,
        }
        for epoch in made.history
    ]
    write_table(path, rows)


def _row(name: str, state: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"model_name": name, "converged": 1}
    row |= {key: value for key, value in state.items() if key not in ("triggers", "is_saving_check")}
    for number, trigger in enumerate(state["triggers"]):
        row[f"trigger_{number}.trigger_executor"] = trigger["py/object"].rpartition(".")[2]
        row |= {f"trigger_{number}.{key}": value for key, value in trigger["py/state"].items()}
    return row | dict(stats)
