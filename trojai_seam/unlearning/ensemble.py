"""Many small networks of one architecture, unlearned side by side: what the engine does to one, done to all at once.

Every network has its own seed, random labels, order, dropout, noise, stop rule and trace, and comes out as it would
alone (:func:`trojai_seam.unlearning.engine.run`), but for the last digits: sums are made in another order. Which
networks are beside it changes nothing at all on a CPU (see :mod:`trojai_seam.unlearning.stacked_layers`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import EngineFailure, listed
from ..tasks import ExampleSet, Task
from ..tasks.classification import Classification
from .batches import epoch_batches
from .chains import Chain, chain_of
from .config import UnlearnConfig
from .context import Observer, modality_of
from .idle_weights import decay, idle_weights
from .monitor import PhaseMonitor
from .optimization import learning_rate_of, most_steps, nonfinite
from .outcome import EpochTrace, Outcome, PhaseOutcome
from .pace import Pace
from .phases.train import TrainSettings
from .stacked_layers import Pass, layers_of
from .stacked_rows import Rows, stacked_scores

WORTH_MOVING = 0.75
"""Share of a stack that is still in training at or below which the others are taken out."""
SAME = 1e-3
"""Differences of scores, relative and absolute, that the order of sums may make."""


@dataclass(frozen=True, eq=False)
class Member:
    """One network of a stack; see :func:`trojai_seam.unlearning.engine.run`."""

    model: nn.Module
    task: Task
    fit: ExampleSet
    seed: int
    observer: Observer | None = None


def stack_key(model: nn.Module, task: Task, fit: ExampleSet, config: UnlearnConfig) -> Hashable | None:
    """Networks with equal keys can be unlearned together; ``None``: this one is for the engine for one network.

    That is whatever is no chain of layers that we know, no single-label classification of vectors, not in float32,
    or to be unlearned by other phases than training on labels, or by rules about time, the length of gradients or the
    head alone.
    """
    x = fit.inputs.get("x")
    if config.trainable == "head" or config.precision != "float32" or not _stackable(config):
        return None
    if type(task) is not Classification or x is None or len(fit.inputs) != 1 or not len(fit):
        return None
    if modality_of(task, fit) != "vectors":
        return None
    chain = chain_of(model)
    if chain is None or not _fits(chain, x, task.num_classes):
        return None
    if any(p.dtype != torch.float32 or p.device != x.device for p in model.parameters()):
        return None
    return tuple(link.key for link in chain), tuple(x.shape), task.num_classes, str(x.device)


def _stackable(config: UnlearnConfig) -> bool:
    return all(
        type(phase) is TrainSettings and (phase.max_seconds, phase.max_grad_norm, phase.examples) == (None,) * 3
        for phase in config.phases
    )


def _fits(chain: Chain, x: Tensor, classes: int) -> bool:
    """Whether ``chain`` makes ``[N, classes]`` of ``x``, and layers on a sequence get one of a single step."""
    if x.dtype != torch.float32:
        return False
    shape = tuple(x.shape[1:])
    for link in chain:
        if link.kind in ("first-step", "single-step"):
            if len(shape) != 2 or (link.kind == "single-step" and shape[0] != 1):
                return False
            shape = shape[1:]
        elif link.kind == "flatten":
            shape = (math.prod(shape),)
        elif link.kind == "linear":
            shape = (*shape[:-1], int(link.numbers[1]))
        elif link.kind == "recurrent":
            shape = (int(link.numbers[3]) * (2 if link.numbers[4] else 1),)
    return shape == (classes,)


def unlearn_together(
    members: Sequence[Member], config: UnlearnConfig, whole: bool = True, rows: int | None = None
) -> list[Outcome | EngineFailure]:
    """Unlearn a copy of every member. What one of them fails with stands in its place, and costs no other.

    Args:
        members: of equal :func:`stack_key`.
        config: what to do, for all of them.
        whole: bring weights that no answer depends on to where training would have brought them, too; otherwise they
            stay as they were (see :mod:`trojai_seam.unlearning.idle_weights`).
        rows: keep the stack at this size throughout, filled up with copies. Where the kernels that a device chooses
            depend on the size of the stack, so do last digits.

    Raises:
        ValueError: members of different keys.
    """
    keys = {stack_key(member.model, member.task, member.fit, config) for member in members}
    if len(keys) != 1 or keys == {None}:
        raise ValueError("these networks cannot be unlearned together")
    with _one_thread(members[0].fit.inputs["x"].device):
        return _Together(members, config, rows).run(whole)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Several share an array where its length says, so that the parts of a network would depend on the others."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Together:
    """The state of one run, shared by its phases. Members are known by their place in ``members``."""

    def __init__(self, members: Sequence[Member], config: UnlearnConfig, fixed_rows: int | None) -> None:
        self.members, self.config, self.fixed_rows = members, config, fixed_rows
        chains = [chain_of(member.model) or () for member in members]
        self.links = [[chain[place].module for chain in chains] for place in range(len(chains[0]))]
        self.layers = layers_of(chains[0], members[0].fit.inputs["x"].shape[1:])
        present = [[module for module in modules if module is not None] for modules in self.links]
        self.home = [layer.pack(modules) for layer, modules in zip(self.layers, present, strict=True)]
        """Weights of all members, ``[G, …]``, as they were when each last ended a phase."""
        self.x = torch.stack([member.fit.inputs["x"] for member in members])
        self.truths = [member.fit.ground_truth() for member in members]
        self.generators = [torch.Generator().manual_seed(member.seed) for member in members]
        self.draws = [torch.Generator(self.x.device).manual_seed(member.seed) for member in members]
        self.broken = [nonfinite(member.model) for member in members]
        self.failures: dict[int, EngineFailure] = {}
        for number, names in enumerate(self.broken):
            if names:
                what = f"the network has non-finite weights before unlearning: {listed(sorted(names))}"
                self.failures[number] = EngineFailure(what)
        self.phases: list[list[PhaseOutcome]] = [[] for _ in members]
        self.trace: list[list[EpochTrace]] = [[] for _ in members]
        self.taken: list[tuple[TrainSettings, int]] = []

    def run(self, whole: bool) -> list[Outcome | EngineFailure]:
        self._compare_with_networks()
        with torch.enable_grad():
            for phase in self.config.phases:
                alive = [number for number in range(len(self.members)) if number not in self.failures]
                if alive and isinstance(phase, TrainSettings):
                    self.phase(phase, alive)
        return [self.failures[n] if n in self.failures else self._outcome(n, whole) for n in range(len(self.members))]

    @torch.no_grad()
    def _compare_with_networks(self) -> None:
        """A network that says of itself what it does might be wrong about it."""
        scores = stacked_scores(self.layers, self.home, self.x, Pass())
        for number, member in enumerate(self.members):
            theirs = member.task.outputs(member.model.eval(), member.fit.inputs)
            ours = scores[number, :, : theirs.shape[-1]]
            if number not in self.failures and not torch.allclose(ours, theirs, rtol=SAME, atol=SAME):
                kind = type(member.model).__name__
                self.failures[number] = EngineFailure(f"a {kind} does not do what its steps_in_order() says")

    def phase(self, phase: TrainSettings, alive: list[int]) -> None:
        """Train ``alive`` until each has met its stop rule or a cap; one device synchronisation per epoch."""
        began, size = time.perf_counter(), self.config.batch_size
        total = most_steps(phase, self.x.shape[1], size)
        rate = learning_rate_of(phase, self.members[0].model, self.config)
        phase = phase.model_copy(update={"learning_rate": rate})
        rows = self._rows(phase, alive, total)
        places = list(alive)  # the member in each row
        start = dict(zip(alive, self._accuracies(rows, places), strict=False))
        monitors = {number: self._monitor(phase, number, start[number]) for number in alive}
        if total == 0:
            for row, (number, monitor) in enumerate(monitors.items()):
                self._watched(phase.name, 0, rows, row, number)
                self.phases[number].append(monitor.outcome("off" if phase.max_epochs == 0 else "no-steps", 0, 0))
            return
        fixed = {number: self._fixed_labels(number, phase) for number in alive}
        spent, steps = dict.fromkeys(alive, 0.0), 0
        training, pace = list(alive), Pace(phase, total)
        overhead = (time.perf_counter() - began) / len(alive)
        for epoch in range(phase.max_epochs):
            epoch_began = time.perf_counter()
            pace.tell(epoch, steps, f"{len(alive)} networks side by side" if len(alive) > 1 else "")
            where, labels, sizes = self._epoch(phase, places, training, fixed)
            parts = list(zip(torch.split(where, sizes, 1), torch.split(labels, sizes, 1), strict=True))[: total - steps]
            losses = [rows.step(*part, phase.views.noise, phase.labels == "uniform") for part in parts]
            steps += len(parts)
            last = steps >= total
            asked = any(monitors[number].asks(epoch, last) for number in training)
            figures = self._figures(rows, places, losses, asked)
            share = (time.perf_counter() - epoch_began) / len(training)
            for row, number in enumerate(places):
                if number not in training:
                    continue
                loss, accuracy = figures[row]
                spent[number] += share
                if not math.isfinite(loss):
                    self.failures[number] = EngineFailure(monitors[number].lost(epoch))
                else:
                    self.trace[number].append(EpochTrace(phase.name, epoch, len(parts), loss, accuracy, share))
                    self._watched(phase.name, epoch, rows, row, number)
                    status = monitors[number].status(epoch, accuracy, last)
                    if status is None:
                        continue
                    seconds = spent[number] + overhead
                    self.phases[number].append(monitors[number].outcome(status, epoch + 1, steps, seconds))
                    self._settle(rows, row, number)
                training.remove(number)
                rows.rest(row)
            if not training:
                break
            if self.fixed_rows is None and len(training) <= WORTH_MOVING * len(places):
                kept = [row for row, number in enumerate(places) if number in training]
                rows.keep(kept)
                places = [places[row] for row in kept]
        self.taken.append((phase, total))

    def _monitor(self, phase: TrainSettings, number: int, start: float) -> PhaseMonitor:
        task, truth = self.members[number].task, self.truths[number]
        return PhaseMonitor(phase, phase.forgets, task.guess(truth), task.chance(truth), start)

    def _rows(self, phase: TrainSettings, alive: list[int], total: int) -> Rows:
        filled = alive + alive[:1] * ((self.fixed_rows or 0) - len(alive))
        at = torch.as_tensor(filled, device=self.x.device)
        weights = [[tensor[at] for tensor in layer] for layer in self.home]
        draws = [self.draws[number] if row < len(alive) else None for row, number in enumerate(filled)]
        return Rows(self.layers, self.members[0].task.num_classes, weights, self.x[at], draws, phase, max(total, 1))

    def _settle(self, rows: Rows, row: int, number: int) -> None:
        """The weights of a member at the end of a phase."""
        for layer, weights in zip(self.home, rows.weights, strict=True):
            for tensor, weight in zip(layer, weights, strict=True):
                tensor[number] = weight.detach()[row]

    def _watched(self, phase: str, epoch: int, rows: Rows, row: int, number: int) -> None:
        """Let the observer of a member see its network as it stands."""
        observer = self.members[number].observer
        if observer is not None:
            weights = [[weight.detach()[row].clone() for weight in layer] for layer in rows.weights]
            with torch.random.fork_rng(devices=[self.x.device] if self.x.device.type == "cuda" else []):
                observer(phase, epoch, self._network(number, weights).eval())

    def _network(self, number: int, weights: list[list[Tensor]]) -> nn.Module:
        """A copy of a member's network with these weights."""
        model = copy.deepcopy(self.members[number].model)
        for layer, own, link in zip(self.layers, weights, chain_of(model) or (), strict=True):
            if link.module is not None:
                layer.unpack(own, link.module)
        return model

    def _fixed_labels(self, number: int, phase: TrainSettings) -> Tensor | None:
        """See the engine: labels of all fit examples, or ``None`` if every epoch draws new ones."""
        truth = self.truths[number]
        if phase.labels != "random":
            return truth.labels
        if phase.fresh_labels:
            return None
        order = torch.arange(len(truth))
        return self.members[number].task.random_labels(truth, order, phase.label_sampling, self.generators[number])

    def _epoch(
        self, phase: TrainSettings, places: list[int], training: list[int], fixed: dict[int, Tensor | None]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Examples and labels of an epoch, ``[R, draws]`` on the device, and the sizes of its batches. Rows that are
        not in training draw nothing; what they compute is thrown away."""
        orders, labels, sizes = {}, {}, [0]
        for number in training:
            generator, truth = self.generators[number], self.truths[number]
            size, shuffled = self.config.batch_size, phase.order == "shuffled"
            batches = epoch_batches(len(truth), phase.examples_per_epoch, size, generator, shuffled)
            order, sizes = torch.cat(batches), [len(batch) for batch in batches]
            given = fixed[number]
            orders[number] = order
            labels[number] = (
                self.members[number].task.random_labels(truth, order, phase.label_sampling, generator)
                if given is None
                else given[order]
            )
        idle = torch.zeros(sum(sizes), dtype=torch.int64)
        device, count = self.x.device, max(len(places), self.fixed_rows or 0)
        named = [places[row] if row < len(places) else None for row in range(count)]
        where, targets = (
            torch.stack([idle if number is None else drawn.get(number, idle) for number in named]).to(device)
            for drawn in (orders, labels)
        )
        return where, targets, sizes

    def _predictions(self, rows: Rows) -> Tensor:
        """``int64 [R, N]``, on the device."""
        scores = rows.all_scores()
        return self.members[0].task.predictions(scores.flatten(0, 1), self.members[0].fit).view(scores.shape[:2])

    def _accuracies(self, rows: Rows, places: list[int]) -> list[float]:
        predictions = self._predictions(rows).cpu()
        return [self.members[n].task.fit_accuracy(predictions[row], self.truths[n]) for row, n in enumerate(places)]

    def _figures(
        self, rows: Rows, places: list[int], losses: list[Tensor], asked: bool
    ) -> list[tuple[float, float | None]]:
        """Mean loss and, if ``asked`` for, fit accuracy of every row, in one transfer from the device."""
        means = torch.stack(losses, dim=1).mean(dim=1).double()
        if not asked:
            return [(loss, None) for loss in means.tolist()[: len(places)]]
        predictions = self._predictions(rows)
        figures = torch.cat([means[:, None], predictions.double()], dim=1).cpu()
        found = figures[:, 1:].to(predictions.dtype)
        return [
            (float(figures[row, 0]), self.members[n].task.fit_accuracy(found[row], self.truths[n]))
            for row, n in enumerate(places)
        ]

    def _outcome(self, number: int, whole: bool) -> Outcome | EngineFailure:
        member = self.members[number]
        model = self._network(number, [[tensor[number] for tensor in weights] for weights in self.home])
        if whole:
            steps = [phase.steps for phase in self.phases[number] if phase.steps]
            taken = [(*planned, n) for planned, n in zip(self.taken, steps, strict=True)]
            for module in model.modules():
                if isinstance(module, nn.LSTM | nn.GRU):
                    for weights_left in idle_weights(module):
                        decay(weights_left, taken)
        model.eval()
        became = nonfinite(model) - self.broken[number]
        if became:
            what = f"became non-finite during unlearning: {listed(sorted(became))}; lower the learning rate"
            return EngineFailure(what)
        phases, trace = tuple(self.phases[number]), tuple(self.trace[number])
        return Outcome(model=model, phases=phases, trace=trace, seed=member.seed, num_fit=len(member.fit))
