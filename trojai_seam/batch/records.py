"""Records: one HDF5 file per evaluated model. They are the truth; every table is derived from them.

Layout: the row as attributes of the root; groups ``clean`` and ``poisoned`` with names, labels, targets and outputs
before; ``folds/<k>`` with split indices, outputs after, the phases and the epoch trace. A failed model has its
attributes and, for a failure that is not the user's, a ``traceback`` attribute; ``log_tail`` is what its process
printed last. The row stands in the user block of the file as well, see :mod:`trojai_seam.batch.row_block`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import RunDirectoryProblem, listed
from ..tables.columns import undeclared
from . import row_block
from .files import leftovers, write_atomic
from .paths import RunPaths

Arrays = Mapping[str, Any]
_READERS, _PART = 8, 64
MOST_TEXT = 60_000  # an HDF5 attribute holds 64 KiB


def write_record(path: Path, row: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one record in one atomic step.

    The file is made in memory first: a full disk then meets plain bytes instead of a half-open HDF5 library.

    Args:
        path: where.
        row: column name → plain value; ``None`` is left out.
        arrays: dataset path (``folds/0/trace/loss``) → array, or list of strings.

    Raises:
        RunDirectoryProblem: it cannot be written.
        ValueError: a column is not declared in :mod:`trojai_seam.tables.columns`.
    """
    check_declared(row)
    stored = {name: storable(value) for name, value in row.items() if value is not None}
    text = row_block.encoded({name: _plain(value) for name, value in stored.items()})
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=row_block.block_size(text)) as file:
        for name, value in stored.items():
            file.attrs[name] = value
        for name, values in arrays.items():
            if isinstance(values, (list, tuple)) and all(isinstance(v, str) for v in values):
                file.create_dataset(name, data=[storable(v) for v in values], dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=np.asarray(values))
    content = bytearray(buffer.getbuffer())
    row_block.fill(content, text)
    write_atomic(path, content)


def check_declared(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for columns that would be written, and that no table would ever show."""
    if strange := undeclared(names):
        what = "declare it in COLUMNS, or in RECORD_ONLY"
        raise ValueError(f"{listed(strange)}: no such column; {what} of trojai_seam.tables.columns")


def read_row(path: Path) -> dict[str, Any]:
    """The row of one record as plain Python values.

    Raises:
        RunDirectoryProblem: it is no record.
    """
    try:
        row = row_block.read(path)
        if row is None:
            with h5py.File(path, "r") as file:
                row = {name: _plain(value) for name, value in file.attrs.items()}
        if not {"model_id", "status", "fingerprint"} <= row.keys():
            raise ValueError("not all of its attributes are there")
        return row
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable record ({problem}); remove it to evaluate the model again"
        ) from None


def read_rows(paths: RunPaths) -> list[dict[str, Any]]:
    """The rows of all records in a run directory, in the order of their file names.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
    """
    if not os.path.isdir(paths.records):  # unlike Path.is_dir, no error for a name that is too long
        raise RunDirectoryProblem(f"{paths.run_dir}: is not a run directory (it has no {paths.records.name} folder)")
    return _read_all([paths.records / name for name in sorted(_names(paths))])


def finished(paths: RunPaths, model_ids: Iterable[str], fingerprint: str) -> dict[str, dict[str, Any]]:
    """Rows by model id, of those in ``model_ids`` that have a record of this very plan. Leftovers of killed writers
    are removed."""
    for folder in (paths.run_dir, paths.records):
        for leftover in leftovers(folder):
            leftover.unlink(missing_ok=True)
    there = _names(paths)
    records = [(model_id, paths.record(model_id)) for model_id in model_ids]
    records = [(model_id, path) for model_id, path in records if path.name in there]
    rows = zip(records, _read_all([path for _, path in records]), strict=True)
    return {model_id: row for (model_id, _), row in rows if row.get("fingerprint") == fingerprint}


def _names(paths: RunPaths) -> set[str]:
    with os.scandir(paths.records) as entries:
        return {entry.name for entry in entries if entry.name.endswith(".h5") and not entry.name.startswith(".")}


def _read_all(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Many at a time, because on a network disk most of reading is waiting."""
    parts = [paths[begin : begin + _PART] for begin in range(0, len(paths), _PART)]
    with ThreadPoolExecutor(_READERS) as readers:
        return [row for rows in readers.map(lambda part: [read_row(path) for path in part], parts) for row in rows]


def storable(value: Any) -> Any:
    """``value`` as HDF5 can hold it: text without NUL and lone surrogates, which file names and JSON may contain."""
    if not isinstance(value, str):
        return value
    return value[:MOST_TEXT].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
