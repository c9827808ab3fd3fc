"""Where and how models are evaluated. A new executor is one file here, with its settings, and one line below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...registry import Registry

if TYPE_CHECKING:
    from .kinds import ExecutorKind


@dataclass(frozen=True)
class Spread:
    """How the work is spread, whoever does it; no number depends on it.

    Attributes:
        devices: ``("cpu",)``, ``("cuda:0", "cuda:1")``, …
        workers: models at the same time, per device.
        together: models that a worker takes at once where they are small networks that can be unlearned side by side.
    """

    devices: tuple[str, ...] = ("cpu",)
    workers: int = 1
    together: int = 1

    @property
    def slots(self) -> int:
        """Models at the same time, over all devices."""
        return len(self.devices) * self.workers


EXECUTORS: Registry[ExecutorKind[Any]] = Registry("executor")
EXECUTORS.add("serial", "trojai_seam.batch.executors.serial:KIND")
EXECUTORS.add("pool", "trojai_seam.batch.executors.pool:KIND")
EXECUTORS.add("ray", "trojai_seam.batch.executors.ray_cluster:KIND")
