"""The tables of a run directory, from its records: all that ``tables`` needs, and what every run ends with."""

from __future__ import annotations

import io
import os
from contextlib import closing
from typing import TYPE_CHECKING

from ..errors import RunDirectoryProblem
from ..tables import csv_bytes, failures_frame, results_frame, summary_frame
from ..tables.frames import with_expected
from .claims import Claims, wait_for
from .curves import TracePoint, read_attack_trace
from .expected import read_expected
from .files import write_atomic
from .paths import RunPaths
from .records import read_rows

if TYPE_CHECKING:
    import pandas as pd

_CLAIM = "=tables"  # no model's record is called so: "=" is quoted there


def write_tables(paths: RunPaths) -> pd.DataFrame:
    """Rebuild all tables of a run directory from its records; returns the results frame.

    Raises:
        RunDirectoryProblem: no such run, an unreadable record, or the tables cannot be written.
    """
    if not os.path.isdir(paths.records):  # unlike Path.is_dir, no error for a name that is too long
        raise RunDirectoryProblem(f"{paths.run_dir}: is not a run directory (it has no {paths.records.name} folder)")
    with closing(Claims(paths.claims)) as claims:
        return rebuild_tables(paths, claims)


def rebuild_tables(paths: RunPaths, claims: Claims) -> pd.DataFrame:
    """:func:`write_tables` of a process that has claims on the run directory."""
    # One after the other: whoever reads last has seen every record that was finished before, and also writes last.
    wait_for(claims, _CLAIM)
    rows = read_rows(paths)
    results = results_frame(rows)
    buffer = io.BytesIO()
    results.to_parquet(buffer, index=False)
    write_atomic(paths.results_parquet, buffer.getvalue())
    whole = results_frame(with_expected(rows, read_expected(paths)))
    for path, frame in (
        (paths.results, results),
        (paths.failures, failures_frame(results)),
        (paths.summary, summary_frame(whole)),
    ):
        write_atomic(path, csv_bytes(frame))
    traced = [row["model_id"] for row in rows if row.get("oracle_traced")]
    if traced:
        write_atomic(paths.attack_trace, csv_bytes(_trace_frame(paths, traced)))
    claims.release(_CLAIM)
    return results


def _trace_frame(paths: RunPaths, models: list[str]) -> pd.DataFrame:
    """A line per model, fold and epoch; the columns say that they are an oracle's."""
    import pandas as pd

    lines = [(model, *point) for model in models for point in read_attack_trace(paths.record(model))]
    names = {"acc": "oracle_acc", "asr": "oracle_asr"}
    return pd.DataFrame(lines, columns=["model_id", *TracePoint._fields]).rename(columns=names)
