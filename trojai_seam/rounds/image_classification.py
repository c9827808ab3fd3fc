"""Adapter for images with one class: the sign rounds (R0 to R4, R11, mitigation) and the traffic rounds (c2).

Folders, labels, channels and scaling are data of the round.

Sources: see ``source`` in each ``round_configs/image-classification-*.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..errors import ExampleProblem, listed
from ..tasks import ExampleSet
from .adapter_keys import LOGITS, PLACES, SIDECARS, SUFFIXES, TARGET_LABEL, AdapterKeys, Group, choice, labels, texts
from .adapters import AdapterKind, Examples, ShippedNetwork
from .config import RoundConfig
from .errata import erratum
from .example_files import example_files
from .image_files import Orientation, Picture, image_size, orientation_of, read_images
from .image_keys import CANDIDATES, MEAN, ORIENTATION, SIZE, STD, channel_order, scaling
from .image_labels import UNKNOWN, Labelled, clean_label, looked_up, poisoned_label
from .image_preprocessing import Preprocessing, channels_of, cropped, input_size
from .model_directory import ModelDirectory
from .preprocessing_choice import choose_preprocessing
from .trigger_facts import Trigger, read_triggers
from .triggered_images import synthesise


class _Found(NamedTuple):
    clean: list[Labelled]
    poisoned: list[Labelled]


class _Poisoned(NamedTuple):
    examples: ExampleSet | None
    note: str | None


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork | None = None
) -> Examples:
    """Clean and poisoned images as ``float32 [N, C, size, size]``, prepared as the round (or its evidence) says.

    C is 3, or 1 for a network of one channel.
    Poisoned examples are shipped ones, else synthesised where the trigger is known and the model is poisoned
    (``poisoned_examples`` of the round decides). A true class that nothing tells is -1.

    Raises:
        ExampleProblem: no clean example; an unusable image, label or target; ``synthesised`` was asked for in vain.
        DatasetProblem: a config file cannot be read.
    """
    triggers = read_triggers(directory)
    found = _find(directory, round_config, triggers, num_classes)
    orientation = orientation_of(round_config.preprocessing)
    images = list(read_images((example.path for example in found.clean), orientation))
    size = input_size(directory, round_config.preprocessing)
    crops = [cropped(image, size, example.path) for image, example in zip(images, found.clean, strict=True)]
    names, labels = [e.path.name for e in found.clean], [e.label for e in found.clean]
    outputs = None if network is None else network.outputs
    channels = 3 if network is None else channels_of(network.model)
    choice = choose_preprocessing(directory, round_config, crops, names, labels, num_classes, outputs, channels)
    clean = ExampleSet({"x": choice.preprocessing.apply(crops)}, torch.tensor(labels), tuple(names))
    wrong = erratum(directory, round_config)
    poisoned = _Poisoned(None, None)
    if round_config.poisoned_examples != "none":
        if found.poisoned:
            poisoned = _shipped(found.poisoned, choice.preprocessing, orientation)
        elif round_config.poisoned_examples != "shipped" and directory.poisoned is not False and wrong is None:
            poisoned = _made(directory, round_config, triggers, images, clean, choice.preprocessing, num_classes)
    facts: Mapping[str, Any] = {
        "preprocessing": str(choice.preprocessing),
        "preprocessing_evidence": choice.evidence,
        "errata": wrong,
        "notes": "; ".join(note for note in (orientation.note, poisoned.note) if note) or None,
    }
    return Examples(clean, poisoned.examples, facts, choice.decided_on)


def check_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Mapping[str, tuple[int, ...]]:
    """Whether images and labels are there, by the images' headers.

    Raises:
        ExampleProblem, DatasetProblem: as for :func:`read_examples`.
    """
    found = _find(directory, round_config, read_triggers(directory), num_classes)
    for example in (*found.clean, *found.poisoned):
        image_size(example.path)
    size = input_size(directory, round_config.preprocessing)
    return {"x": (channels_of(network.model), size, size)}


def _find(
    directory: ModelDirectory, round_config: RoundConfig, triggers: Sequence[Trigger], num_classes: int
) -> _Found:
    """The examples that are to be used, with labels; poisoned ones only if shipped ones may be used."""
    suffixes, layout = round_config.examples["suffixes"], round_config.layout
    wanted = round_config.poisoned_examples in ("auto", "shipped")
    mixed = layout.get("mixed", {"folders": []})
    paths = example_files(directory, mixed["folders"], suffixes)
    if paths:
        examples = looked_up(paths, directory, mixed["lookup"], num_classes)
        clean = [e for e in examples if e.target is None]
        if not clean:
            raise ExampleProblem(f"{paths[0].parent}: no clean example; {mixed['lookup']} calls all poisoned")
        return _Found(clean, [e for e in examples if e.target is not None and wanted])
    paths = example_files(directory, layout["clean"], suffixes)
    if not paths:
        raise ExampleProblem(_nothing(directory, round_config))
    clean = [clean_label(path, round_config, num_classes) for path in paths]
    if not wanted:
        return _Found(clean, [])
    told = _told_by(directory)
    files = example_files(directory, layout["poisoned"], suffixes)
    poisoned = (poisoned_label(path, round_config, triggers, num_classes, told) for path in files)
    return _Found(clean, [example for example in poisoned if example is not None])


def _nothing(directory: ModelDirectory, round_config: RoundConfig) -> str:
    kinds = listed(f"*{suffix}" for suffix in round_config.examples["suffixes"])
    folder = directory.first_folder(round_config.layout["clean"])
    if folder is not None:
        return f"{folder}: no clean example; expected {kinds} files, found none"
    folders = listed(round_config.layout["clean"], most=20)
    return f"{directory.path}: no clean example; expected {kinds} files in one of the folders {folders}"


def _told_by(directory: ModelDirectory) -> Path:
    """The file that describes the triggers, for messages."""
    return directory.path / "config.json" if directory.config else directory.root / "METADATA.csv"


def _shipped(examples: Sequence[Labelled], preprocessing: Preprocessing, orientation: Orientation) -> _Poisoned:
    images = read_images((e.path for e in examples), orientation)
    crops = [cropped(image, preprocessing.size, e.path) for image, e in zip(images, examples, strict=True)]
    unknown = sum(e.label == UNKNOWN for e in examples)
    note = f"true class of {unknown} poisoned examples is unknown; they are left out of RA" if unknown else None
    return _Poisoned(
        ExampleSet(
            inputs={"x": preprocessing.apply(crops)},
            labels=torch.tensor([e.label for e in examples]),
            names=tuple(e.path.name for e in examples),
            targets=torch.tensor([UNKNOWN if e.target is None else e.target for e in examples]),
        ),
        note,
    )


def _made(
    directory: ModelDirectory,
    round_config: RoundConfig,
    triggers: Sequence[Trigger],
    images: Sequence[Picture],
    clean: ExampleSet,
    preprocessing: Preprocessing,
    num_classes: int,
) -> _Poisoned:
    made = synthesise(directory, round_config, triggers, images, clean.labels.tolist(), clean.names, num_classes)
    if not made.examples:
        if round_config.poisoned_examples == "synthesised" and directory.poisoned:
            raise ExampleProblem(f"{directory.path}: no poisoned example can be synthesised: {made.problem}")
        return _Poisoned(None, f"no poisoned examples: {made.problem}" if directory.poisoned else None)
    crops = [cropped(example.image, preprocessing.size, directory.path) for example in made.examples]
    return _Poisoned(
        ExampleSet(
            inputs={"x": preprocessing.apply(crops)},
            labels=torch.tensor([e.label for e in made.examples]),
            names=tuple(e.name for e in made.examples),
            targets=torch.tensor([e.target for e in made.examples]),
            origin=made.origin,
        ),
        made.problem,
    )


MIXED = {
    "description": "a folder with clean and poisoned examples together; where it exists it is used instead of the "
    "others",
    "type": "object",
    "additionalProperties": False,
    "required": ["folders", "lookup"],
    "properties": {
        "folders": texts(),
        "lookup": {
            "description": "JSON in the model directory: file name -> {clean_label, poisoned_label or null}",
            "type": "string",
            "minLength": 1,
        },
    },
}
TARGET_SOURCE = choice(
    "images: one trigger_target_class for the model, the target_class of the trigger that the file name counts, the "
    "side-car, or target_label for all",
    *("trigger-target-class", "trigger-list", "sidecar", "target-label"),
)
KEYS = AdapterKeys(
    layout=Group({**PLACES, "mixed": MIXED}),
    examples=Group(
        {"suffixes": SUFFIXES, "sidecars": SIDECARS, "labels": labels("file-name", "sidecar", "unknown")},
        ("labels",),
        {
            "if": {"properties": {"labels": {"const": "sidecar"}}, "required": ["labels"]},
            "then": {"required": ["sidecars"]},
        },
    ),
    preprocessing=Group(
        {
            "size": SIZE,
            "size_keys": texts("keys of the model's config.json that say so for this model", 0),
            "channel_order": channel_order("rgb", "bgr", "grey", "auto"),
            "scaling": scaling("min-max", "/255", "raw", "auto"),
            "mean": MEAN,
            "std": STD,
            "candidates": CANDIDATES,
            "logits": LOGITS,
            "orientation": ORIENTATION,
        },
        ("size", "channel_order", "scaling"),
    ),
    attack=Group(
        {
            "target_source": TARGET_SOURCE,
            "target_label": TARGET_LABEL,
            "color_order": choice("order of the three numbers of a trigger colour; default rgb", "rgb", "bgr"),
        },
        ("target_source",),
        {
            "if": {"properties": {"target_source": {"const": "target-label"}}, "required": ["target_source"]},
            "then": {"required": ["target_label"]},
            "else": {"not": {"required": ["target_label"]}},
        },
    ),
    required=("preprocessing", "attack"),
)
KIND = AdapterKind(KEYS, read_examples, check_examples)
