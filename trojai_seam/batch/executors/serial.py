"""One model after the other in this process: breakpoints work, nothing is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..reproducible import reproducible
from ..worker import WorkUnit, evaluate_unit


def run(units: Sequence[WorkUnit]) -> Iterator[dict[str, Any]]:
    """See :class:`trojai_seam.batch.executors.Executor`."""
    for unit in units:
        with reproducible(unit.plan.threads):
            row = evaluate_unit(unit)
        yield row
