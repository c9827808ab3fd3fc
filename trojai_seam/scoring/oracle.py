"""The authors' own figure: in-sample, at the best epoch of recovery. An oracle, because it needs the attack success.

The SEAM scripts evaluate ACC and ASR after every recovery epoch, on the examples that are trained on, and report the
epoch with the largest difference (github.com/TDteach/SEAM, ``seam.py``, end of ``seam()``).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..tasks import ExampleSet, Task
from .predictions import predict, predict_attacks


class OracleWatcher:
    """Watches epochs of recovery, the phase called ``recovery``; what it sees never reaches the engine."""

    def __init__(self, task: Task, clean: ExampleSet, poisoned: ExampleSet | None, recovery: str = "recover") -> None:
        self.task, self.clean, self.poisoned, self.recovery = task, clean, poisoned, recovery
        self._best: tuple[float, int, float, float | None] | None = None

    def __call__(self, phase: str, epoch: int, model: nn.Module) -> None:
        """Measure ``model`` after ``epoch`` of ``phase`` (only recovery counts)."""
        if phase != self.recovery:
            return
        accuracy = predict(model, self.task, self.clean).accuracy.share or 0.0
        attack = (
            None if self.poisoned is None else predict_attacks(model, self.task, self.poisoned).attack_success.share
        )
        gap = accuracy - (attack or 0.0)
        if self._best is None or gap > self._best[0]:
            self._best = (gap, epoch, accuracy, attack)

    def columns(self, accuracy_before: float | None) -> dict[str, Any]:
        """``oracle_epoch``, ``oracle_acc``, ``oracle_asr`` and ``oracle_fidelity``; ``None`` where not measured."""
        names = ("oracle_epoch", "oracle_acc", "oracle_asr", "oracle_fidelity")
        if self._best is None:
            return dict.fromkeys(names)
        gap, epoch, accuracy, attack = self._best
        fidelity = gap / accuracy_before if accuracy_before and attack is not None else None
        return dict(zip(names, (epoch, accuracy, attack, fidelity), strict=True))
