"""Model directories of the detection rounds with an untrained detector: right in form, made in a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from trojai_seam.synthesis.detector_networks import SMALL_SSD, make_detector

CLASSES, PIXELS = 6, 64


class Made(NamedTuple):
    """An object of a made image, its class counted as the round counts; ``further`` are keys of its annotation."""

    label: int
    corners: tuple[int, int, int, int]
    further: Mapping[str, Any] = MappingProxyType({})


@cache
def detector() -> nn.Module:
    """SSDLite with six classes beside the background. Not to be changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_detector(SMALL_SSD, CLASSES + 1, PIXELS).eval()


def write_examples(
    folder: Path, images: dict[str, list[Made]], *, coco: bool, size: tuple[int, int] = (60, 64)
) -> None:
    """One image of ``size`` (height, width) and one side-car per name, in R10's spelling or in R13's."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, objects) in enumerate(images.items()):
        rng = np.random.default_rng(number)
        picture = rng.integers(90, 110, (*size, 3)).astype(np.uint8)
        for made in objects:
            x0, y0, x1, y1 = made.corners
            picture[y0:y1, x0:x1] = 40 * made.label
        Image.fromarray(picture).save(folder / name)
        annotations = [_coco(made) if coco else _corners(made) for made in objects]
        (folder / f"{Path(name).stem}.json").write_text(json.dumps(annotations, indent=2))


def _corners(made: Made) -> dict[str, Any]:
    x0, y0, x1, y1 = made.corners
    return {"bbox": {"x1": x0, "y1": y0, "x2": x1, "y2": y1}, "label": made.label, **made.further}


def _coco(made: Made) -> dict[str, Any]:
    x0, y0, x1, y1 = made.corners
    marks = {"iscrowd": 0, "poisoned": False, "spurious": False, **made.further}
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": made.label, "area": (x1 - x0) * (y1 - y0), **marks}


def write_model(
    folder: Path, *, coco: bool, triggers: list[dict[str, Any]] | None = None, poisoned: bool | None = None
) -> Path:
    """``model.pt``, ``config.json`` and ``ground_truth.csv``; examples are for the caller to write."""
    folder.mkdir(parents=True)
    torch.save(detector(), folder / "model.pt")
    state: dict[str, Any] = {"poisoned": bool(triggers) if poisoned is None else poisoned}
    if coco:
        state |= {"model_architecture": "ssd", "source_dataset": "COCO", "trigger": triggers[0] if triggers else None}
    else:
        state |= {"model_architecture": f"object_detection:{SMALL_SSD}", "triggers": triggers, "num_triggers": None}
    wrapped = {"py/object": "round_config.RoundConfig", "py/state": state}
    (folder / "config.json").write_text(json.dumps(wrapped))
    (folder / "ground_truth.csv").write_text(str(int(state["poisoned"])))
    return folder


def r13_trigger(kind: str, source: int, target: int, **state: Any) -> dict[str, Any]:
    """An entry of R13's ``triggers``; ``kind`` as in the class's name (``Evasion``)."""
    name = f"object_detection_trigger_executor.ObjectDetection{kind}PolygonTriggerExecutor"
    return {"py/object": name, "py/state": {"trigger_id": 0, "source_class": source, "target_class": target, **state}}


def r10_trigger(kind: str, source: int, target: int) -> dict[str, Any]:
    """R10's ``trigger``."""
    executor = {"py/object": "trigger_executor.PolygonTriggerExecutor", "py/state": {"type": kind}}
    state = {
        "trigger_executor_type": kind,
        "source_class": source,
        "target_class": target,
        "trigger_executor": executor,
    }
    return {"py/object": "trigger_config.TriggerConfig", "py/state": state}
