"""What options may say, where several rooms must know it and the command line must without importing them."""

from __future__ import annotations

import re

PROTOCOLS = ("held-out", "kfold", "paper")
"""How clean examples are split; see :mod:`trojai_seam.scoring.splits`."""
RETRIES = ("failed", "timeout", "all")
"""Which finished models ``--retry`` evaluates again."""
DEVICES = re.compile(r"auto|cpu|cuda|cuda:\d+(,\d+)*", re.ASCII)
"""Names of devices; see :mod:`trojai_seam.batch.devices`."""

SHIPPED = "shipped"
"""The phase of an attack trace that stands for the network before all phases."""
