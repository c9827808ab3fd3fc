"""What is made from finished records: the bodies of ``tables``, ``compare`` and ``report``, for Python as well."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from .batch.expected import read_expected
from .batch.paths import RunPaths
from .batch.records import read_rows
from .tables import csv_bytes, results_frame, summary_frame
from .tables.formats import formatted
from .tables.frames import grouping_columns, with_expected
from .tables.layout import overview, statistics


def read_run(run_dir: str | PathLike[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """The results frame of a run directory with a row of status ``missing`` for each expected model without a record.

    Args:
        run_dir: as ``evaluate`` left it.
        by: further columns that are wanted, ``config.KEY`` or ``metadata.KEY``.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column.
    """
    rows = _rows(RunPaths(Path(run_dir)))
    return results_frame(rows, grouping_columns(by, rows))


def summarize(run_dir: str | PathLike[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """Distributions over the models of a run, in groups; see :func:`trojai_seam.tables.summary.summary_frame`.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column to group by.
    """
    return summary_frame(read_run(run_dir, by), by)


def summary_text(run_dir: str | PathLike[str], by: Sequence[str], form: str) -> str:
    """:func:`summarize` for printing: ``csv`` has every figure, ``text``, ``markdown`` and ``latex`` have two tables.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column or format.
    """
    summary = summarize(run_dir, by)
    if form == "csv":
        return csv_bytes(summary).decode().rstrip("\n")
    return "\n\n".join(formatted(table, form) for table in (overview(summary, by), statistics(summary, by)))


def _rows(paths: RunPaths) -> list[dict[str, Any]]:
    return [dict(row) for row in with_expected(read_rows(paths), read_expected(paths))]
