"""Rows of records as pandas frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..errors import UsageProblem, listed, shown
from .columns import BY_NAME, COLUMNS, NAMES

_TYPES = {"text": "string", "flag": "boolean", "count": "Int64", "number": "Float64"}
_DOCUMENTS = {"config": "nist_config", "metadata": "nist_metadata"}

Row = Mapping[str, Any]


def results_frame(rows: Iterable[Row], further: Sequence[str] = ()) -> pd.DataFrame:
    """One row per model, sorted by id, every declared column present, missing values ``<NA>`` (never 0 or NaN).

    Args:
        rows: of records.
        further: columns beyond the declared ones, ``config.KEY`` or ``metadata.KEY``: what NIST's files say.
    """
    rows = sorted(rows, key=lambda row: str(row["model_id"]))
    data = {}
    for column in COLUMNS:
        values = [row.get(column.name) for row in rows]
        if column.kind == "count":
            values = [None if v is None else round(v) for v in values]
        data[column.name] = pd.array(values, dtype=_TYPES[column.kind])  # type: ignore[call-overload]
    frame = pd.DataFrame(data, columns=list(NAMES))
    # NIST's name and the name that is read from the file stand in for each other where one of them is unknown.
    frame["model_architecture"] = frame["model_architecture"].fillna(frame["architecture"])
    frame["architecture"] = frame["architecture"].fillna(frame["model_architecture"])
    for name in further:
        frame[name] = pd.array(_told(rows, name), dtype="string")
    return frame


def with_expected(rows: Iterable[Row], expected: Mapping[str, Row]) -> list[Row]:
    """``rows``, and one of status ``missing`` for every expected model (facts by id) that has no record."""
    rows = list(rows)
    recorded = {str(row["model_id"]) for row in rows}
    return rows + [
        {**facts, "model_id": model_id, "status": "missing"}
        for model_id, facts in expected.items()
        if model_id not in recorded
    ]


def failures_frame(results: pd.DataFrame) -> pd.DataFrame:
    """The failed rows, with the reason."""
    return results.loc[results["status"] == "failed", ["model_id", "round", "architecture", "error_kind", "error"]]


def grouping_columns(names: Sequence[str], rows: Sequence[Row] = ()) -> tuple[str, ...]:
    """The names among ``names`` that are not declared columns; all are checked.

    Raises:
        UsageProblem: a name is neither a column nor ``config.KEY`` or ``metadata.KEY`` of any row.
    """
    further = tuple(dict.fromkeys(name for name in names if name not in BY_NAME))
    for name in further:
        document, _, key = name.partition(".")
        if document not in _DOCUMENTS or not key:
            raise UsageProblem(f"--by {shown(name)!r}: no such column{_near(name)}; docs/results.md lists all")
        if not any(value is not None for value in _told(rows, name)):
            keys = sorted({k for row in rows for k in _document(row, document)})
            raise UsageProblem(
                f"--by {shown(name)!r}: no model's {document} says this; known: {listed(keys, most=20) or 'nothing'}"
            )
    return further


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, NAMES, n=3)
    return f" (did you mean {listed(near)}?)" if near else ""


def _told(rows: Sequence[Row], name: str) -> list[str | None]:
    document, _, key = name.partition(".")
    values = [_document(row, document).get(key.lower()) for row in rows]
    return [None if value is None else shown(value) for value in values]


def _document(row: Row, name: str) -> Mapping[str, Any]:
    text = row.get(_DOCUMENTS[name])
    values = json.loads(text) if isinstance(text, str) else {}
    return values if isinstance(values, dict) else {}
