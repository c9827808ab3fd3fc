"""Rows to frames to files: declared columns, nothing computed that a record does not already hold.

Importing this package never imports pandas; whatever has to do with frames does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import lazy_names
from .columns import COLUMNS as COLUMNS
from .columns import Column as Column

if TYPE_CHECKING:
    from .csv_files import csv_bytes as csv_bytes
    from .frames import failures_frame as failures_frame
    from .frames import results_frame as results_frame
    from .summary import summary_frame as summary_frame
    from .text import render as render
    from .text import render_summary as render_summary

__getattr__ = lazy_names(
    __name__,
    {
        ".csv_files": ["csv_bytes"],
        ".frames": ["failures_frame", "results_frame"],
        ".summary": ["summary_frame"],
        ".text": ["render", "render_summary"],
    },
)
