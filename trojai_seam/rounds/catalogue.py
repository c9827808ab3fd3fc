"""All shipped rounds by name and alias, and which of them a dataset belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ..errors import DatasetProblem, TrojaiSeamError, listed
from ..registry import Registry
from .config import RoundConfig, config_folder, load_config
from .model_directory import ModelDirectory

LOOKED_AT = 20


@cache
def _catalogue() -> Registry[RoundConfig]:
    rounds: Registry[RoundConfig] = Registry("round")
    for path in sorted(config_folder().glob("*.json")):
        if path.name == "schema.json":
            continue
        config = load_config(path)
        for name in (config.name, *config.aliases):
            rounds.add(name, config)
    return rounds


def list_rounds() -> list[RoundConfig]:
    """Every shipped round, by NIST's name."""
    rounds = _catalogue()
    return [config for name in rounds if (config := rounds.get(name)).name == name]


def get_round(name: str) -> RoundConfig:
    """The round with this name or alias.

    Raises:
        UsageProblem: there is none; near names are listed.
    """
    return _catalogue().get(name)


def detect_round(directories: Iterable[ModelDirectory]) -> RoundConfig:
    """The one round that the model directories look like, judged by folder names, then by config keys.

    Raises:
        DatasetProblem: none or several fit; says which, and to use ``--round``.
    """
    looked_at = list(directories)[:LOOKED_AT]
    rounds = list_rounds()
    where = looked_at[0].root if looked_at else "dataset"
    path = str(looked_at[0].path.resolve()) if looked_at else ""
    named = [r for r in rounds if any(name in part for name in r.detect["names"] for part in path.split("/"))]
    fitting = named or [r for r in rounds if any(_fits(r, d) for d in looked_at)]
    if len(fitting) == 1:
        return fitting[0]
    found = f"looks like {listed(r.name for r in fitting)}" if fitting else "looks like no known round"
    known = listed((r.name for r in rounds), most=40)
    raise DatasetProblem(f"{where}: {found}; say which with --round (known: {known})")


def _fits(round_config: RoundConfig, directory: ModelDirectory) -> bool:
    detect = round_config.detect
    try:
        config = directory.config
    except TrojaiSeamError:
        return False  # it will be one failed row; the others may still tell
    keys = detect["config_keys"]
    return (
        bool(keys)
        and all(key in config for key in keys)
        and all(config.get(key) == value for key, value in detect.get("config_values", {}).items())
    )
