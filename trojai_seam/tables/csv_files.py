"""Frames as CSV that no spreadsheet runs."""

from __future__ import annotations

import pandas as pd

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8 with a header and ``\\n`` line ends; missing is empty, numbers are exact.

    A text that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-`` or ``@``, also full-width, or
    with a tab or line end) gets an apostrophe in front, as OWASP advises. Parquet files and records hold it unchanged.
    """
    safe = frame.copy(deep=False)
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            safe[name] = frame[name].map(_harmless, na_action="ignore")
    safe.columns = pd.Index([_harmless(str(name)) for name in frame.columns])
    return safe.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_STARTS_A_FORMULA) else value
