"""Rounds that users describe themselves: a ``round.json`` in the dataset folder, or a file named with ``--round``.

The schema is that of the shipped rounds; what a user need not say is filled in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigProblem, DatasetProblem, listed
from .backdoorbench_records import ATTACK_FILE, ROUND, find_records, one_record
from .catalogue import detect_round, get_round
from .config import RoundConfig
from .discovery import discover, model_directory
from .model_directory import ModelDirectory, read_json

FILE_NAME = "round.json"
ENDINGS = (".pt", ".pth", ".pth.tar", ".pt.tar", ".ckpt", ".pkl")
ADAPTER, RECORDS = "labelled-images", "backdoorbench"

_DEFAULTS: Mapping[str, Any] = {
    "name": "own-models",
    "aliases": [],
    "source": "a file of the user's",
    "adapter": ADAPTER,
    "task": "classification",
    "preset": "images-refit",
    "detect": {"names": [], "config_keys": []},
}
_GROUPS: Mapping[str, Mapping[str, Any]] = {
    "layout": {"clean": ["clean", "clean-example-data"], "poisoned": []},
    "examples": {"suffixes": [".png", ".jpg", ".jpeg", ".npy"]},
    "preprocessing": {"scaling": "/255"},
}


def own_round(document: Any, source: str, folder: Path) -> RoundConfig:
    """A round of the user's as a config; ``folder`` is where its relative paths are looked for.

    Raises:
        ConfigProblem: it does not fit the schema.
    """
    if not isinstance(document, dict):
        raise ConfigProblem(source, [f"expected a JSON object, found {type(document).__name__}"])
    filled = {**_DEFAULTS, "folder": str(folder), **document}
    if "variants" in document:
        filled = {key: value for key, value in filled.items() if key in document or key not in ("adapter", "task")}
    elif filled["adapter"] == ADAPTER:
        for group, defaults in _GROUPS.items():
            if isinstance(filled.get(group, {}), dict):
                filled[group] = {**defaults, **filled.get(group, {})}
    filled.setdefault("title", str(filled["name"]))
    return RoundConfig.from_document(filled, source)


def read_own_round(path: Path) -> RoundConfig:
    """The round in a file of the user's.

    Raises:
        DatasetProblem: it is no readable JSON.
        ConfigProblem: it does not fit the schema.
    """
    return own_round(read_json(path), str(path), path.resolve().parent)


def is_own_round(name: str) -> bool:
    """Whether ``--round NAME`` means a file."""
    return name.endswith(".json")


def round_beside(dataset: Path) -> RoundConfig | None:
    """The round that a ``round.json`` in the dataset folder describes, if there is one."""
    path = dataset / FILE_NAME
    return read_own_round(path) if os.path.isfile(path) else None  # also where the name is too long for a path


def find_models(dataset: Path, round_config: RoundConfig) -> list[ModelDirectory]:
    """The models of ``dataset``: those that the round lists, else the folder's model files, else model directories.

    Raises:
        DatasetProblem: there are none, or a listed one does not exist.
    """
    settings = {} if round_config.network is None else {"network": round_config.network}
    if round_config.models:
        return [_listed_model(dataset, round_config, name, settings) for name in sorted(round_config.models)]
    if round_config.adapter == RECORDS:
        records = [with_settings(record, settings) for record in find_records(dataset)]
        if not records:
            raise DatasetProblem(f"{dataset}: holds no {ATTACK_FILE} of BackdoorBench, up to four levels down")
        return records
    if round_config.adapter == ADAPTER:
        settings |= _truth(round_config)
    patterns = round_config.layout.get("models", ())
    if patterns or (round_config.adapter == ADAPTER and os.path.isdir(dataset)):
        files = _files(dataset, patterns)
        if files:
            return _named(dataset, files, settings)
        if patterns:
            raise DatasetProblem(f"{dataset}: holds no model file that fits {listed(patterns)} (layout.models)")
    found = discover(dataset)
    return [with_settings(directory, settings) for directory in found] if settings else found


def with_settings(directory: ModelDirectory, settings: Mapping[str, Any]) -> ModelDirectory:
    """The same model with more that is said of it."""
    return replace(directory, settings={**directory.settings, **settings})


def with_network(round_config: RoundConfig, name: str) -> RoundConfig:
    """The round with a network for all its models, so that the plan knows of it."""
    return RoundConfig.from_document({**round_config.document, "network": name}, f"--network {name}")


def detect_models(dataset: Path) -> tuple[list[ModelDirectory], RoundConfig]:
    """The models of a dataset of which nothing is said, and the round that they look like.

    Raises:
        DatasetProblem: there are none, or they look like no round or several.
    """
    try:
        found = discover(dataset)
    except DatasetProblem:
        records = find_records(dataset) if os.path.isdir(dataset) else []
        if not records:
            raise
        return records, get_round(ROUND)
    return found, detect_round(found)


def locate(path: Path, name: str | None = None) -> tuple[ModelDirectory, RoundConfig]:
    """One model by its folder or its file, and its round: the one called ``name``, else the one described beside it or
    in the folder above, else the one that it looks like.

    Raises:
        DatasetProblem: there is no such model, or nothing tells its round.
        UsageProblem: no round is called so.
        ConfigProblem: a round of the user's does not fit the schema.
    """
    path = Path(os.path.abspath(path))
    folder = path if path.is_dir() else path.parent
    if name is None:
        beside = ((where, round_beside(where)) for where in (folder, folder.parent))
        dataset, round_config = next(((where, one) for where, one in beside if one is not None), (folder, None))
    else:
        dataset, round_config = folder, read_own_round(Path(name)) if is_own_round(name) else get_round(name)
    if round_config is not None and (round_config.models or round_config.adapter == ADAPTER):
        known = find_models(dataset, round_config)
        found = next((one for one in known if path in (one.path, one.model_path)), None)
        if found is not None:
            return found, round_config
        return (model_directory(path) if path.is_dir() else one_model(path, _truth(round_config))), round_config
    record = one_record(path)
    if record is not None and (round_config is None or round_config.adapter == RECORDS):
        return record, round_config or get_round(ROUND)
    directory = model_directory(path)
    return directory, round_config or detect_round([directory])


def one_model(path: Path, settings: Mapping[str, Any] | None = None) -> ModelDirectory:
    """The model in one file, of whatever name.

    Raises:
        DatasetProblem: there is no such file.
    """
    if not path.is_file():
        found = "is a folder; give the model's file" if path.is_dir() else "no such model file"
        raise DatasetProblem(f"{path}: {found}")
    path = path.absolute()
    return ModelDirectory(path.parent, _stem(path.name), path.parent, file=path.name, settings=settings or {})


def _listed_model(dataset: Path, round_config: RoundConfig, name: str, settings: Mapping[str, Any]) -> ModelDirectory:
    one = round_config.models[name]
    own = {key: one[key] for key in ("network", "poisoned") if key in one}
    settings = {**settings, **_truth(round_config.of_model(name)), **one.get("facts", {}), **own}
    if "file" not in one:
        folder = dataset / name
        if not folder.is_dir():
            raise DatasetProblem(f"{dataset}: models.{name} has no file, and there is no folder {name}")
        return ModelDirectory(folder, name, dataset, settings=settings)
    path = dataset / one["file"]
    if not path.is_file():
        raise DatasetProblem(f"{path}: no such model file (models.{name} of the round)")
    return ModelDirectory(path.parent, name, dataset, file=path.name, settings=settings)


def _truth(round_config: RoundConfig) -> dict[str, Any]:
    """Whoever describes an attack says that there is one."""
    attacked = "trigger" in round_config.attack or bool(round_config.layout.get("poisoned"))
    return {"poisoned": True} if attacked else {}


def _files(dataset: Path, patterns: Iterable[str]) -> list[Path]:
    if patterns:
        found = {path for pattern in patterns for path in dataset.glob(pattern) if path.is_file()}
    else:
        entries = dataset.iterdir()
        found = {path for path in entries if path.name.lower().endswith(ENDINGS) and path.is_file()}
    return sorted(path for path in found if not path.name.startswith("."))


def _named(dataset: Path, files: list[Path], settings: Mapping[str, Any]) -> list[ModelDirectory]:
    """Ids are file names without ending; with folders in front where they repeat."""
    names = [_stem(path.name) for path in files]
    if len(set(names)) < len(names):
        names = [_stem(path.relative_to(dataset).as_posix()) for path in files]
    if len(set(names)) < len(names):
        names = [path.relative_to(dataset).as_posix() for path in files]
    return [
        ModelDirectory(path.parent, name, dataset, file=path.name, settings=settings)
        for path, name in zip(files, names, strict=True)
    ]


def _stem(name: str) -> str:
    ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len, default="")
    return name[: len(name) - len(ending)] if ending else name
