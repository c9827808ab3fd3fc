"""Find model directories below a dataset folder, however the archive was unpacked."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DatasetProblem, shown
from .metadata import read_metadata
from .model_directory import ModelDirectory

ID_FOLDER = re.compile(r"id-\d{8}")
MOST_LEVELS = 4
MODEL_LEVELS = ("models", "model")
"""Names of the folder between a dataset and its models."""


def discover(dataset: Path) -> list[ModelDirectory]:
    """All model directories of ``dataset``, sorted by id.

    A model directory is a folder named ``id-XXXXXXXX``, or one that holds a ``model.pt``; ``dataset`` may be one
    itself, or the ``models`` folder of a dataset. They are looked for up to four levels down, never inside each other.
    Where an id occurs twice (two splits below one folder) the path below the dataset becomes the id.

    Raises:
        DatasetProblem: no such folder, or no model directory in it.
    """
    if not os.path.exists(dataset):  # unlike Path.exists, no error for a name that is too long
        raise DatasetProblem(f"{dataset}: no such folder; expected a TrojAI dataset or a model directory")
    if not dataset.is_dir():
        raise DatasetProblem(f"{dataset}: is a file; expected the folder of a TrojAI dataset or of one model")
    if _is_model_directory(dataset):
        return [model_directory(dataset)]
    found = _walk(dataset)
    if not found:
        around = next((folder for folder in dataset.absolute().parents if _is_model_directory(folder)), None)
        if around is not None:
            raise DatasetProblem(f"{dataset}: lies inside the model directory {around}; give that, or its dataset")
        raise DatasetProblem(
            f"{dataset}: holds no model directory (a folder named id-XXXXXXXX, or one with a model.pt, "
            f"up to {MOST_LEVELS} levels down)"
        )
    root = dataset.parent if dataset.name in MODEL_LEVELS else dataset  # what all models share lies above them
    names = Counter(path.name for path in found)
    tables: dict[Path, Mapping[str, Mapping[str, Any]]] = {}
    directories = []
    for path in found:
        model_id = path.name if names[path.name] == 1 else path.relative_to(dataset).as_posix()
        metadata = _metadata_of(path, root, tables).get(path.name, {})
        directories.append(ModelDirectory(path=path, model_id=model_id, root=root, metadata=metadata))
    return sorted(directories, key=lambda d: d.model_id)


def model_directory(path: Path) -> ModelDirectory:
    """One model directory by its own path (or that of its ``model.pt``, or of a dataset with one model), with the
    dataset root inferred from above.

    Raises:
        DatasetProblem: it does not exist, or is something else; says what.
    """
    if path.name == "model.pt" and os.path.isfile(path):
        path = path.parent
    if os.path.isfile(path):
        raise DatasetProblem(f"{shown(path)}: is a file; give its folder, in which the model is called model.pt")
    if not os.path.isdir(path):
        raise DatasetProblem(f"{shown(path)}: no such model directory")
    path = Path(os.path.abspath(path))
    if not _is_model_directory(path) and (inside := _walk(path)):
        if len(inside) > 1:
            raise DatasetProblem(
                f"{shown(path)}: is a dataset with {len(inside)} models; give one of them, such as {min(inside)}"
            )
        path = inside[0]
    # Either dataset/id-0 or dataset/models/id-0; a METADATA.csv or the name of the level decides.
    root = path.parent.parent if path.parent.name in MODEL_LEVELS else path.parent
    metadata = _metadata_of(path, root, {}).get(path.name, {})
    return ModelDirectory(path=path, model_id=path.name, root=root, metadata=metadata)


def _is_model_directory(path: Path) -> bool:
    return bool(ID_FOLDER.fullmatch(path.name)) or (path / "model.pt").exists()


def _walk(dataset: Path) -> list[Path]:
    found: list[Path] = []
    level = [dataset]
    for _ in range(MOST_LEVELS):
        below: list[Path] = []
        for folder in level:
            try:
                entries = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
            except OSError as problem:
                raise DatasetProblem(f"{folder}: cannot be listed: {problem.strerror}") from None
            for entry in map(Path, entries):
                (found if _is_model_directory(entry) else below).append(entry)
        level = below
    return found


def _metadata_of(
    path: Path, dataset: Path, tables: dict[Path, Mapping[str, Mapping[str, Any]]]
) -> Mapping[str, Mapping[str, Any]]:
    """The nearest METADATA.csv above a model directory, read once per file."""
    for folder in path.parents:
        table = folder / "METADATA.csv"
        if table.is_file():
            if table not in tables:
                tables[table] = read_metadata(table)
            return tables[table]
        if folder == dataset:
            break
    return {}
