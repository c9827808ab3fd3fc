"""What is known of models before any is opened: METADATA, configs and ground truth, as columns to select by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import TrojaiSeamError
from ..rounds import ModelDirectory, RoundConfig
from ..rounds.model_facts import readable_facts


def known_facts(directories: Sequence[ModelDirectory], round_config: RoundConfig) -> list[dict[str, Any]]:
    """One row per directory, under NIST's own names (``group.key`` inside a group of a config) and our stable ones.

    Where names meet, the config wins over METADATA; ``model_id`` and ``poisoned`` are always ours. METADATA is text:
    a column of it becomes numbers or truth values if all its values read as such.
    """
    rows: list[dict[str, Any]] = [dict(directory.metadata) for directory in directories]
    for name in {name for row in rows for name in row}:
        _give_type(rows, name)
    for row, directory in zip(rows, directories, strict=True):
        for name, value in readable_facts(directory, round_config).items():
            row.setdefault(name, value)
        try:
            row.update(_flat(directory.config))
            row["poisoned"] = directory.poisoned
        except TrojaiSeamError:
            row.setdefault("poisoned", None)  # an unreadable directory is selected by what else is known, and will fail
        row["model_id"] = directory.model_id
    return rows


def _give_type(rows: Iterable[dict[str, Any]], name: str) -> None:
    holders = [row for row in rows if isinstance(row.get(name), str)]
    for read in (_truth, int, float):
        try:
            values = [read(row[name].strip()) for row in holders]
        except ValueError:
            continue
        for row, value in zip(holders, values, strict=True):
            row[name] = value
        return


def _truth(text: str) -> bool:
    words = {"true": True, "false": False}
    if text.lower() not in words:
        raise ValueError
    return words[text.lower()]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value and prefix.count(".") < 8:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
