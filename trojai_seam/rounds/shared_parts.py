"""Files that many models of a dataset share: tokenizers and frozen embeddings, in folders beside the models."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ExampleProblem, listed
from .config import RoundConfig
from .model_directory import ModelDirectory


class Search(NamedTuple):
    """``found`` is the file, or None; ``names`` are those that it could have had."""

    found: Path | None
    names: Sequence[str]


def find_part(directory: ModelDirectory, part: str | Mapping[str, Sequence[str]]) -> Search:
    """A shared file by its folder and name, from the model directory up to the folder above the dataset.

    The folder above, because ``dataset/models`` may be what the user calls the dataset.

    Args:
        directory: the model directory; its config and row of METADATA.csv fill in the names.
        part: a path, or ``folders`` and ``names``, where ``{key}`` stands for a value of the config, ``/`` as ``-``.
    """
    if isinstance(part, str):
        path = Path(part)
        return Search(path if path.is_file() else None, [part])
    names = [name for pattern in part["names"] if (name := _filled(pattern, directory)) is not None]
    for folder in _upwards(directory):
        for place in part["folders"]:
            for name in names:
                if (folder / place / name).is_file():
                    return Search(folder / place / name, names)
    return Search(None, names)


def need_part(directory: ModelDirectory, part: str | Mapping[str, Sequence[str]], kind: str) -> Path:
    """As :func:`find_part`, for a file that must be there.

    Args:
        directory: the model directory.
        part: where to look.
        kind: ``tokenizer`` or ``embedding``, for the message.

    Raises:
        ExampleProblem: it is not; says which names were looked for, and where.
    """
    found, names = find_part(directory, part)
    if found is not None:
        return found
    if isinstance(part, str):
        raise ExampleProblem(f"{part}: no such file; expected the {kind} of {directory.path}")
    looked = f"{listed(names, most=6)} in {listed(part['folders'])}" if names else "no name: its config names none"
    top = os.path.abspath(directory.root.parent)
    raise ExampleProblem(
        f"{directory.path}: the {kind} is missing: looked for {looked}, from here up to {top}; "
        f"put it there, or name the file with --round-set preprocessing.{kind}=FILE"
    )


def _upwards(directory: ModelDirectory) -> Sequence[Path]:
    # Not resolved: where a model directory is a link, its dataset is around the link.
    here, top = Path(os.path.abspath(directory.path)), Path(os.path.abspath(directory.root)).parent
    above = [folder for folder in here.parents if folder == top or top in folder.parents]
    return [here, *above]


def _filled(pattern: str, directory: ModelDirectory) -> str | None:
    """The pattern with its keys filled in; None if one has no value, or a value that is no plain file name."""
    values: dict[str, str] = {}
    for key in re.findall(r"{(\w+)}", pattern):
        value: Any = directory.config.get(key, directory.told.get(key))
        if not isinstance(value, str) or not value.strip():
            return None
        values[key] = value.strip().replace("/", "-").replace("\\", "-")
    name = re.sub(r"{(\w+)}", lambda found: values[found[1]], pattern)
    # The config is untrusted; a name longer than any file system's is an error even to look for.
    return name if "\0" not in name and len(name.encode("utf-8", "replace")) < 256 and name not in (".", "..") else None


def check_scale_file(directories: Sequence[ModelDirectory], round_config: RoundConfig) -> None:
    """Whether a file that all models of a dataset need is there for any of them: said once, before the first is opened.

    Raises:
        ExampleProblem: the round scales features, and the file with the scales is missing for all.
    """
    name = round_config.preprocessing.get("scale_file")
    if name is None or not directories or any(directory.find_upwards(name) is not None for directory in directories):
        return
    raise missing_scale_file(name, str(directories[0].root), directories[0].root)


def missing_scale_file(name: str, where: str, top: Path) -> ExampleProblem:
    """Says what is missing, and where it may be put."""
    return ExampleProblem(
        f"{where}: needs the round's {Path(name).name} (row 0 mean, row 1 standard deviation), not found from the "
        f"models up to {top}; put it into the dataset folder or give --scale-params FILE"
    )
