"""Where the records of BackdoorBench are: a folder with ``attack_result.pt``, below it what defences made of it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DatasetProblem, shown
from .model_directory import ModelDirectory

ATTACK_FILE, DEFENSE_FILE = "attack_result.pt", "defense_result.pt"
ROUND = "backdoorbench"
MOST_LEVELS = 4


def find_records(dataset: Path) -> list[ModelDirectory]:
    """Every result in ``dataset``: attacks by the name of their folder (by their path where names repeat), and
    ``…/defense/ft`` of each. None where there are no records."""
    records = _walk(dataset)
    names = [record.name for record in records]
    found = []
    for record in records:
        name = record.name if names.count(record.name) == 1 else record.relative_to(dataset).as_posix()
        found.append(ModelDirectory(record, name, dataset, file=ATTACK_FILE, settings={"poisoned": True}))
        for path in sorted((record / "defense").rglob(DEFENSE_FILE)):
            own = f"{name}/{path.parent.relative_to(record).as_posix()}"
            found.append(ModelDirectory(path.parent, own, dataset, file=DEFENSE_FILE, settings={"poisoned": True}))
    return sorted(found, key=lambda one: one.model_id)


def one_record(path: Path) -> ModelDirectory | None:
    """The result in a record's folder, or in the file of one; None if it is none."""
    if path.name in (ATTACK_FILE, DEFENSE_FILE) and path.is_file():
        folder, file = path.parent, path.name
    else:
        folder = path
        file = next((name for name in (DEFENSE_FILE, ATTACK_FILE) if (path / name).is_file()), "")
    if not file:
        return None
    directory = ModelDirectory(folder, folder.name, folder.parent, file=file, settings={"poisoned": True})
    record = record_of(directory)
    below = folder.relative_to(record).as_posix()
    name = record.name if below == "." else f"{record.name}/{below}"
    return ModelDirectory(folder, name, record.parent, file=file, settings={"poisoned": True})


def record_of(directory: ModelDirectory) -> Path:
    """The folder of ``attack_result.pt``, which a defence's result lies below.

    Raises:
        DatasetProblem: there is none.
    """
    for folder in (directory.path, *directory.path.parents[:MOST_LEVELS]):
        if (folder / ATTACK_FILE).is_file():
            return folder
    raise DatasetProblem(f"{shown(directory.model_path)}: no {ATTACK_FILE} in its folder or the {MOST_LEVELS} above it")


def _walk(dataset: Path) -> list[Path]:
    found, level = [], [dataset]
    for _ in range(MOST_LEVELS):
        below: list[Path] = []
        for folder in level:
            if (folder / ATTACK_FILE).is_file():
                found.append(folder)
                continue
            try:
                below += sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
            except OSError as problem:
                raise DatasetProblem(f"{folder}: cannot be listed: {problem.strerror}") from None
        level = below
    return found
