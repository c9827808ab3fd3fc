"""One model after the other in this process: breakpoints work, nothing is hidden."""

from __future__ import annotations

from typing import Any

from ...heartbeat import listening
from ..reproducible import reproducible
from ..units import WorkUnit
from ..work import Work
from ..worker import evaluate_units
from . import Spread


def run(work: Work, spread: Spread) -> None:
    """See :class:`trojai_seam.batch.executors.Executor`."""
    slot = spread.devices[0]
    while units := work.wait(slot, spread):
        left = list(units)

        def done(unit: WorkUnit, row: dict[str, Any], left: list[WorkUnit] = left) -> bool:
            left.remove(unit)
            work.finish(unit, row)
            return True

        try:
            with reproducible(units[0].plan.threads), listening(lambda text: work.doing(slot, text)):
                evaluate_units(units, slot, done)
        finally:
            for unit in left:
                work.give_back(unit)
