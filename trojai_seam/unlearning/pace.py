"""How far a phase that trains is, for whoever listens; it decides nothing."""

from __future__ import annotations

import time

from ..heartbeat import beat, duration, heard
from .training_settings import TrainingSettings

SELDOM = 0.5
"""Seconds between two things that are said."""


class Pace:
    """Says ``recover, epoch 3 of at most 60, at most 1m20s more of this phase``: how long it takes if no stop rule ends
    it before ``total`` steps are taken, at the speed that it had so far."""

    def __init__(self, phase: TrainingSettings, total: int) -> None:
        self._phase, self._total = phase, total
        self._began = time.monotonic()
        self._said = float("-inf")

    def tell(self, epoch: int, steps: int, more: str = "") -> None:
        """``steps`` of the phase are taken, the last one in ``epoch``, which counts from 0."""
        now = time.monotonic()
        if now - self._said < SELDOM or not heard():
            return
        self._said = now
        parts = [self._phase.name, f"epoch {epoch + 1} of at most {self._phase.max_epochs}", *([more] if more else [])]
        if steps:
            rest = (now - self._began) / steps * (self._total - steps)
            parts.append(f"at most {duration(rest)} more of this phase")
        beat(", ".join(parts))
