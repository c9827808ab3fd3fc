"""All shipped rounds by name and alias, and which of them a dataset belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ..errors import DatasetProblem, TrojaiSeamError, UsageProblem, listed
from ..registry import Registry
from .config import RoundConfig, config_folder, load_config
from .json_records import record_files, records_in
from .model_directory import ModelDirectory
from .out_of_reach import round_called, round_of

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
        UsageProblem: there is none; near names are listed, and of NIST's rounds that are out of reach it says why.
    """
    if name not in _catalogue() and (told := round_called(name)):
        raise UsageProblem(told)
    return _catalogue().get(name)


def detect_round(directories: Iterable[ModelDirectory]) -> RoundConfig:
    """The one round that the model directories look like, judged by folder names, then by config keys.

    Raises:
        DatasetProblem: none or several fit; says which, and to use ``--round``. Or they are of a round of NIST's that
            is out of reach; says why.
    """
    looked_at = list(directories)[:LOOKED_AT]
    rounds = list_rounds()
    where = looked_at[0].root if looked_at else "dataset"
    parts = looked_at[0].path.resolve().parts if looked_at else ()
    named = [r for r in rounds if any(_is_named(r, part) for part in parts)]
    fitting = named or [r for r in rounds if any(_fits(r, d) for d in looked_at)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and (told := round_of(looked_at)):
        raise DatasetProblem(told)
    found = f"looks like {listed(r.name for r in fitting)}" if fitting else "looks like no known round"
    known = listed((r.name for r in rounds), most=40)
    raise DatasetProblem(f"{where}: {found}; say which with --round (known: {known})")


def _is_named(round_config: RoundConfig, folder: str) -> bool:
    """Does a name of the round occur in the folder's? ``round1`` does not occur in ``round10-train``."""
    return any(re.search(rf"{re.escape(name)}(?![0-9])", folder) for name in round_config.detect["names"])


def _fits(round_config: RoundConfig, directory: ModelDirectory) -> bool:
    detect = round_config.detect
    try:
        contents = (detect, *detect.get("alternatives", ()))
        return any(_holds(content, directory) and _shows(content, directory, round_config) for content in contents)
    except TrojaiSeamError:
        return False  # it will be one failed row; the others may still tell


def _holds(content: Mapping[str, Any], directory: ModelDirectory) -> bool:
    config, metadata = directory.config, directory.told
    keys, table_keys = content.get("config_keys", ()), content.get("metadata_keys", ())
    return (
        bool(keys or table_keys)
        and all(key in config for key in keys)
        and all(key in metadata for key in table_keys)
        and all(_has_value(config.get(key), value) for key, value in content.get("config_values", {}).items())
        and ("config_any" not in content or _some_key(config, content["config_any"]))
        and not _some_key(config, content.get("config_absent", ()))
        and ("folders_any" not in content or directory.first_folder(content["folders_any"]) is not None)
        and directory.first_folder(content.get("folders_absent", ())) is None
    )


def _shows(content: Mapping[str, Any], directory: ModelDirectory, round_config: RoundConfig) -> bool:
    """What is said of the keys of the first clean record, for rounds with records."""
    wanted, unwanted = content.get("example_keys", ()), content.get("example_keys_absent", ())
    if not wanted and not unwanted:
        return True
    files = record_files(directory, round_config.layout["clean"])
    records = records_in(files[0]) if files else []
    return bool(records) and all(k in records[0] for k in wanted) and not any(k in records[0] for k in unwanted)


def _has_value(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, str) and any(fnmatchcase(found, pattern) for pattern in wanted)
    return bool(found == wanted)


def _some_key(config: Mapping[str, Any], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns for key in config)
