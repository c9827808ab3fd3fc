"""One model after the other in this process: breakpoints work, nothing is hidden."""

from __future__ import annotations

from ..reproducible import reproducible
from ..work import Work
from ..worker import evaluate_unit
from . import Spread


def run(work: Work, spread: Spread) -> None:
    """See :class:`trojai_seam.batch.executors.Executor`."""
    slot = spread.devices[0]
    while (unit := work.wait(slot)) is not None:
        with reproducible(unit.plan.threads):
            row = evaluate_unit(unit, slot)
        work.finish(unit, row)
