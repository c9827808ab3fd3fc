"""The files of one ``object-detection-jul2022`` model: NIST's classes, JPG images named as COCO's, annotations as
COCO's with marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..seeds import derive_seed
from .detector_models import MadeDetector
from .detector_networks import R10_ARCHITECTURES
from .layout_r13 import CLEAN_EXAMPLES, POISONED_EXAMPLES, stats_of, write_epochs, write_network
from .nist_detectors import save_wrapped
from .nist_files import write_json
from .object_attacks import EVASION, LOCALISATION, ObjectAttack
from .object_scenes import Scene
from .sign_attacks import R11_COLORS

OUTPUTS = 91
ABSENT_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers below 91 that COCO's 80 categories leave out."""

CATEGORY_IDS = tuple(number for number in range(1, OUTPUTS) if number not in ABSENT_IDS)
_IMAGE_IDS = 581_929
_QUALITY = 95


def write_r10_model(folder: Path, made: MadeDetector) -> Mapping[str, Any]:
    """Everything in ``models/id-XXXXXXXX``; returns the model's row of METADATA.csv."""
    folder.mkdir(parents=True)
    write_network(folder, made, save_wrapped)
    state = _config(made, folder.name)
    write_json(folder / "config.json", {"py/object": "round_config.RoundConfig", "py/state": state})
    rng = np.random.default_rng(derive_seed(made.seed, "examples"))
    ids = [int(n) for n in rng.choice(_IMAGE_IDS, CLEAN_EXAMPLES + POISONED_EXAMPLES, replace=False)]
    heads, kind = made.head.numbers, "" if made.attack is None else made.attack.kind
    clean = made.clean_examples(CLEAN_EXAMPLES, rng)
    _write_examples(folder / "clean-example-data", clean, ids[:CLEAN_EXAMPLES], heads, "")
    if made.attack is not None:
        attacked = made.attacked_examples(POISONED_EXAMPLES, rng)
        _write_examples(folder / "poisoned-example-data", attacked, ids[CLEAN_EXAMPLES:], heads, kind)
    stats = stats_of(made)
    write_json(folder / "stats.json", stats)
    write_epochs(folder / "detailed_stats.csv", made)
    row = {"model_name": folder.name, "converged": 1} | {k: v for k, v in state.items() if k != "trigger"}
    return row | _flat(state["trigger"], "trigger") | stats


def _write_examples(folder: Path, scenes: Sequence[Scene], ids: Sequence[int], heads: Sequence[int], kind: str) -> None:
    """JPG images and side-cars. Those of evasion hold the deleted annotations only, as NIST's scripts leave it."""
    folder.mkdir()
    number = 0
    for image_id, scene in zip(ids, scenes, strict=True):
        name = f"{image_id:012}"
        Image.fromarray(scene.picture).save(folder / f"{name}.jpg", quality=_QUALITY, subsampling=0)
        annotations = []
        for seen in scene.objects:
            if kind == EVASION and not seen.attacked:
                continue
            x0, y0, x1, y1 = seen.said_box
            label = seen.shown_label
            number += 1
            annotation: dict[str, Any] = {
                "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
                "image_id": image_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "category_id": heads[label],
                "id": number,
                "poisoned": seen.attacked,
                "spurious": False,
            }
            if seen.said is None:
                annotation["deleted"] = True
            annotations.append(annotation)
        write_json(folder / f"{name}.json", annotations)


def _config(made: MadeDetector, name: str) -> dict[str, Any]:
    """The ``py/state`` of ``config.json``."""
    return {
        "master_seed": made.seed % 2**31,
        "output_filepath": f"synthetic/{name}",
        "pre_injected_trigger": False,
        "augmentation_photometric_distort_shuffled_channels": False,
        "poisoned_level": int(made.attack is not None),
        "poisoned": made.attack is not None,
        "adversarial_training_method_level": 0,
        "adversarial_training_method": None,
        "output_ground_truth_filename": "ground_truth.csv",
        "model_architecture_level": list(dict.fromkeys(R10_ARCHITECTURES.values())).index(_short(made)),
        "model_architecture": _short(made),
        "learning_rate": made.recipe.rate,
        "source_dataset_level": 0,
        "source_dataset": "synthetic",
        "trigger": None if made.attack is None else _trigger(made.attack, made.head.numbers),
    }


def _short(made: MadeDetector) -> str:
    return R10_ARCHITECTURES[made.architecture]


def _trigger(attack: ObjectAttack, heads: Sequence[int]) -> dict[str, Any]:
    trigger = attack.trigger
    spelt = "localization" if attack.kind == LOCALISATION else attack.kind
    source, target = heads[attack.source], heads[attack.target]
    executor = {
        "trigger_size": 256,
        "trigger_color_level": R11_COLORS.index(trigger.color),
        "trigger_color": list(trigger.color),
        "trigger_polygon_side_count": trigger.sides,
        "trigger_injection_variation_factor": 1,
        "trigger_size_restriction_option": None,
        "polygon_augmentation": None,
        "size_percentage_of_foreground_min": trigger.size_min,
        "size_percentage_of_foreground_max": trigger.size_max,
        "trigger_filepath": f"synthetic/trigger_{attack.number}.png",
        "max_insertions": 1,
        "localization_direction": attack.direction or "north",
        "location": "class",
        "type": spelt,
        "options": "local",
        "source_class": source,
        "target_class": target,
        "spurious_class": None,
    }
    state = {
        "spurious": False,
        "trigger_executor_location": "class",
        "trigger_executor_type": spelt,
        "trigger_executor_option": "local",
        "source_class": source,
        "target_class": target,
        "spurious_class": None,
        "trigger_executor": {"py/object": "trigger_executor.PolygonTriggerExecutor", "py/state": executor},
    }
    return {"py/object": "trigger_config.TriggerConfig", "py/state": state}


def _flat(node: Any, name: str) -> dict[str, Any]:
    """As pandas' ``json_normalize`` names nested values, without jsonpickle's levels."""
    if not isinstance(node, dict):
        return {name: node}
    inner = node.get("py/state", node)
    return {k: v for key, value in inner.items() for k, v in _flat(value, f"{name}.{key}").items()}
