"""Where and how models are evaluated. A new executor is one file here and one line below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ...registry import Registry

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Spread:
    """How the work is spread; no number depends on it.

    Attributes:
        devices: ``("cpu",)``, ``("cuda:0", "cuda:1")``, …
        workers: models at the same time, per device.
        prefetch: models that each worker opens ahead while it computes: 0 or 1.
        time_limit: wall-clock seconds that a model may take.
        memory_limit: bytes of host memory that the process of a model may take.
        together: models that a worker takes at once where they are small networks that can be unlearned side by side.
        at_once: ray: models at the same time over the whole cluster; None for as many as it has room for.
        ray_address: of the Ray cluster; None starts one on this machine.
    """

    devices: tuple[str, ...] = ("cpu",)
    workers: int = 1
    prefetch: int = 0
    time_limit: float | None = None
    memory_limit: int | None = None
    together: int = 1
    at_once: int | None = None
    ray_address: str | None = None

    @property
    def slots(self) -> int:
        """Models at the same time, over all devices."""
        return len(self.devices) * self.workers


class Executor(Protocol):
    """Takes unit after unit, evaluates it, and gives its row back when its record is written."""

    def __call__(self, work: Work, spread: Spread) -> None:
        """Come back when ``work`` is closed and everything that was taken is finished or given back.

        Raises:
            RunDirectoryProblem: records cannot be written; the run ends here.
            KeyboardInterrupt: nothing of it runs on.
        """
        ...


EXECUTORS: Registry[Executor] = Registry("executor")
EXECUTORS.add("serial", "trojai_seam.batch.executors.serial:run")
EXECUTORS.add("pool", "trojai_seam.batch.executors.pool:run")
EXECUTORS.add("ray", "trojai_seam.batch.executors.ray_cluster:run")
