"""``python -m trojai_seam.container``: the image's entry point."""

from __future__ import annotations

from ..leaving import run_and_leave
from .entry import main

run_and_leave(main)
