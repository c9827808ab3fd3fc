"""METADATA.csv: one row per model, written by several generations of NIST scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ..errors import DatasetProblem
from .regular_files import decoded, read_bounded

MOST_BYTES = 64 * 2**20
NAME_COLUMNS = ("model_name", "model_id", "id")


def read_metadata(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Rows by model name: every column under its own name, in its order, as the text that is written there.

    Raises:
        DatasetProblem: unreadable, or without a column that names the model.
    """
    try:
        text = decoded(read_bounded(path, MOST_BYTES))
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DatasetProblem(f"{path}: is not a readable CSV file: {problem}") from None
    if not rows:
        return {}
    column = next((name for name in NAME_COLUMNS if name in rows[0]), None)
    if column is None:
        raise DatasetProblem(f"{path}: has no column {NAME_COLUMNS[0]!r}")
    return {
        str(row[column]): {
            # A row may be shorter (its values are then None) or longer (the rest has no name).
            key: value or ""
            for key, value in row.items()
            if isinstance(key, str)
        }
        for row in rows
    }
