"""``python -m trojai_seam``: the same as the command ``trojai-seam``."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
