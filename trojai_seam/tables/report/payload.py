"""The models of a report as data for its script: every column once, and the curves, packed small.

A page of ten thousand models would be forty megabytes of HTML; as columns in compressed JSON it is a few, and the
script of the page makes the rows that are looked at.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...errors import shown
from ..columns import BY_NAME, COLUMNS
from ..curves import Curve, Curves
from ..layout import label
from ..summary import kind_of
from .content import Run, the_same
from .model_curves import MOST_POINTS, CurveSheet

MANY = 2000  # models; their curves get half of the points
_IN_SAMPLE = {"acc_before": "fit_acc_before", "acc_after": "fit_acc_after", "fidelity": "fit_fidelity"}
_MEASURES = tuple(
    column.name
    for column in COLUMNS
    if column.kind == "number"
    and (f"{column.name}_low" in BY_NAME or column.name in ("nist_fidelity", "fit_fidelity") or column.summarised)
    and not column.timing
)
# Name of the column, head, and how it is shown: "ratio" is a number that has a mark where it is above 1.
_TABLE = (
    ("model_id", "model", "text"),
    ("fidelity", "fidelity", "ratio"),
    ("kept_accuracy", "kept ACC", "ratio"),
    ("seconds_total", "seconds", "number"),
    ("acc_before", "ACC before", "number"),
    ("acc_after", "ACC after", "number"),
    ("asr_before", "ASR before", "number"),
    ("asr_after", "ASR after", "number"),
    ("kind", "kind", "text"),
    ("status", "status", "text"),
    ("model_architecture", "network", "text"),
    ("trigger_type", "trigger", "text"),
    ("ra_after", "RA after", "number"),
)
_CHOICES = ("kind", "status", "model_architecture", "trigger_type")
_ELSEWHERE = ("model_id", "status", "error", "error_kind", "doubts", "poisoned", "model_architecture")


def payload(run: Run, sheet: CurveSheet | None) -> str:
    """JSON, compressed by gzip, as base64: ``columns`` (by name: kind, and values or the ``same`` value of all rows),
    what to show of them, and ``curves``.

    Numbers have six decimals; the columns are those of results.csv that any model has a value in, and ``kind``.
    """
    results = run.results
    document = {
        "rows": len(results),
        "columns": _columns(results),
        "table": _TABLE,
        "choices": _CHOICES,
        "fallback": _IN_SAMPLE,
        "measures": [(name, label(name)) for name in _MEASURES if results[name].notna().any()],
        "facts": _facts(results),
        "phases": {} if sheet is None else sheet.places,
        "curves": [] if sheet is None else _curves(results["model_id"], run.curves, tuple(sheet.places)),
    }
    text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), 6, mtime=0)).decode()


def _columns(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    columns: dict[str, dict[str, Any]] = {}
    frame = results.assign(kind=kind_of(results))
    for name in frame.columns:
        column = frame[name]
        if len(column) and column.isna().all() and name not in {shown for shown, _, _ in _TABLE}:
            continue
        kind = BY_NAME[name].kind if name in BY_NAME else "text"
        values = _values(column, kind)
        same = len(values) > 0 and all(value == values[0] for value in values)
        columns[str(name)] = {"kind": kind, "same": values[0]} if same else {"kind": kind, "values": values}
    return columns


def _values(column: pd.Series, kind: str) -> list[Any]:
    if kind == "number":
        numbers = column.to_numpy(dtype=float, na_value=np.nan).round(6)
        return [None if value != value else value for value in numbers.tolist()]
    if kind == "text":
        told = {value: shown(value, 2000) for value in column.dropna().unique()}
        return [told.get(value) for value in column]
    return [None if value is pd.NA else value for value in column.tolist()]


def _facts(results: pd.DataFrame) -> list[str]:
    same = set(the_same(results))
    names = [str(name) for name in results.columns if results[name].notna().any()]
    return [name for name in names if name not in same and not _is_part_of_a_measure(name)]


def _is_part_of_a_measure(name: str) -> bool:
    base = name.removeprefix("n_").removeprefix("units_").removesuffix("_low").removesuffix("_high")
    return base in _MEASURES or name in _ELSEWHERE


def _curves(ids: pd.Series, curves: Mapping[str, Curves], phases: Sequence[str]) -> list[list[list[int]]]:
    """Per model and phase: the last epoch, then accuracies in thousandths, evenly spread over the epochs."""
    most = MOST_POINTS // 2 if len(ids) > MANY else MOST_POINTS
    found = (curves.get(str(model_id), {}) for model_id in ids)
    return [[_points(told[phase], most) if phase in told else [] for phase in phases] if told else [] for told in found]


def _points(curve: Curve, most: int) -> list[int]:
    last = len(curve) - 1
    taken = curve if last < most else curve[np.linspace(0, last, most).round().astype(int)]
    values: list[int] = (np.asarray(taken) * 1000).round().astype(int).tolist()
    return [last, *values]
