"""Rounds whose models do several things: which of the round's configs a model needs."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..errors import DatasetProblem, listed, shown
from .config import RoundConfig
from .model_directory import ModelDirectory


def variant_of(round_config: RoundConfig, directory: ModelDirectory, class_path: str) -> RoundConfig:
    """The case for one model: the one that config.json or METADATA.csv names, else the one that its class belongs to.

    Raises:
        DatasetProblem: neither tells, the config names no case of the round, or the two contradict each other.
    """
    if not round_config.variants:
        return round_config
    key, cases = round_config.variants["key"], round_config.variants["cases"]
    holding = [v for v, case in cases.items() if any(fnmatchcase(class_path, p) for p in case["class_paths"])]
    named = directory.config.get(key, directory.told.get(key))
    if named is None:
        if len(holding) == 1:
            return round_config.cases[holding[0]]
        raise DatasetProblem(
            f"{directory.path}: what the model does is unknown: no {key} in its config.json, and {shown(class_path)} "
            f"is of no known kind; put {key} ({listed(cases)}) into config.json"
        )
    if not isinstance(named, str) or named not in cases:
        raise DatasetProblem(
            f"{directory.path}: {key} is {shown(repr(named), 60)}; {round_config.name} has {listed(cases)}"
        )
    if holding and named not in holding:
        raise DatasetProblem(
            f"{directory.path}: {key} is {named}, but model.pt is a {shown(class_path)}, for {listed(holding)}"
        )
    return round_config.cases[named]
