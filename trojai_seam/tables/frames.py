"""Rows of records as pandas frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .columns import COLUMNS, NAMES

_TYPES = {"text": "string", "flag": "boolean", "count": "Int64", "number": "Float64"}
_SUMMARISED = ("acc_before", "acc_after", "asr_before", "asr_after", "ra_after", "fidelity", "nist_fidelity")


def results_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per model, sorted by id, every declared column present, missing values ``<NA>`` (never 0 or NaN)."""
    rows = sorted(rows, key=lambda row: str(row["model_id"]))
    data = {}
    for column in COLUMNS:
        values = [row.get(column.name) for row in rows]
        if column.kind == "count":
            values = [None if v is None else round(v) for v in values]
        data[column.name] = pd.array(values, dtype=_TYPES[column.kind])  # type: ignore[call-overload]
    return pd.DataFrame(data, columns=list(NAMES))


def failures_frame(results: pd.DataFrame) -> pd.DataFrame:
    """The failed rows, with the reason."""
    return results.loc[results["status"] == "failed", ["model_id", "round", "architecture", "error_kind", "error"]]


def summary_frame(results: pd.DataFrame) -> pd.DataFrame:
    """Means and medians over the scored models: all of them, the poisoned and the clean ones.

    ``n_<column>`` is how many models a mean is over; ``models`` and ``failed`` say how many there should have been.
    """
    groups = {
        "all": results,
        "poisoned": results[results["poisoned"].fillna(False)],
        "clean": results[~results["poisoned"].fillna(True)],
    }
    lines = []
    for name, part in groups.items():
        line: dict[str, Any] = {
            "models": len(part),
            "done": int((part["status"] == "done").sum()),
            "failed": int((part["status"] == "failed").sum()),
        }
        for column in (*_SUMMARISED, "kept_accuracy"):
            values = part[column].dropna()
            line[f"n_{column}"] = len(values)
            line[f"mean_{column}"] = float(values.mean()) if len(values) else None
            line[f"median_{column}"] = float(values.median()) if len(values) else None
        seconds = part["seconds_total"].dropna()
        line["median_seconds"] = float(seconds.median()) if len(seconds) else None
        lines.append({"group": name, **line})
    frame = pd.DataFrame(lines)
    return frame.astype({c: "Float64" for c in frame if str(c).startswith(("mean_", "median_"))})
