"""Small rounds in NIST's layouts, with models that are really trained and really trojaned.

For the demo, tests and benchmarks. Files are written by ordinary ``torch.save(model)``: they are as untrusted as NIST's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..registry import Registry


class Synthesizer(Protocol):
    """Makes one dataset folder."""

    def __call__(self, out: Path, models: int, seed: int) -> None:
        """Train ``models`` models, every second one trojaned, and write them in the round's layout.

        Raises:
            UsageProblem: ``out`` exists and is not empty, or ``models`` is out of range.
        """
        ...


SYNTHESIZERS: Registry[Synthesizer] = Registry("round that can be synthesised")
SYNTHESIZERS.add("cyber-pdf-dec2022", "trojai_seam.synthesis.cyber_pdf:synthesize")
SYNTHESIZERS.add("r12", "trojai_seam.synthesis.cyber_pdf:synthesize")
