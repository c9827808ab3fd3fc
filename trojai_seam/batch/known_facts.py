"""What is known of models before any is opened: METADATA, configs and ground truth, as columns to select by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..rounds import ModelDirectory, RoundConfig
from ..rounds.model_directory import says_nothing
from ..rounds.model_facts import readable_facts
from ..rounds.raw_values import flat


def known_facts(directories: Sequence[ModelDirectory], round_config: RoundConfig) -> list[dict[str, Any]]:
    """One row per directory: the columns of ``results.csv`` that NIST's files tell, and all that these files say.

    What a file says stands under its own name (``group.key`` inside a group of a config), and once more as
    ``config.KEY`` or ``metadata.KEY``. Where names meet, our columns win over the config, and that over METADATA; so a
    column has the same value here as in the rows and groups of a run. METADATA is text: a column of it becomes numbers
    or truth values if all its values read as such, and a cell that is empty, ``None`` or ``nan`` is missing, as for
    ``pandas.read_csv``.
    """
    tables = [_cells(directory.metadata) for directory in directories]
    for name in {name for table in tables for name in table}:
        _give_type(tables, name)
    rows = []
    for directory, table in zip(directories, tables, strict=True):
        facts = readable_facts(directory, round_config)
        config = flat(json.loads(facts.pop("nist_config") or "{}"))
        del facts["nist_metadata"]
        row = {**table, **config}
        row.update({f"metadata.{name}": value for name, value in table.items()})
        row.update({f"config.{name}": value for name, value in config.items()})
        row.update(facts, model_id=directory.model_id, round=round_config.name)
        rows.append(row)
    return rows


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """``none`` is a value: NIST writes so where it means that there is none of something."""
    return {
        name: None if says_nothing(value) and str(value).strip() != "none" else value for name, value in row.items()
    }


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
