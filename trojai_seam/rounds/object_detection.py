"""Adapter for object detection: round 10 (COCO) and round 13 (signs on streets, aerial pictures).

Images keep their size and are padded to the largest of the model; boxes are in pixels of the image as it is read.
Classes leave here as the network's head counts them: torchvision's output 0 is the background, DETR's last one.

Sources: see ``source`` in ``round_configs/object-detection-*.json``; what counts as attacked is in :mod:`.box_targets`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import ExampleProblem, listed
from ..tasks import NOT_COUNTED, UNKNOWN, ExampleSet
from ..tasks.details import ATTACKS, BoxDetails
from ..tasks.detector_calls import background_class
from .adapter_keys import PLACES, SIDECARS, SUFFIXES, AdapterKeys, Group, choice, labels
from .adapters import AdapterKind, Examples, ShippedNetwork
from .box_files import Box, BoxReader, Corners
from .box_targets import Target, attacked
from .box_triggers import BoxTrigger, read_box_triggers
from .config import RoundConfig
from .errata import erratum
from .example_files import example_files
from .image_files import Orientation, Picture, image_size, orientation_of, read_images
from .image_keys import ORIENTATION
from .model_directory import ModelDirectory

_RECOMPRESSED = 24  # levels that a pixel may be off without being another one: triggered images are compressed anew
_MOST_CHANGED = 0.3  # share of a picture that a trigger can cover
MOST_PADDED = 2**27
"""Pixels of a padded set: some 1.6 GB as float32. R10's largest has a fifth of them."""


class _Annotated(NamedTuple):
    """An image with the boxes of its side-car; ``stem`` is what both are called."""

    name: str
    stem: str
    picture: Picture
    boxes: list[Box]


class _Poisoned(NamedTuple):
    examples: ExampleSet | None
    note: str | None


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Images as ``float32 [N, 3, H, W]`` in 0 … 1, labels ``[N, M, 5]``, targets of poisoned ones ``[N, K, 5]``.

    A poisoned image in which nothing tells what the attacker wants is left out; where that is all of them there is no
    poisoned set, and the row says why: attack success is then unknown, not 0.

    Raises:
        ExampleProblem: no clean image, none with a box, an image without a side-car, or one of them that is unusable.
        DatasetProblem: a config file cannot be read.
    """
    if round_config.poisoned_examples == "synthesised":
        raise ExampleProblem(f"{round_config.name}: poisoned images cannot be synthesised; use shipped, none or auto")
    if round_config.examples.get("labels") == "unknown":
        raise ExampleProblem(f"{directory.path}: images of {round_config.name} cannot be used without their boxes")
    background = background_class(network.model, num_classes)
    head = _Head(background, num_classes, round_config.examples["class_numbers"] == "objects")
    reader = BoxReader(round_config.examples["sidecars"], head.labels)
    layout, suffixes = round_config.layout, round_config.examples["suffixes"]
    orientation = orientation_of(round_config.preprocessing)
    clean = _annotated(directory, layout["clean"], suffixes, reader, orientation)
    _check_clean(directory, round_config, [example.boxes for example in clean], reader)
    triggers = () if round_config.poisoned_examples == "none" else read_box_triggers(directory)
    poisoned = _Poisoned(None, None)
    if round_config.poisoned_examples != "none":
        shipped = _annotated(directory, layout["poisoned"], suffixes, reader, orientation)
        if shipped:
            poisoned = _attacked_set(shipped, clean, triggers, head)
    alone = _without_images(directory, (*layout["clean"], *layout["poisoned"]), suffixes)
    facts: Mapping[str, Any] = {
        "preprocessing": "rgb /255, native size",
        "errata": erratum(directory, round_config),
        "notes": "; ".join(note for note in (orientation.note, reader.notes, alone, poisoned.note) if note) or None,
    }
    return Examples(_clean_set(clean, head), poisoned.examples, facts)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> None:
    """Whether images and usable boxes are there, by the images' headers.

    Raises:
        ExampleProblem, DatasetProblem: as for :func:`read_examples`.
    """
    background = background_class(network.model, num_classes)
    head = _Head(background, num_classes, round_config.examples["class_numbers"] == "objects")
    reader = BoxReader(round_config.examples["sidecars"], head.labels)
    layout, suffixes = round_config.layout, round_config.examples["suffixes"]
    boxes = [reader.read(path, *image_size(path)) for path in example_files(directory, layout["clean"], suffixes)]
    _check_clean(directory, round_config, boxes, reader)
    if round_config.poisoned_examples != "none":
        for path in example_files(directory, layout["poisoned"], suffixes):
            reader.read(path, *image_size(path))


def _check_clean(
    directory: ModelDirectory, round_config: RoundConfig, boxes: Sequence[Sequence[Box]], reader: BoxReader
) -> None:
    if not boxes:
        places = listed(round_config.layout["clean"], most=20)
        kinds = listed(f"*{suffix}" for suffix in round_config.examples["suffixes"])
        raise ExampleProblem(f"{directory.path}: no clean example; expected {kinds} files in one of {places}")
    if not any(boxes):
        raise ExampleProblem(
            f"{directory.path}: {len(boxes)} clean images, and no usable box in any of them "
            f"({reader.notes or 'all side-cars are empty lists'}); at least one is needed"
        )


def _same_scene(one: Picture, other: Picture) -> bool:
    """Whether one picture is the other with a trigger in it. Equal names prove nothing: NIST numbers examples anew for
    every set that it draws."""
    if one.shape != other.shape:
        return False
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16)).max(axis=2) > _RECOMPRESSED
    return bool(apart.mean() < _MOST_CHANGED)


class _Head:
    """How the classes of side-cars stand in the network's head."""

    def __init__(self, background: int, num_classes: int, counts_objects: bool) -> None:
        """``counts_objects``: side-cars count objects from 0; else they say the output's number."""
        self.background = background
        first = 1 if background == 0 else 0
        self.shift = first if counts_objects else 0
        self.labels = range(first - self.shift, first - self.shift + num_classes - 1)

    def rows(self, boxes: Sequence[tuple[Corners, int]], length: int) -> list[list[float]]:
        """``length`` rows x0, y0, x1, y1, class; those that pad do not count."""
        found = [[*corners, float(label if label == UNKNOWN else label + self.shift)] for corners, label in boxes]
        return found + [[0.0, 0.0, 0.0, 0.0, float(NOT_COUNTED)]] * (length - len(boxes))

    def tensor(self, images: Sequence[Sequence[tuple[Corners, int]]]) -> Tensor:
        """``float32 [N, M, 5]``; M is at least 1."""
        length = max(1, *(len(boxes) for boxes in images))
        return torch.tensor([self.rows(boxes, length) for boxes in images], dtype=torch.float32)


def _annotated(
    directory: ModelDirectory,
    folders: Sequence[str],
    suffixes: Sequence[str],
    reader: BoxReader,
    orientation: Orientation,
) -> list[_Annotated]:
    """Boxes are those of the picture as it is read: where it is turned, their numbers are of the turned one."""
    found = []
    paths = example_files(directory, folders, suffixes)
    for path, picture in zip(paths, read_images(paths, orientation), strict=True):
        found.append(_Annotated(path.name, path.stem, picture, reader.read(path, *picture.shape[:2])))
    return found


def _without_images(directory: ModelDirectory, folders: Sequence[str], suffixes: Sequence[str]) -> str | None:
    """A remark about side-cars whose image is missing."""
    alone = 0
    for name in folders:
        folder = directory.path / name
        if folder.is_dir():
            files = [path for path in folder.iterdir() if not path.name.startswith(".")]
            # A side-car may be called after the image's whole name.
            images = {part for path in files if path.suffix.lower() in suffixes for part in (path.stem, path.name)}
            alone += sum(path.suffix.lower() == ".json" and path.stem not in images for path in files)
    return f"{alone} side-cars have no image" if alone else None


def _padded(pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
    """``float32 [N, 3, H, W]``, black at the right and at the bottom, and the true sizes ``int64 [N, 2]``.

    Raises:
        ExampleProblem: that would be more than ``MOST_PADDED`` pixels: a tall and a wide image make a huge one.
    """
    sizes = np.array([picture.shape[:2] for picture in pictures], np.int64)
    height, width = sizes.max(axis=0)
    if len(pictures) * int(height) * int(width) > MOST_PADDED:
        raise ExampleProblem(
            f"{len(pictures)} images, padded to {width}×{height} pixels, have more than {MOST_PADDED} together"
        )
    whole = np.zeros((len(pictures), 3, height, width), np.float32)
    for image, picture in zip(whole, pictures, strict=True):
        image[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
    return torch.from_numpy(whole).div_(255), torch.from_numpy(sizes)


def _clean_set(images: Sequence[_Annotated], head: _Head) -> ExampleSet:
    inputs, sizes = _padded([image.picture for image in images])
    return ExampleSet(
        inputs={"x": inputs},
        labels=head.tensor([[(box.corners, box.label) for box in image.boxes] for image in images]),
        names=tuple(image.name for image in images),
        details=BoxDetails(sizes, head.background),
    )


def _attacked_set(
    images: Sequence[_Annotated], clean: Sequence[_Annotated], triggers: Sequence[BoxTrigger], head: _Head
) -> _Poisoned:
    without = {image.stem: image for image in clean}
    problems: Counter[str] = Counter()
    used: list[_Annotated] = []
    targets: list[list[Target]] = []
    truths: list[list[tuple[Corners, int]]] = []
    for image in images:
        pair = without.get(image.stem)
        clean_boxes = None if pair is None or not _same_scene(pair.picture, image.picture) else pair.boxes
        found = attacked(image.boxes, clean_boxes, triggers, *image.picture.shape[:2])
        if found.problem:
            problems[found.problem] += 1
        if found.targets:
            used.append(image)
            targets.append(found.targets)
            truths.append(found.truth)
    told = "; ".join(f"{problem} ({count} of {len(images)} poisoned images)" for problem, count in problems.items())
    note = f"not measured: {told}" if told else None
    if not used:
        return _Poisoned(None, f"no poisoned examples: {told}")
    inputs, sizes = _padded([image.picture for image in used])
    rows = head.tensor([[(target.corners, target.label) for target in wanted] for wanted in targets])
    kinds = torch.full(rows.shape[:2], NOT_COUNTED, dtype=torch.int64)
    moved_from = torch.full((*rows.shape[:2], 4), torch.nan)
    for number, wanted in enumerate(targets):
        for place, target in enumerate(wanted):
            kinds[number, place] = ATTACKS.index(target.kind)
            if target.moved_from is not None:
                moved_from[number, place] = torch.tensor(target.moved_from)
    examples = ExampleSet(
        inputs={"x": inputs},
        labels=head.tensor(truths),
        names=tuple(image.name for image in used),
        targets=rows,
        details=BoxDetails(sizes, head.background, kinds, moved_from),
    )
    return _Poisoned(examples, note)


CLASS_NUMBERS = choice(
    "boxes: side-cars say the number of the network's output, background counted (COCO's category ids), or count "
    "objects from 0",
    *("outputs", "objects"),
)
KEYS = AdapterKeys(
    layout=Group(PLACES),
    examples=Group(
        {
            "suffixes": SUFFIXES,
            "sidecars": SIDECARS,
            "class_numbers": CLASS_NUMBERS,
            "labels": labels("sidecar", "unknown"),
        },
        ("sidecars", "class_numbers"),
    ),
    preprocessing=Group({"orientation": ORIENTATION}),
)
KIND = AdapterKind(KEYS, read_examples, check_examples)
