"""Example files and the labels beside them, shared by the adapters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetProblem, ExampleProblem, shown
from .model_directory import ModelDirectory, read_json


def example_files(directory: ModelDirectory, folders: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Files with one of ``suffixes`` in the first of ``folders`` that exists, sorted by name; none without a folder.

    Hidden files are no examples: archives that were made on a Mac hold a ``._name`` beside every file.
    """
    folder = directory.first_folder(folders)
    if folder is None:
        return []
    with os.scandir(folder) as entries:  # which mostly knows what is a file without asking for each
        files = (entry for entry in entries if not entry.name.startswith("."))
        names = [e.name for e in files if os.path.splitext(e.name)[1].lower() in suffixes and e.is_file()]
    return [folder / name for name in sorted(names)]


def first_bytes(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of an example, fewer of a shorter one; none of one that cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(count)
    except OSError:
        return b""


def sidecar(path: Path, patterns: Sequence[str]) -> tuple[Path, Any]:
    """The JSON document beside an example, with its path.

    Args:
        path: the example.
        patterns: file names to try, with ``{name}`` for the example's file name and ``{stem}`` for that without suffix.

    Raises:
        ExampleProblem: there is none, or it is unreadable.
    """
    candidates = [path.with_name(pattern.format(name=path.name, stem=path.stem)) for pattern in patterns]
    for candidate in candidates:
        if os.path.exists(candidate):
            try:
                return candidate, read_json(candidate)
            except DatasetProblem as problem:
                raise ExampleProblem(str(problem)) from None
    raise ExampleProblem(f"{path}: has no label; expected {' or '.join(c.name for c in candidates)} beside it")


def class_label(value: Any, num_classes: int, path: Path) -> int:
    """``value`` as a class index.

    Raises:
        ExampleProblem: it is no whole number, or the network has no such output.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExampleProblem(f"{path}: expected a class number as label, found {shown(repr(value), 60)}")
    if not 0 <= value < num_classes:
        raise ExampleProblem(f"{path}: label {value}, but the network has only classes 0 to {num_classes - 1}")
    return value
