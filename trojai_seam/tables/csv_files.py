"""Frames as CSV that no spreadsheet runs."""

from __future__ import annotations

import re

import pandas as pd

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def csv_bytes(frame: pd.DataFrame, signed_numbers: bool = False) -> bytes:
    """UTF-8 with a header and ``\\n`` line ends; missing is empty, numbers are exact.

    A text that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-`` or ``@``, also full-width, or
    with a tab or line end) gets an apostrophe in front, as OWASP advises. Parquet files and records hold it unchanged.

    Args:
        frame: to write.
        signed_numbers: leave texts alone that are plain numbers, such as ``-1.0``.
    """

    def harmless(value: object) -> object:
        if not isinstance(value, str) or not value.startswith(_STARTS_A_FORMULA):
            return value
        return value if signed_numbers and _NUMBER.fullmatch(value) else f"'{value}"

    safe = frame.copy(deep=False)
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            safe[name] = frame[name].map(harmless, na_action="ignore")
    safe.columns = pd.Index([harmless(str(name)) for name in frame.columns])
    return safe.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
