"""Rows to frames to files: declared columns, nothing computed that a record does not already hold."""

from .columns import COLUMNS as COLUMNS
from .columns import Column as Column
from .csv_files import csv_bytes as csv_bytes
from .frames import failures_frame as failures_frame
from .frames import results_frame as results_frame
from .summary import summary_frame as summary_frame
from .text import render as render
from .text import render_summary as render_summary
