"""SEAM's two phases, for tests that say no more of a method than what they are about."""

from __future__ import annotations

from typing import Any

from trojai_seam.unlearning import UnlearnConfig
from trojai_seam.unlearning.phases.train import TrainSettings


def forgetting(**values: Any) -> TrainSettings:
    return TrainSettings(**{"name": "forget", "labels": "random", **values})


def recovery(**values: Any) -> TrainSettings:
    return TrainSettings(**{"name": "recover", **values})


def seam(forget: TrainSettings | None = None, recover: TrainSettings | None = None, **common: Any) -> UnlearnConfig:
    return UnlearnConfig(phases=(forget or forgetting(), recover or recovery()), **common)


def exchanged(config: UnlearnConfig, *phases: TrainSettings) -> UnlearnConfig:
    """``config`` with these phases instead of those that bear their names."""
    new = {phase.name: phase for phase in phases}
    return config.changed(phases=tuple(new.get(phase.name, phase) for phase in config.phases))
