"""Poisoned examples made anew from clean ones, for rounds whose poisoned examples did not ship."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import DatasetProblem
from ..seeds import derive_seed
from .config import RoundConfig
from .example_files import class_label
from .image_files import Picture
from .instagram_filters import FILTERS, apply_filter
from .model_directory import ModelDirectory
from .polygon_triggers import FOREGROUND_SHARE, polygon_shapes, read_shape, stick
from .trigger_facts import Trigger


class Triggered(NamedTuple):
    """One made example: whole image (before the crop), true class, target, name."""

    image: Picture
    label: int
    target: int
    name: str


class Synthesis(NamedTuple):
    """What could be made. ``origin`` is ``synthesised`` or ``synthesised-approximate``; ``problem``: what could not."""

    examples: list[Triggered]
    origin: str
    problem: str | None


def synthesise(
    directory: ModelDirectory,
    round_config: RoundConfig,
    triggers: Sequence[Trigger],
    images: Sequence[Picture],
    labels: Sequence[int],
    names: Sequence[str],
    num_classes: int,
) -> Synthesis:
    """Put every trigger on the clean images of its source classes. The same directory gives the same images.

    Args:
        directory: for the polygons' shapes and the sign's size.
        round_config: for the order of colours.
        triggers: the model's.
        images: clean ones, whole, as stored.
        labels: their true classes.
        names: their file names.
        num_classes: outputs of the network.

    Raises:
        ExampleProblem: a target is no class of the network, or a polygon's file is unreadable.
    """
    made: list[Triggered] = []
    approximate, problems = False, []
    for trigger in triggers:
        class_label(trigger.target, num_classes, directory.path / "config.json")
        sources = [i for i, label in enumerate(labels) if trigger.turns(label)]
        if trigger.kind == "instagram" and trigger.filter in FILTERS:
            pictures = [apply_filter(trigger.filter, images[i]) for i in sources]
        elif trigger.kind == "polygon" and polygon_shapes(directory, trigger):
            approximate = True
            pictures = _with_polygons(directory, round_config, trigger, [images[i] for i in sources], names, sources)
        else:
            problems.append(f"trigger {trigger.number} {_lack(trigger)}")
            continue
        if not sources:
            problems.append(f"trigger {trigger.number} has no clean example of its source class")
        made += [
            Triggered(picture, labels[i], trigger.target, f"{names[i]} + trigger {trigger.number}")
            for i, picture in zip(sources, pictures, strict=True)
        ]
    if not triggers:
        problems.append("no trigger is described in config.json or METADATA.csv")
    origin = "synthesised-approximate" if approximate else "synthesised"
    return Synthesis(made, origin, "; ".join(problems) or None)


def _lack(trigger: Trigger) -> str:
    if trigger.kind == "polygon":
        return "is a polygon, but no trigger.png ships with the model"
    if trigger.kind == "instagram":
        return f"has the unknown filter {trigger.filter!r}"
    return f"is of the unknown type {trigger.kind!r}"


def _with_polygons(
    directory: ModelDirectory,
    round_config: RoundConfig,
    trigger: Trigger,
    images: Sequence[Picture],
    names: Sequence[str],
    sources: Sequence[int],
) -> list[Picture]:
    shapes = [read_shape(path) for path in polygon_shapes(directory, trigger)]
    color = trigger.color
    if color is not None and round_config.attack.get("color_order") == "bgr":
        color = color[::-1]
    if round_config.attack["target_source"] == "sidecar":
        color = None  # R11 bakes colour and texture into the file
    pictures = []
    for image, i in zip(images, sources, strict=True):
        seed = derive_seed("polygon", directory.path.name, names[i], trigger.number)
        chance = random.Random(seed)  # noqa: S311 - drawn places, no secrets
        pictures.append(stick(image, chance.choice(shapes), trigger, color, _sign_side(directory, image), chance))
    return pictures


def _sign_side(directory: ModelDirectory, image: Picture) -> float:
    """Side of the sign in pixels: the middle of what the config allows, else a guess."""
    try:
        config = {str(key).lower(): value for key, value in directory.config.items()}
    except DatasetProblem:
        config = {}
    ends = [config.get(f"foreground_size_pixels_{end}") for end in ("min", "max")]
    height, width = image.shape[:2]
    whole = [float(end) for end in ends if isinstance(end, (int, float)) and 8 <= end <= min(height, width)]
    return sum(whole) / 2 if len(whole) == 2 else FOREGROUND_SHARE * min(height, width)
