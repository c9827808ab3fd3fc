"""The work of one command: executors take units from it and tell what became of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .progress import Progress
from .records import read_row
from .units import Assignment, WorkUnit, stamp

if TYPE_CHECKING:
    from .executors import Spread

OTHERS_POLL = 1.0
"""Seconds between two looks at the models that other processes are working on."""


class Claiming(Protocol):
    """What keeps two processes from evaluating the same model; see :class:`trojai_seam.batch.claims.Claims`."""

    def take(self, name: str) -> bool:
        """False if somebody else has it."""

    def release(self, name: str) -> None:
        """Others may have it."""


@dataclass
class Ending:
    """Why no more units are handed out, if not because all are done."""

    interrupted: bool = False
    too_many_failures: bool = False


class Work:
    """Units that are left, each handed out once, and claimed against other processes on the same run directory.

    Args:
        assignment: what all units have in common.
        units: what is to be evaluated.
        claims: of this process.
        progress: is told everything.
        most_failures: hand out nothing more after so many failed units and one; None for no bound.
        stackable: the first units are small networks that can be unlearned side by side, as far as is known.
    """

    def __init__(
        self,
        assignment: Assignment,
        units: Iterable[WorkUnit],
        claims: Claiming,
        progress: Progress,
        most_failures: int | None = None,
        stackable: bool = False,
    ) -> None:
        self.assignment = assignment
        self._left = deque(units)
        self._theirs: deque[WorkUnit] = deque()
        self._looked = 0.0
        self._claims, self._progress, self._most_failures = claims, progress, most_failures
        self.failures = 0
        self._stackable = stackable
        self.ending = Ending()

    @property
    def closed(self) -> bool:
        """Nothing will be handed out any more."""
        return self.stopped or not (self._left or self._theirs)

    @property
    def left(self) -> int:
        """Units that may still be handed out."""
        return 0 if self.stopped else len(self._left) + len(self._theirs)

    @property
    def stopped(self) -> bool:
        """An ending was asked for, though units are left."""
        return self.ending.interrupted or self.ending.too_many_failures

    def interrupt(self) -> None:
        """Hand out nothing more; what runs may finish."""
        self.ending.interrupted = True
        self._progress.interrupted()

    def take(self, slot: str) -> WorkUnit | None:
        """The next unit, for ``slot`` (a name to show); None if there is none, or (see :attr:`closed`) not yet one.

        Raises:
            RunDirectoryProblem: it cannot be claimed, or an unreadable record turned up.
        """
        if self._theirs and not self._left and time.monotonic() - self._looked >= OTHERS_POLL:
            self._left, self._theirs, self._looked = self._theirs, self._left, time.monotonic()
        while self._left and not self.stopped:
            unit = self._left.popleft()
            if self._done_by_others(unit):
                continue
            if not self._claims.take(unit.record.stem):
                self._theirs.append(unit)
                continue
            if self._done_by_others(unit):  # between the look and the claim
                self._claims.release(unit.record.stem)
                continue
            self._progress.begin(slot, unit.directory.model_id)
            return unit
        return None

    def take_together(self, slot: str, spread: Spread) -> list[WorkUnit]:
        """Units for one worker, which are more than one if the last model that was finished was one of those that can
        be unlearned side by side. Not so many that another worker would have none in the end."""
        share = self.left if spread.slots == 1 else self.left // (2 * spread.slots)
        most = max(1, min(spread.together, share)) if self._stackable else 1
        units: list[WorkUnit] = []
        while len(units) < most and (unit := self.take(slot)) is not None:
            units.append(unit)
        return units

    def doing(self, slot: str, text: str) -> None:
        """How far the model in the slot is."""
        self._progress.doing(slot, text)

    def show(self, slot: str, unit: WorkUnit) -> None:
        """The unit is now in another slot."""
        self._progress.begin(slot, unit.directory.model_id)

    def wait(self, slot: str, spread: Spread) -> list[WorkUnit]:
        """As :meth:`take_together`, but empty only when nothing will come any more."""
        while not (units := self.take_together(slot, spread)) and not self.closed:
            self.tick()
            time.sleep(OTHERS_POLL / 5)
        return units

    def finish(self, unit: WorkUnit, row: dict[str, Any]) -> None:
        """The unit has its record."""
        self._claims.release(unit.record.stem)
        if row["status"] == "done":
            self._stackable = bool(row.get("stacked"))
        if row["status"] == "failed":
            self.failures += 1
            if self._most_failures is not None and self.failures > self._most_failures:
                self.ending.too_many_failures = True
        self._progress.update(row)

    def give_back(self, unit: WorkUnit) -> None:
        """The unit was not evaluated and will not be by this process."""
        self._claims.release(unit.record.stem)
        self._progress.leave(unit.directory.model_id)

    def tick(self) -> None:
        """To be called at least every second or so."""
        self._progress.tick()

    def _done_by_others(self, unit: WorkUnit) -> bool:
        found = stamp(unit.record)
        if found is None or found == unit.seen:
            return False
        row = read_row(unit.record)
        if row.get("fingerprint") != unit.plan.fingerprint:
            return False
        self._progress.update(row)
        return True
