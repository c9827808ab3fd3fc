"""``python -m trojai_seam.container``: the image's entry point."""

from __future__ import annotations

import sys

from .entry import main

sys.exit(main())
