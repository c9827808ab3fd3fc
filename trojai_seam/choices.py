"""What options may say, where several rooms must know it and the command line must without importing them."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

PROTOCOLS = ("held-out", "kfold", "paper")
"""How clean examples are split; see :mod:`trojai_seam.scoring.splits`."""
RETRIES = ("failed", "timeout", "all")
"""Which finished models ``--retry`` evaluates again."""
DEVICES = re.compile(r"auto|cpu|cuda|cuda:\d+(,\d+)*", re.ASCII)
"""Names of devices; see :mod:`trojai_seam.batch.devices`."""

SHIPPED = "shipped"
"""The phase of an attack trace that stands for the network before all phases."""


def our_presets() -> list[str]:
    """Names of the presets that this package brings, sorted."""
    return sorted(path.stem for path in (Path(__file__).parent / "unlearning" / "presets").glob("*.json"))


def brought_presets() -> dict[str, str]:
    """The presets of other packages, as their entry points say: name and package."""
    return {point.name: point.value for point in entry_points(group="trojai_seam.presets")}


def preset_names() -> list[str]:
    """Of ours and of what other packages bring, sorted."""
    return sorted({*our_presets(), *brought_presets()})
