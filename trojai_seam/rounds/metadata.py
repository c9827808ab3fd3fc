"""METADATA.csv: one row per model, written by several generations of NIST scripts."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from ..errors import DatasetProblem

NAME_COLUMNS = ("model_name", "model_id", "id")


def read_metadata(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Rows by model name, as text; empty cells and the words ``None`` and ``nan`` are left out.

    Raises:
        DatasetProblem: unreadable, or without a column that names the model.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DatasetProblem(f"{path}: is not a readable CSV file: {problem}") from None
    if not rows:
        return {}
    column = next((name for name in NAME_COLUMNS if name in rows[0]), None)
    if column is None:
        raise DatasetProblem(f"{path}: has no column {NAME_COLUMNS[0]!r}")
    return {
        str(row[column]): {
            key: value
            for key, value in row.items()
            if isinstance(key, str) and isinstance(value, str) and value.strip().lower() not in ("", "none", "nan")
        }
        for row in rows
    }
