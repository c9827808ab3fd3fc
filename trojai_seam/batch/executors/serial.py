"""One model after the other in this process: breakpoints work, nothing is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..worker import WorkUnit, evaluate_unit, prepare_process


def run(units: Sequence[WorkUnit]) -> Iterator[dict[str, Any]]:
    """See :class:`trojai_seam.batch.executors.Executor`."""
    if units:
        prepare_process(units[0].plan.threads)
    for unit in units:
        yield evaluate_unit(unit)
