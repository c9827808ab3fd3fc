"""Where and how models are evaluated. A new executor is one file here and one line below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ...registry import Registry

if TYPE_CHECKING:
    from ..worker import WorkUnit


class Executor(Protocol):
    """Evaluates work units, in any order, and yields each row when its record is written."""

    def __call__(self, units: Sequence[WorkUnit]) -> Iterator[dict[str, Any]]:
        """Rows as they are done.

        Raises:
            RunDirectoryProblem: records cannot be written; the run ends here.
        """
        ...


EXECUTORS: Registry[Executor] = Registry("executor")
EXECUTORS.add("serial", "trojai_seam.batch.executors.serial:run")
