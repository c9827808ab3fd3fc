"""Rows of records as pandas frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..errors import UsageProblem, listed, shown
from ..rounds.raw_values import flat
from .columns import BY_NAME, COLUMNS, NAMES

_TYPES = {"text": "string", "flag": "boolean", "count": "Int64", "number": "Float64"}
_DOCUMENTS = {"config": "nist_config", "metadata": "nist_metadata"}

Row = Mapping[str, Any]


def results_frame(rows: Iterable[Row], further: Sequence[str] = ()) -> pd.DataFrame:
    """One row per model, sorted by id, every declared column present, missing values ``<NA>`` (never 0 or NaN).

    Args:
        rows: of records.
        further: columns beyond the declared ones, as :func:`grouping_columns` lets them through.
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
    frame["architecture"] = frame["architecture"].fillna(_of_siblings(frame))
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
    """The failed rows: to which groups they belong, and the reason."""
    columns = ["model_id", "round", "poisoned", "architecture", "model_architecture", "trigger_type"]
    return results.loc[results["status"] == "failed", [*columns, "error_kind", "error"]]


def grouping_columns(names: Sequence[str], rows: Sequence[Row] = ()) -> tuple[str, ...]:
    """The names among ``names`` that are not declared columns; all are checked.

    They are those that ``--where`` knows, in any case: ``config.KEY`` and ``metadata.KEY``, or ``KEY`` alone, which is
    asked of the config first.

    Raises:
        UsageProblem: a name is neither a column nor anything that a file of any row says.
    """
    further = tuple(dict.fromkeys(name for name in names if name not in BY_NAME))
    for name in further:
        if any(value is not None for value in _told(rows, name)):
            continue
        document, _, key = name.partition(".")
        if document not in _DOCUMENTS or not key:
            raise UsageProblem(
                f"--by {shown(name)!r}: no such column, and no model's config or metadata says this{_near(name)}; "
                "docs/results.md lists all columns"
            )
        keys = sorted({k for row in rows for k in _said(row, document)})
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
    asked = [(document, key)] if document in _DOCUMENTS and key else [("config", name), ("metadata", name)]
    said = ([_text(_said(row, document).get(key.lower())) for document, key in asked] for row in rows)
    return [next((text for text in texts if text is not None), None) for texts in said]


def _said(row: Row, document: str) -> Mapping[str, Any]:
    """What one of the files says, by lower-case dotted name."""
    return {name.lower(): value for name, value in flat(raw_document(row, document)).items()}


def raw_document(row: Row, document: str) -> Mapping[str, Any]:
    """``config`` or ``metadata`` of a row, as the file says it."""
    text = row.get(_DOCUMENTS[document])
    values = json.loads(text) if isinstance(text, str) else {}
    return values if isinstance(values, dict) else {}


def _text(value: Any) -> str | None:
    """A value as the name of a group, whole; what stands for nothing is None, but for ``none``, which NIST writes where
    there is none of something."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "None", "nan", "NaN")):
        return None
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, (list, dict)) else str(value)
    return shown(text, 12 * len(text))


def _of_siblings(frame: pd.DataFrame) -> pd.Series:
    """For each row how models with the same name at NIST were read, where they were all read alike."""
    known = frame[["model_architecture", "architecture"]].dropna().drop_duplicates()
    alike = known[~known["model_architecture"].duplicated(keep=False)].set_index("model_architecture")["architecture"]
    return frame["model_architecture"].map(alike).astype("string")
