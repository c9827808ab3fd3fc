"""One model after the other in this process: breakpoints work, nothing is hidden."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from ...heartbeat import listening
from ..units import WorkUnit
from ..work import Work
from . import Spread
from .kinds import ExecutorKind, ExecutorSettings

One = Annotated[int, Field(ge=1, le=1)]


class SerialSettings(ExecutorSettings):
    """One worker on one device, without limits: those need processes that can be stopped."""

    workers: One | None = None
    """For scripts that always say a number."""
    workers_per_gpu: One | None = None
    """Likewise."""


def run(work: Work, spread: Spread, settings: SerialSettings) -> None:
    """See :class:`trojai_seam.batch.executors.kinds.ExecutorKind`."""
    if work.closed:
        return  # nothing is left: torch is not needed to find that out
    began, slot = time.perf_counter(), spread.devices[0]
    from ..case import Surroundings
    from ..reproducible import reproducible
    from ..starting import warm_up
    from ..worker import evaluate_units

    with reproducible():
        warm_up(slot)
    around = Surroundings(start=time.perf_counter() - began)
    while units := work.wait(slot, spread):
        left = list(units)

        def done(unit: WorkUnit, row: dict[str, Any], left: list[WorkUnit] = left) -> bool:
            left.remove(unit)
            work.finish(unit, row)
            return True

        try:
            with reproducible(units[0].plan.threads), listening(lambda text: work.doing(slot, text)):
                evaluate_units(units, slot, done, around)
            around = replace(around, start=None)
        finally:
            for unit in left:
                work.give_back(unit)


KIND = ExecutorKind(SerialSettings, run)
