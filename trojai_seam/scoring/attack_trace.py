"""Accuracy and attack success along the way, asked of stored states once the method has ended: an oracle, for looking.

While a method runs, the states of its network are only copied to files. Poisoned examples come into play when it is
over, so that nothing of them can reach training, a stop rule or a choice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import nn

from ..choices import SHIPPED
from ..tasks import ExampleSet, Task
from .predictions import predict, predict_attacks

MOST_STATES = 64
"""Of one run: when there are more, every second one goes, but for the last of each phase."""


class State(NamedTuple):
    """One stored state: of the network after ``epoch`` (counted from 0) of ``phase``."""

    phase: str
    epoch: int
    place: int
    file: Path


class StoredStates:
    """Watches a run of unlearning and stores the network's state after every epoch; it can be an engine's observer.

    Args:
        folder: an empty one, for the files.
        epochs: only these; unset: all, but no more than ``most`` states spread evenly.
        most: see ``epochs``.

    Attributes:
        states: what is stored, in its order.
        problem: why a state could not be stored: nothing is any more, and the run goes on.
    """

    def __init__(self, folder: Path, epochs: Collection[int] | None = None, most: int = MOST_STATES) -> None:
        self._folder, self._epochs, self._most = folder, epochs, most
        self._every = 1
        self._seen = 0
        self.states: list[State] = []
        self.problem: str | None = None

    def __call__(self, phase: str, epoch: int, model: nn.Module) -> None:
        """Store the state of ``model``."""
        if self.problem is not None or (self._epochs is not None and epoch not in self._epochs):
            return
        file = self._folder / f"{self._seen}.npz"
        try:
            with file.open("wb") as opened:
                np.savez(opened, **{name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()})
            if self._epochs is None:
                self._thin(phase)
        except (MemoryError, OSError, TypeError) as problem:  # a full disk; a type of numbers that numpy lacks
            self.problem = told(problem)
            for stored in (file, *(state.file for state in self.states)):
                with suppress(OSError):
                    stored.unlink(missing_ok=True)  # whoever else writes to that disk needs the room
            self.states = []
            return
        self.states.append(State(phase, epoch, self._seen, file))
        self._seen += 1

    def _thin(self, next_phase: str) -> None:
        """Let go of states that are neither the last of their phase nor due."""
        if self.states and self.states[-1].phase == next_phase and self.states[-1].place % self._every:
            self.states.pop().file.unlink()
        if len(self.states) < self._most:
            return
        self._every *= 2
        kept = []
        for number, state in enumerate(self.states):
            following = self.states[number + 1].phase if number + 1 < len(self.states) else next_phase
            if state.place % self._every == 0 or following != state.phase:
                kept.append(state)
            else:
                state.file.unlink()
        self.states = kept

    def networks(self, model: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
        """Phase, epoch and network of every stored state, in their order.

        Args:
            model: of the same architecture; a copy of it takes on the states, in eval mode.
        """
        network = copy.deepcopy(model).eval()
        device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
        for state in self.states:
            with np.load(state.file) as stored:
                tensors = {name: torch.from_numpy(stored[name]).to(device) for name in stored.files}
            network.load_state_dict(tensors)
            yield state.phase, state.epoch, network


def told(problem: Exception) -> str:
    """``problem`` in words that are the same on every run: without names of files in temporary folders."""
    said = problem.strerror if isinstance(problem, OSError) else None
    return f"{type(problem).__name__}: {said or problem}"


class Trace(TypedDict):
    """Accuracy and attack success after epochs, in their order; NaN where nothing counts. The first is the network as
    shipped, of phase :data:`SHIPPED` and epoch -1."""

    phase: Sequence[str]
    epoch: Sequence[int]
    acc: Sequence[float]
    asr: Sequence[float]


def traced(
    states: StoredStates, model: nn.Module, task: Task, clean: ExampleSet, poisoned: ExampleSet, batch_size: int
) -> Trace:
    """Ask every stored state.

    Args:
        states: of a run of unlearning that is over.
        model: the network as shipped.
        task: what it does.
        clean: examples to measure accuracy on.
        poisoned: and attack success.
        batch_size: of asking.
    """
    networks = chain([(SHIPPED, -1, model)], states.networks(model))
    points = [(phase, epoch, *_asked(network, task, clean, poisoned, batch_size)) for phase, epoch, network in networks]
    phases, epochs, accuracies, attacks = zip(*points, strict=True)
    return {"phase": phases, "epoch": epochs, "acc": accuracies, "asr": attacks}


def _asked(
    network: nn.Module, task: Task, clean: ExampleSet, poisoned: ExampleSet, batch_size: int
) -> tuple[float, float]:
    acc = predict(network, task, clean, batch_size).accuracy.share
    asr = predict_attacks(network, task, poisoned, batch_size).attack_success.share if len(poisoned) else None
    return math.nan if acc is None else acc, math.nan if asr is None else asr
