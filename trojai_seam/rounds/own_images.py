"""Adapter for trojaned models of a user's own: labelled images, and a trigger as data or a folder of poisoned images.

Clean images may be shared by many models or lie with each; ``held_out`` are a test set that is never trained on.
Images stay 8-bit numbers, and triggered ones are the clean ones until the network is asked about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..errors import ExampleProblem, listed
from ..tasks import ExampleSet
from .adapter_keys import PLACES, SUFFIXES, TARGET_LABEL, AdapterKeys, Group, choice, texts
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .example_files import class_label
from .image_keys import MEAN, SIZE, STD, channel_order, scaling
from .image_labels import UNKNOWN
from .labelled_sources import LabelledImages, read_labelled
from .model_directory import ModelDirectory
from .pixel_preparation import PixelPreparation
from .stamped_triggers import Canvas, Trigger, read_trigger
from .trigger_variants import trigger_variants


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Clean images with their classes, and poisoned ones with their targets, as the round describes them.

    Raises:
        ExampleProblem: nothing usable is there, images differ in size, or the trigger or the target makes no sense.
    """
    return Opening(directory, round_config, num_classes, image_channels(network.model)).examples()


def image_channels(model: nn.Module) -> int | None:
    """Channels of the image that a network takes, by its first convolution; None where it has none."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return None if first is None else first.in_channels


class Opening:
    """The images of one model on their way to example sets.

    Attributes:
        preparation: what the network is given of them.
    """

    def __init__(
        self, directory: ModelDirectory, round_config: RoundConfig, num_classes: int, channels: int | None
    ) -> None:
        self.directory, self.config, self.num_classes = directory, round_config, num_classes
        settings = round_config.preprocessing
        order = settings.get("channel_order", "grey" if channels == 1 else "rgb")
        self.channels = 1 if order == "grey" else 3
        self.preparation = PixelPreparation(
            settings.get("scaling", "/255"), order, tuple(settings.get("mean", ())), tuple(settings.get("std", ()))
        )
        for name in ("mean", "std"):
            given = len(settings.get(name, ()))
            if given not in (0, 1, self.channels):
                raise ExampleProblem(
                    f"{directory.path}: preprocessing.{name} has {given} numbers, the network's images {self.channels} "
                    "channels"
                )
        if any(value <= 0 for value in settings.get("std", ())):
            raise ExampleProblem(f"{directory.path}: preprocessing.std must be above 0, found {list(settings['std'])}")
        self.size: tuple[int, int] | None = (settings["size"],) * 2 if "size" in settings else None
        self.resized = 0

    @cached_property
    def folders(self) -> list[Path]:
        """Where relative paths are looked for."""
        directory = self.directory
        above = [
            folder for folder in (directory.path, *directory.path.parents) if folder.is_relative_to(directory.root)
        ]
        return [*(above or [directory.path]), *([Path(self.config.folder)] if self.config.folder else [])]

    def examples(self) -> Examples:
        fit = self.labelled("clean")
        if fit is None:
            wanted, folders = listed(self.config.layout["clean"]), listed(self.folders)
            raise ExampleProblem(f"{self.directory.path}: no clean images: none of {wanted} in {folders}")
        held_out = self.labelled("held_out")
        parts = [fit] if held_out is None else [fit, held_out]
        images = self.pixels(parts)
        labels = [label for part in parts for label in part.labels]
        names = [f"{part.where.name}/{name}" if held_out else name for part in parts for name in part.names]
        clean = ExampleSet({"x": images}, torch.tensor(labels), tuple(names), prepare=self.preparation)
        poisoned, notes = self._poisoned(clean, parts)
        height, width = images.shape[2:]
        if self.resized:
            notes.append(f"{self.resized} images of another size were fitted to {height}×{width}")
        facts = {
            "preprocessing": f"{self.preparation} {height}×{width}",
            "trigger_type": self._trigger_type(poisoned),
            "notes": "; ".join(notes) or None,
        }
        only_measured = tuple(range(len(fit), len(labels)))
        return Examples(clean, poisoned, facts, (), only_measured, self._variants(clean, poisoned))

    def labelled(self, group: str) -> LabelledImages | None:
        """The images of ``clean``, ``held_out`` or ``poisoned``; None where the round's layout names none that exist.

        Raises:
            ExampleProblem: they have no usable labels.
        """
        path = self._first_of(self.config.layout.get(group, ()))
        if path is None:
            return None
        examples = self.config.examples
        return read_labelled(
            path, self.num_classes, examples.get("classes"), examples["suffixes"], labelled=group != "poisoned"
        )

    def _first_of(self, names: Iterable[str]) -> Path | None:
        return next((folder / name for name in names for folder in self.folders if (folder / name).exists()), None)

    def pixels(self, parts: Sequence[LabelledImages]) -> Tensor:
        """``uint8`` or ``float32 [N, C, H, W]``, all of one size, with the network's channels.

        Raises:
            ExampleProblem: one is unreadable, or of another size that nothing says what to do with.
        """
        fitted: list[NDArray[Any]] = []
        for part in parts:
            for picture, name in zip(part.pictures(), part.names, strict=True):
                fitted.append(self._fitted(picture, part.where, name))
        if any(picture.dtype != fitted[0].dtype for picture in fitted):
            fitted = [p if p.dtype == np.float32 else p.astype(np.float32) / 255 for p in fitted]
        stack = np.stack(fitted)
        return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))

    def _fitted(self, picture: NDArray[Any], where: Path, name: str) -> NDArray[Any]:
        """One image with the network's channels and size."""
        picture = _with_channels(picture, self.channels)
        height, width = picture.shape[:2]
        if self.size is None:
            self.size = (height, width)
        if (height, width) == self.size:
            return picture
        if "size" not in self.config.preprocessing:
            raise ExampleProblem(
                f"{where}: images of several sizes ({self.size[0]}×{self.size[1]}, and {name} with {height}×{width}); "
                "say which the network takes (--size N, or preprocessing.size)"
            )
        self.resized += 1
        return _resized(picture, self.size, self.config.preprocessing.get("resize", "whole"), f"{where}/{name}")

    def _poisoned(self, clean: ExampleSet, parts: Sequence[LabelledImages]) -> tuple[ExampleSet | None, list[str]]:
        if self.config.poisoned_examples == "none" or self.directory.poisoned is False:
            return None, []
        attack, folder = self.config.attack, self._first_of(self.config.layout.get("poisoned", ()))
        if folder is None and self.config.layout.get("poisoned") and "trigger" not in attack:
            names, folders = listed(self.config.layout["poisoned"]), listed(self.folders)
            raise ExampleProblem(f"{self.directory.path}: no poisoned images: none of {names} in {folders}")
        if folder is None and "trigger" not in attack:
            return None, ["no poisoned examples: neither a trigger nor a folder of poisoned images is given"]
        if self.config.poisoned_examples == "synthesised" or folder is None:
            return self._stamped(clean), []
        return self._shipped(folder, clean, parts)

    def _stamped(self, clean: ExampleSet) -> ExampleSet:
        """The trigger on every clean image whose class it is to change."""
        labels = clean.labels.tolist()
        targets = [self._target(label) for label in labels]
        sources = self.config.attack.get("sources")
        chosen = [i for i, label in enumerate(labels) if targets[i] != label and (sources is None or label in sources)]
        if not chosen:
            raise ExampleProblem(f"{self.directory.path}: no clean image of a class that the trigger is to change")
        return ExampleSet(
            inputs={"x": clean.inputs["x"][chosen]},
            labels=clean.labels[chosen],
            names=tuple(f"{clean.names[i]} + trigger" for i in chosen),
            targets=torch.tensor([targets[i] for i in chosen]),
            origin="synthesised",
            prepare=self.preparation.stamped(self._trigger(clean.inputs["x"])),
            made_from=tuple(chosen),
        )

    def _variants(self, clean: ExampleSet, poisoned: ExampleSet | None) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Of stamped examples: they with other triggers."""
        if poisoned is None or poisoned.origin != "synthesised":
            return {}
        variants = trigger_variants(self._trigger(clean.inputs["x"]))
        return {name: self.preparation.stamped(trigger) for name, trigger in variants.items()}

    def _trigger(self, images: Tensor) -> Trigger:
        canvas = Canvas(*images.shape[1:])
        return read_trigger(self.config.attack["trigger"], self.folders, canvas, self.directory.model_path)

    def _shipped(
        self, folder: Path, clean: ExampleSet, parts: Sequence[LabelledImages]
    ) -> tuple[ExampleSet, list[str]]:
        """Poisoned images as they are; one with the relative path of a clean one counts as made from it."""
        examples = self.config.examples
        classes = examples.get("classes") or next((part.classes for part in parts if part.classes), None)
        found = read_labelled(folder, self.num_classes, classes, examples["suffixes"], labelled=False)
        images, labels = self.pixels([found]), list(found.labels)
        if any(label == UNKNOWN for label in labels) and self.config.attack.get("labelling") == "all-to-all":
            raise ExampleProblem(
                f"{folder}: all-to-all needs the true class of every poisoned image; expected class folders"
            )
        places = {name: place for place, name in enumerate(name for part in parts for name in part.names)}
        made_from = tuple(places.get(name, -1) for name in found.names)
        notes = []
        if unknown := sum(label == UNKNOWN for label in labels):
            notes.append(
                f"true class of {unknown} poisoned images is unknown: they are left out of RA, and those of the target "
                "class are not left out of ASR"
            )
        return ExampleSet(
            inputs={"x": images},
            labels=torch.tensor(labels),
            names=found.names,
            targets=torch.tensor([self._target(label) for label in labels]),
            prepare=self.preparation,
            made_from=made_from if any(place >= 0 for place in made_from) else None,
        ), notes

    def _target(self, label: int) -> int:
        """What the attacker wants an image of class ``label`` to be called."""
        attack, where = self.config.attack, self.directory.model_path
        if attack.get("labelling", "all-to-one") == "all-to-all":
            return (label + int(attack.get("shift", 1))) % self.num_classes
        if "target_label" not in attack:
            raise ExampleProblem(
                f"{where}: what the trigger is to do is unknown; give the target class (--target N, or "
                "attack.target_label)"
            )
        target = attack["target_label"]
        if not 0 <= target < self.num_classes:
            raise ExampleProblem(
                f"{where}: target {target}, but the network has only classes 0 to {self.num_classes - 1}"
            )
        return class_label(target, self.num_classes, where)

    def _trigger_type(self, poisoned: ExampleSet | None) -> str | None:
        spec = self.config.attack.get("trigger")
        if poisoned is None or spec is None:
            return None
        steps = spec if isinstance(spec, list) else [spec]
        return " and ".join(dict.fromkeys(step["kind"] for step in steps))


def _with_channels(picture: NDArray[Any], channels: int) -> NDArray[Any]:
    """``[H, W, 3]`` or ``[H, W, 1]``; colours become grey as Pillow's ``L`` does it."""
    have = picture.shape[2]
    if have == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=2)
    if picture.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[..., None]
    grey: NDArray[Any] = (picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return grey


def _resized(picture: NDArray[Any], size: tuple[int, int], how: str, name: str) -> NDArray[Any]:
    """Bilinear, as torchvision resizes Pillow's images."""
    height, width = picture.shape[:2]
    if how in ("cut", "crop"):
        sides = size if how == "cut" else (min(height, width),) * 2
        if height < sides[0] or width < sides[1]:
            raise ExampleProblem(f"{name}: {height}×{width} pixels, smaller than the {size[0]}×{size[1]} to be cut out")
        top, left = (height - sides[0]) // 2, (width - sides[1]) // 2
        picture = picture[top : top + sides[0], left : left + sides[1]]
        if how == "cut":
            return picture
    if picture.dtype == np.uint8:
        grey = picture.shape[2] == 1
        image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture))
        resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        return resized[..., None] if grey else resized
    values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    values = nn.functional.interpolate(values, size, mode="bilinear", antialias=True)
    result: NDArray[Any] = values[0].permute(1, 2, 0).numpy()
    return result


CLASSES = {
    "description": "names of the classes in the network's order",
    "type": "array",
    "minItems": 2,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}
RESIZE = choice(
    "own images: what is done to images of another size: the whole picture resized (whole), its central square resized "
    "(crop), or only its centre cut out (cut)",
    *("whole", "crop", "cut"),
)
ATTACK = {
    "target_label": TARGET_LABEL,
    "labelling": choice(
        "own models: every triggered image is to get target_label, or each class the one that is shift further on",
        *("all-to-one", "all-to-all"),
    ),
    "shift": {
        "description": "all-to-all: class c is to be called c + shift, modulo the number of classes (default 1)",
        "type": "integer",
        "minimum": 1,
    },
    "sources": {
        "description": "only images of these classes are triggered",
        "type": "array",
        "minItems": 1,
        "items": {"type": "integer", "minimum": 0},
    },
    "trigger": {
        "description": "what is stamped on held-out clean images: one step or several",
        "oneOf": [
            {"$ref": "#/definitions/trigger"},
            {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/trigger"}},
        ],
    },
}
KEYS = AdapterKeys(
    layout=Group(
        {
            **PLACES,
            "models": texts("own models: patterns of model files in the dataset folder"),
            "held_out": texts("own models: clean images that only measure", 0),
        }
    ),
    examples=Group({"suffixes": SUFFIXES, "classes": CLASSES}),
    preprocessing=Group(
        {
            "size": SIZE,
            "resize": RESIZE,
            "channel_order": channel_order("rgb", "bgr", "grey"),
            "scaling": scaling("min-max", "/255"),
            "mean": MEAN,
            "std": STD,
        }
    ),
    attack=Group(ATTACK),
)
KIND = AdapterKind(KEYS, read_examples)
