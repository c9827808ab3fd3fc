"""A model file and a folder of examples, wherever the server put them, as a subject.

On the server nothing has its usual place: the model lies in a folder called ``active`` without its id, its config is
reduced, a mitigated model lies one folder deeper than the config, and examples are given by path.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import DatasetProblem, ExampleProblem, UsageProblem, listed
from ..rounds import ModelDirectory, RoundConfig, detect_round, discover, get_round
from ..rounds.model_directory import CONFIG_NAMES
from ..rounds.opening import open_directory
from ..seeds import derive_seed
from ..tasks import Subject
from ..tasks.calling import all_outputs
from .messages import warn

IMAGE_FALLBACK = "mitigation-image-classification-jun2024"
SCALE_FILES = ("scale_params.npy", "/scale_params.npy")
SPELLINGS = (
    "clean-example-data",
    "clean_example_data",
    "example_data",
    "example-data",
    "new-clean-example-data",
    "example",
)
"""Names of the folder, or (with .json) file, of clean examples."""
LABELS_BESIDE = ("feature-vectors", "image-classification", "object-detection", "text-embeddings")
"""Adapters whose labels are in side-cars or file names, so that examples can be read without."""


@dataclass(frozen=True, eq=False)
class GivenModel(ModelDirectory):
    """A model file that need not be called ``model.pt``; ``path`` is the folder with its config.

    Whether it is poisoned is never looked up: that is what the server wants to know. What the line says outranks the
    config.
    """

    model_file: Path = Path("model.pt")
    said: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """That of the folder, with what the line says."""
        return {**self._read_config(keep_classes=False), **self.said}

    @property
    def model_path(self) -> Path:
        """The file that was given."""
        return self.model_file

    @property
    def poisoned(self) -> bool | None:
        """Unknown."""
        return None


def given_model(
    model_filepath: Path, examples: Path | None, training_dataset: Path | None, cls_token_is_first: bool = False
) -> GivenModel:
    """The model at ``model_filepath`` (a folder that holds ``model.pt`` will do) with the config nearest to it."""
    file = model_filepath / "model.pt" if model_filepath.is_dir() else model_filepath
    file = file.absolute()
    beside = [] if examples is None else list(examples.absolute().parents[: 2 if examples.is_file() else 1])
    nearby = [file.parent, *beside, file.parent.parent]
    home = next((folder for folder in nearby if any((folder / name).is_file() for name in CONFIG_NAMES)), file.parent)
    root = home.parent.parent if home.parent.name == "models" else home.parent
    said = {"cls_token_is_first": True} if cls_token_is_first else {}
    return GivenModel(path=home, model_id=home.name, root=training_dataset or root, model_file=file, said=said)


def find_round(directory: GivenModel, name: str | None, training_dataset: Path | None, examples: Path) -> RoundConfig:
    """The round called ``name``; else what the model's folder looks like; else the training set's; else, for images,
    the mitigation round.

    Raises:
        DatasetProblem: nothing tells.
        UsageProblem: no round is called so.
    """
    if name is not None:
        return get_round(name)
    try:
        return detect_round([replace(directory, root=directory.path)])
    except DatasetProblem as problem:
        if training_dataset is not None and training_dataset.is_dir():
            return detect_round(discover(training_dataset))
        files = examples.iterdir() if examples.is_dir() else ()
        if any(path.suffix.lower() in (".png", ".jpg", ".jpeg") for path in files):
            warn(f"{directory.path}: the round is not told by folder or config; taken for {IMAGE_FALLBACK}")
            return get_round(IMAGE_FALLBACK)
        raise problem


def with_examples(round_config: RoundConfig, examples: Path, scale: Path | None) -> RoundConfig:
    """The round reading its clean examples from the folder or JSON file ``examples``, and no poisoned ones at all."""

    def edit(document: dict[str, Any]) -> None:
        if "layout" in document:
            document["layout"] = {"clean": [str(examples.absolute())], "poisoned": []}
        if scale is not None and "scale_file" in document.get("preprocessing", {}):
            document["preprocessing"]["scale_file"] = str(scale.absolute())
        if "detect" in document:  # the round itself; its variants do not decide this
            document["poisoned_examples"] = "none"

    return _edited(round_config, edit)


def with_text_parts(
    round_config: RoundConfig, tokenizer: Path | None, embedding: Path | None, tokenizers: Path | None = None
) -> RoundConfig:
    """The round with the tokenizer and the frozen embedding that the line names, where it has any; without a tokenizer,
    with the one of each model in the folder ``tokenizers``."""
    given = {"tokenizer": tokenizer, "embedding": embedding}

    def edit(document: dict[str, Any]) -> None:
        parts = document.get("preprocessing", {})
        if tokenizers is not None and isinstance(parts.get("tokenizer"), dict):
            parts["tokenizer"]["folders"].insert(0, str(tokenizers.absolute()))
        for name, path in given.items():
            if path is not None and name in parts:
                parts[name] = str(path.absolute())

    return _edited(round_config, edit)


def without_labels(round_config: RoundConfig) -> RoundConfig:
    """The round reading examples without looking for their labels; as it is where labels are a part of the examples
    (sentences and records)."""

    def edit(document: dict[str, Any]) -> None:
        if document.get("adapter") in LABELS_BESIDE:
            document["examples"]["labels"] = "unknown"

    return _edited(round_config, edit)


def _edited(round_config: RoundConfig, edit: Callable[[dict[str, Any]], None]) -> RoundConfig:
    """``edit`` applied to the round's document and to each of its variants, and the result checked again.

    Raises:
        ConfigProblem: this kind of round cannot be read so.
    """
    document = copy.deepcopy(dict(round_config.document))
    for part in (document, *document.get("variants", {}).get("cases", {}).values()):
        edit(part)
    return RoundConfig.from_document(document, round_config.name)


def find_scale(given: Path | None, *folders: Path | None) -> Path | None:
    """The feature scaling of the PDF round: the given file, else the one in the first folder that holds one."""
    if given is not None:
        return given
    found = (folder / name for folder in folders if folder is not None for name in SCALE_FILES)
    return next((path for path in found if path.is_file()), None)


def open_given(
    directory: GivenModel, round_config: RoundConfig, device: str, needs_labels: bool = True
) -> tuple[Subject, bool]:
    """The subject, and whether its labels are ground truth.

    Where examples come without labels (the mitigation round gave one image and nothing else), what the model as
    shipped answers to them is taken instead: clean examples are ones that it gets right.

    Raises:
        TrojaiSeamError: the model or the examples cannot be used; where that was tried without labels too, both
            reasons.
    """
    unlabelled = without_labels(round_config)
    if not needs_labels:
        return open_directory(directory, unlabelled, device), False
    try:
        return open_directory(directory, round_config, device), True
    except ExampleProblem as problem:
        if unlabelled.document == round_config.document:
            raise
        told = problem
    try:
        subject = open_directory(directory, unlabelled, device)
    except ExampleProblem as problem:
        if str(problem) == str(told):
            raise
        raise ExampleProblem(f"{told}; without labels: {problem}") from None
    warn(f"examples without usable labels ({told}); taking what the model itself answers")
    return _labelled_by_itself(subject), False


def named_round(given: argparse.Namespace) -> tuple[GivenModel, RoundConfig]:
    """The model that a line of ``mitigate`` or ``test`` names, and its round; nothing of it is read but its config.

    Raises:
        TrojaiSeamError: no round is told, or none is called so.
    """
    examples, training = given.dataset_dirpath, given.round_training_dataset_dirpath
    directory = given_model(given.model_filepath, examples, training)
    return directory, find_round(directory, given.round, training, examples)


def open_for_mitigation(
    given: argparse.Namespace, device: str, needs_labels: bool = True
) -> tuple[Subject, RoundConfig]:
    """The subject that a line of ``mitigate`` or ``test`` names, and its round.

    Raises:
        TrojaiSeamError: the model or the examples cannot be used.
    """
    examples, training = given.dataset_dirpath, given.round_training_dataset_dirpath
    directory, round_config = named_round(given)
    scale = find_scale(given.scale_parameters_filepath, directory.path, directory.path.parent.parent, training)
    subject, _ = open_given(directory, with_examples(round_config, examples, scale), device, needs_labels)
    return subject, round_config


def _labelled_by_itself(subject: Subject) -> Subject:
    outputs = all_outputs(subject.model, subject.task, subject.clean)
    predictions = subject.task.predictions(outputs, subject.clean)
    return replace(subject, clean=replace(subject.clean, labels=predictions))


def choose_device(name: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; the CPU, with a warning, where there is no such GPU."""
    if name == "cpu":
        return "cpu"
    wanted = torch.device("cuda" if name == "auto" else name)
    if wanted.type == "cuda" and (wanted.index or 0) < torch.cuda.device_count():
        return str(wanted)
    if name != "auto":
        warn(f"--device {name}: not here; going on with the CPU")
    return "cpu"


def seed_of(subject: Subject, seed: int, purpose: str) -> int:
    """A seed that follows the model's content: on the server every model lies in the same folder."""
    return derive_seed(seed, subject.facts["model_sha256"], purpose)


def required_folder(path: Path | None, what: str, or_json: bool = False) -> Path:
    """``path`` if it is a folder, or (``or_json``) a JSON file.

    Raises:
        UsageProblem: it is not.
    """
    if path is not None and (path.is_dir() or (or_json and path.suffix.lower() == ".json" and path.is_file())):
        return path
    raise UsageProblem(f"{what} {path or ''}: no such folder{' or JSON file' if or_json else ''}".replace(" :", ":"))


def clean_examples(given: Path | None, *model_folders: Path) -> Path:
    """The folder or JSON file of clean examples: the one that is given (``X.json`` may stand for the folder ``X``),
    else one of a known spelling beside the model.

    Raises:
        UsageProblem: there is none; says where it was looked for.
    """
    if given is not None:
        is_json = given.suffix.lower() == ".json"
        if given.is_dir() or (is_json and given.is_file()):
            return given
        if is_json and given.with_suffix("").is_dir():
            return given.with_suffix("")
    # A folder of any spelling before a file: downloads of rounds 8 and 9 have the files in one.
    named = [*SPELLINGS, *(f"{name}.json" for name in SPELLINGS)]
    found = (folder / name for folder in model_folders for name in named if (folder / name).exists())
    place = next(found, None)
    if place is None:
        raise UsageProblem(
            f"{given or model_folders[0]}: no clean examples: expected a folder or JSON file called "
            f"{listed(SPELLINGS, most=20)} in {listed(dict.fromkeys(map(str, model_folders)), most=5)}"
        )
    return place
