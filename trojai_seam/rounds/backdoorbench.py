"""Adapter for the result folders of BackdoorBench, read inertly: nothing of its code is needed or run.

``attack_result.pt`` holds the weights, the name of network and data set, and for every poisoned test image its index
in the clean test set, its file, the label that the attacker wants and the true one. ``defense_result.pt`` has weights
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch

from ..errors import ExampleProblem, RefusedArchive, TrojaiSeamError, listed, shown
from ..loading import Budget, read_object
from ..loading.arrays import array_of, read_batch
from ..loading.nodes import DictNode, Inert
from ..tasks import ExampleSet
from .adapters import AdapterKind, Examples, ShippedNetwork
from .backdoorbench_records import ATTACK_FILE, record_of
from .config import RoundConfig
from .example_files import class_label
from .image_arrays import checked_arrays
from .labelled_sources import LabelledImages, file_pictures
from .model_directory import ModelDirectory
from .normalisations import BACKDOORBENCH
from .own_images import KEYS, Opening, image_channels

MOST_FOLDERS_UP = 4
_BATCHES = {
    "cifar10": ("cifar-10-batches-py/test_batch", "labels"),
    "cifar100": ("cifar-100-python/test", "fine_labels"),
}


class Poisoned(NamedTuple):
    """One poisoned test image: its place in the clean test set, its file below the record, wanted and true label."""

    place: int
    file: str
    target: int
    label: int


class AttackResult(NamedTuple):
    """What ``attack_result.pt`` says beside the weights."""

    clean_data: str
    data_path: str
    size: int
    num_classes: int
    poisoned: tuple[Poisoned, ...]


def read_examples(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
) -> Examples:
    """Clean test images, and the poisoned ones of the record, prepared as BackdoorBench prepares them.

    Raises:
        ExampleProblem: the record does not say what is needed, images are missing, or clean ones are found nowhere.
        RefusedArchive: ``attack_result.pt`` is damaged or hostile.
    """
    record = record_of(directory)
    attack = read_attack(record / ATTACK_FILE, network.workplace.budget)
    if attack.num_classes != num_classes:
        raise ExampleProblem(
            f"{record / ATTACK_FILE}: says {attack.num_classes} classes, the network has {num_classes}"
        )
    if attack.clean_data not in BACKDOORBENCH:
        raise ExampleProblem(
            f"{record / ATTACK_FILE}: the data set {shown(attack.clean_data, 60)!r} is none of {listed(BACKDOORBENCH)}"
        )
    opening = Opening(directory, _prepared(round_config, attack), num_classes, image_channels(network.model))
    given = opening.labelled("clean")
    fit = given or _test_set(record, directory, attack, num_classes)
    held_out = opening.labelled("held_out")
    parts = [fit] if held_out is None else [fit, held_out]
    images = opening.pixels(parts)
    labels = [label for part in parts for label in part.labels]
    names = [f"{part.where.name}/{name}" for part in parts for name in part.names]
    clean = ExampleSet({"x": images}, torch.tensor(labels), tuple(names), prepare=opening.preparation)
    poisoned: ExampleSet | None = None
    notes: list[str] = []
    if round_config.poisoned_examples != "none":
        indices = None if given is not None else range(len(fit))
        poisoned, notes = _poisoned(record, attack, opening, num_classes, indices, labels)
    info = _info(record)
    facts = {
        "preprocessing": f"{opening.preparation} {attack.size}×{attack.size}",
        "trigger_type": info.get("attack"),
        "trigger_organization": info.get("attack_label_trans"),
        "source_dataset": attack.clean_data,
        "notes": "; ".join(notes) or None,
    }
    return Examples(clean, poisoned, facts, (), tuple(range(len(fit), len(labels))))


def read_attack(path: Path, budget: Budget | None = None) -> AttackResult:
    """What ``attack_result.pt`` says beside the weights.

    Raises:
        RefusedArchive: the file is missing, damaged or hostile, or no such result.
    """
    root = read_object(path, budget)
    if not isinstance(root, DictNode):
        raise RefusedArchive(path, "is no attack_result.pt of BackdoorBench: expected a dict")
    sets = _node(path, root, "bd_test")
    container = _node(path, sets, "bd_data_container")
    folder = _of(path, container, "save_folder_path", str, "its poisoned images inside the file are not supported")
    images = []
    for index, entry in _node(path, container, "data_dict").pairs:
        if type(index) is not int or not isinstance(entry, DictNode):
            raise RefusedArchive(path, "bd_test.data_dict: expected entries by number with path and other_info")
        labels = entry.get("other_info")
        pair = labels if isinstance(labels, (list, tuple)) and len(labels) >= 2 else (None, None)
        if type(pair[0]) is not int or type(pair[1]) is not int:
            raise RefusedArchive(path, f"bd_test.data_dict {index}: other_info is not [wanted label, original label]")
        images.append(Poisoned(index, _tail(path, _of(path, entry, "path", str), folder), pair[0], pair[1]))
    size = root.get("img_size")
    if not isinstance(size, (tuple, list)) or len(size) != 3 or type(size[0]) is not int or size[0] != size[1]:
        raise RefusedArchive(path, f"img_size: expected (height, width, channels), found {shown(size, 40)}")
    return AttackResult(
        clean_data=_of(path, root, "clean_data", str),
        data_path=_of(path, root, "data_path", str),
        size=size[0],
        num_classes=_of(path, root, "num_classes", int),
        poisoned=tuple(images),
    )


def read_model_name(path: Path) -> str:
    """BackdoorBench's name of the network in an ``attack_result.pt``.

    Raises:
        RefusedArchive: the file is damaged or hostile, or does not say.
    """
    root = read_object(path)
    if not isinstance(root, DictNode):
        raise RefusedArchive(path, "is no attack_result.pt of BackdoorBench: expected a dict")
    return str(_of(path, root, "model_name", str))


def _node(path: Path, node: DictNode, key: str) -> DictNode:
    found = node.get(key)
    if not isinstance(found, DictNode):
        raise RefusedArchive(path, f"is no attack_result.pt of BackdoorBench (2022-12 or later): {key} is missing")
    return found


def _of(path: Path, node: DictNode, key: str, kind: type, otherwise: str = "") -> Any:
    found = node.get(key)
    if type(found) is not kind:
        reason = f"; {otherwise}" if otherwise else ""
        raise RefusedArchive(path, f"{key}: expected {kind.__name__}, found {shown(found, 60)}{reason}")
    return found


def _tail(path: Path, file: str, folder: str) -> str:
    """What lies below the record: ``bd_test_dataset/3/0.png``, whatever root the path had where it was made."""
    wanted, base = PurePosixPath(file.replace("\\", "/")), PurePosixPath(folder.replace("\\", "/"))
    below = wanted.relative_to(base).parts if wanted.is_relative_to(base) else wanted.parts[-2:]
    if not below or ".." in below or not base.name:
        raise RefusedArchive(path, f"the image {shown(file, 80)} does not lie in {shown(folder, 80)}")
    return PurePosixPath(base.name, *below).as_posix()


def _prepared(round_config: RoundConfig, attack: AttackResult) -> RoundConfig:
    """The round with the preprocessing of the record's data set, where the user does not say otherwise."""
    values = BACKDOORBENCH[attack.clean_data]
    usual: dict[str, Any] = {"scaling": "/255", "size": attack.size, "resize": "whole"}
    usual |= {name: list(numbers) for name, numbers in (("mean", values.mean), ("std", values.std)) if numbers}
    return replace(round_config, preprocessing={**usual, **round_config.preprocessing})


def _test_set(record: Path, directory: ModelDirectory, attack: AttackResult, num_classes: int) -> LabelledImages:
    """The clean test set, in the data set's own order."""
    if attack.clean_data not in _BATCHES:
        raise ExampleProblem(
            f"{record}: clean images are not part of a record; give the test set of {attack.clean_data} "
            '(--round-set layout.clean=["PATH"])'
        )
    file, key = _BATCHES[attack.clean_data]
    below = PurePosixPath(*[part for part in PurePosixPath(attack.data_path).parts if part not in (".", "..", "/")])
    tried = []
    for folder in (record, *record.parents[:MOST_FOLDERS_UP]):
        tried.append(folder / below / file)
        if tried[-1].is_file():
            return _batch(tried[-1], key, num_classes)
    raise ExampleProblem(
        f"{record}: clean images are not part of a record, and there is no {below / file} in it or in the "
        f"{MOST_FOLDERS_UP} folders above; put the data set there, or say where it is "
        '(--round-set layout.clean=["PATH"])'
    )


def _batch(path: Path, key: str, num_classes: int) -> LabelledImages:
    root = read_batch(path)
    images = array_of(root.get("data")) if isinstance(root, DictNode) else None
    labels: Inert = root.get(key) if isinstance(root, DictNode) else None
    if images is None or images.ndim != 2 or images.shape[1] != 3072 or not isinstance(labels, list):
        raise ExampleProblem(f"{path}: is no batch of CIFAR's Python version (data and {key})")
    if len(labels) != len(images) or any(type(label) is not int for label in labels):
        raise ExampleProblem(f"{path}: {len(labels)} labels for {len(images)} images")
    numbers = tuple(class_label(label, num_classes, path) for label in labels)
    pictures, _ = checked_arrays(path, images.reshape(-1, 3, 32, 32), None)
    names = tuple(f"{index:05d}" for index in range(len(images)))
    return LabelledImages(path, names, numbers, lambda: iter(pictures))


def _poisoned(
    record: Path,
    attack: AttackResult,
    opening: Opening,
    num_classes: int,
    indices: range | None,
    labels: list[int],
) -> tuple[ExampleSet | None, list[str]]:
    """``indices`` are the places of the clean test set; None where it is not known to be in the data set's order."""
    if not attack.poisoned:
        return None, ["the record has no poisoned test images"]
    where = record / ATTACK_FILE
    paths = [record / one.file for one in attack.poisoned]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ExampleProblem(f"{missing[0]}: no such image; {len(missing)} of {len(paths)} of {where.name} are missing")
    notes = []
    if indices is not None:
        if max(one.place for one in attack.poisoned) >= len(indices):
            last = max(one.place for one in attack.poisoned)
            raise ExampleProblem(f"{where}: has a poisoned image {last}, the clean test set only {len(indices)} images")
        other = sum(labels[one.place] != one.label for one in attack.poisoned)
        if other:
            raise ExampleProblem(
                f"{where}: the true labels of {other} of {len(paths)} poisoned images differ from those of the clean "
                "test set: it is another one, or in another order"
            )
    else:
        notes.append("the clean images were given: which of them the poisoned ones were made of is unknown")
    names = tuple(one.file for one in attack.poisoned)
    images = opening.pixels([LabelledImages(record, names, (), lambda: file_pictures(paths))])
    targets = [class_label(one.target, num_classes, where) for one in attack.poisoned]
    return ExampleSet(
        inputs={"x": images},
        labels=torch.tensor([class_label(one.label, num_classes, where) for one in attack.poisoned]),
        names=names,
        targets=torch.tensor(targets),
        prepare=opening.preparation,
        made_from=None if indices is None else tuple(one.place for one in attack.poisoned),
    ), notes


def _info(record: Path) -> Mapping[str, str]:
    """Texts of ``info.pickle``: the attack's name. Nothing depends on it."""
    try:
        root = read_object(record / "info.pickle")
    except TrojaiSeamError:
        return {}
    if not isinstance(root, DictNode):
        return {}
    return {key: shown(value, 60) for key, value in root.strings().items() if isinstance(value, str)}


KIND = AdapterKind(KEYS, read_examples)
