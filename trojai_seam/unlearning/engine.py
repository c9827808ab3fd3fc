"""The SEAM engine: forget on random labels, then recover on the true ones.

Method: Zhu, Tang, Tang, Wang, Tang, "Selective Amnesia: On Efficient, High-Fidelity and Blind Suppression of Backdoor
Effects in Trojaned Machine Learning Models", IEEE S&P 2023, arXiv 2212.04687, section IV.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ..errors import EngineFailure, listed
from ..tasks import ExampleSet, Task
from ..tasks.calling import BATCH, all_outputs
from .augmentation import view
from .batches import epoch_batches
from .config import ForgetConfig, PhaseConfig, UnlearnConfig
from .embedding_noise import noisy_embeddings
from .memory_layout import channels_first, channels_last
from .optimization import learning_rate_of, make_optimizer, make_scheduler, most_steps, nonfinite
from .outcome import EpochTrace, Outcome, PhaseOutcome
from .precision import StepPrecision
from .schedule import StopWatcher, final_status, threshold
from .training_mode import enter_training, moves_batch_statistics, trainable_parameters

Observer = Callable[[str, int, nn.Module], None]
"""Called after every epoch with (phase, epoch, network in eval mode). It can only watch: its result is ignored."""


def unlearn(
    model: nn.Module,
    task: Task,
    fit: ExampleSet,
    config: UnlearnConfig,
    seed: int,
    observer: Observer | None = None,
) -> Outcome:
    """Unlearn a copy of ``model`` on ``fit``; the original is left as it is.

    Args:
        model: any network that ``task`` can call; parameters and examples on one device.
        task: loss, random labels, and what answers are worth.
        fit: the clean examples that may be trained on. Nothing else is ever looked at.
        config: what to do; see :class:`UnlearnConfig`.
        seed: decides labels, order and dropout. The same seed gives the same result on the same machine.
        observer: watches after every epoch, for oracle figures; cannot influence anything.

    Raises:
        EngineFailure: no examples, one example at a time with moving BatchNorm statistics, nothing to train, the head
            of a detector alone, a precision that the device lacks, or a non-finite loss or weight.
        ConfigProblem: a setting is out of range.
    """
    config.check()
    if len(fit) == 0:
        raise EngineFailure("there is no fit example to unlearn with")
    if task.places and config.trainable == "head":
        raise EngineFailure("trainable=head would train the last layer only, which in a detector knows no classes")
    broken = nonfinite(model)
    if any(name in broken for name, _ in model.named_parameters()):
        raise EngineFailure(f"the network has non-finite weights before unlearning: {listed(sorted(broken))}")
    model = copy.deepcopy(model)
    # On a GPU it is the units for short numbers that want channels last; float32 kernels there are made for the other.
    if fit.labels.device.type == "cpu" or config.precision != "float32":
        few = {name: tensor[:2] for name, tensor in fit.inputs.items()}
        channels_last(model, lambda: task.outputs(model, few))
    if 1 in (len(fit), config.batch_size) and moves_batch_statistics(model, config):
        what = "one fit example" if len(fit) == 1 else "batches of one example"
        raise EngineFailure(f"{what} cannot train BatchNorm statistics; use --set batch_norm=frozen-stats")
    generator = torch.Generator().manual_seed(seed)
    run = _Run(model, task, fit, config, generator, observer)
    noise = noisy_embeddings(model, config.feature_noise)
    with noise, torch.random.fork_rng(devices=run.devices), torch.enable_grad():
        torch.manual_seed(seed)  # for dropout, which draws from the global generators
        phases = (run.phase("forget", config.forget), run.phase("recover", config.recover))
    channels_first(model.eval())
    became = nonfinite(model) - broken
    if became:
        raise EngineFailure(f"became non-finite during unlearning: {listed(sorted(became))}; lower the learning rate")
    return Outcome(model=model, phases=phases, trace=tuple(run.trace), seed=seed, num_fit=len(fit))


class _Batch(NamedTuple):
    """One training step: which examples (on the CPU, and the same on their device), and the labels to train on."""

    where: Tensor
    at: Tensor
    labels: Tensor


class _Run:
    """The state of one unlearning run, shared by its phases."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        fit: ExampleSet,
        config: UnlearnConfig,
        generator: torch.Generator,
        observer: Observer | None,
    ) -> None:
        self.model, self.task, self.fit, self.config = model, task, fit, config
        self.generator, self.observer = generator, observer
        self.key = fit.key()
        self.chance, self.guess = task.chance(self.key), task.guess(self.key)
        self.devices = [fit.labels.device] if fit.labels.device.type == "cuda" else []
        self.precision = StepPrecision(config.precision, fit.labels.device)
        self.trace: list[EpochTrace] = []

    def phase(self, name: str, phase: PhaseConfig) -> PhaseOutcome:
        """Train until the stop rule or a cap; one device synchronisation per epoch."""
        config, began = self.config, time.perf_counter()
        start = self.accuracy()
        if phase.max_epochs == 0:
            return PhaseOutcome(name, "off", None, start, start, 0, 0, 0.0)
        limit = threshold(phase.stop, self.guess, self.chance, start)
        watcher = StopWatcher(phase.stop, limit, below=name == "forget")
        trivial = watcher.trivial(start)
        total = most_steps(phase, len(self.fit), config.batch_size)
        if total == 0:
            return PhaseOutcome(name, "no-steps", limit, start, start, 0, 0, 0.0)
        phase = replace(phase, learning_rate=learning_rate_of(phase, self.model, config))
        parameters = trainable_parameters(self.model, config.trainable)
        optimizer = make_optimizer(phase, parameters, fused=True if self.precision.scales else None)
        scheduler = make_scheduler(phase, optimizer, total)
        fixed = self._fixed_labels(phase)
        steps, status, accuracy, epoch = 0, "missed", start, 0
        for epoch in range(phase.max_epochs):
            epoch_began = time.perf_counter()
            enter_training(self.model, config)
            batches = self._epoch(phase, fixed)[: total - steps]
            losses = []
            for batch in batches:
                plain = steps >= total * (1 - phase.plain_end)
                losses.append(self._step(batch, phase, optimizer, scheduler, plain))
                steps += 1
            loss, accuracy = self._epoch_figures(losses)
            if not math.isfinite(loss):
                raise EngineFailure(f"the {name} loss became non-finite in epoch {epoch}; lower {name}.learning_rate")
            now = time.perf_counter()
            self.trace.append(EpochTrace(name, epoch, len(batches), loss, accuracy, now - epoch_began))
            if self.observer is not None:
                with torch.random.fork_rng(devices=self.devices):  # what it draws must not shift dropout
                    self.observer(name, epoch, self.model)
            if watcher.should_stop(epoch, accuracy):
                status = "declined" if watcher.declined else "reached"
                break
            if steps >= total:
                break
            if phase.max_seconds is not None and now - began >= phase.max_seconds:
                status = "time-limit"
                break
        status = final_status(status, trivial, limit)
        return PhaseOutcome(name, status, limit, start, accuracy, epoch + 1, steps, time.perf_counter() - began)

    def _fixed_labels(self, phase: PhaseConfig) -> Tensor | None:
        """Training labels of all fit examples, on the CPU; ``None`` if every epoch draws new ones."""
        if not isinstance(phase, ForgetConfig):
            return self.key.labels
        if phase.fresh_labels:
            return None
        return self.task.random_labels(self.key, torch.arange(len(self.fit)), phase.label_sampling, self.generator)

    def _epoch(self, phase: PhaseConfig, fixed: Tensor | None) -> list[_Batch]:
        """The batches of an epoch: drawn on the CPU, brought over in two copies."""
        batches = epoch_batches(len(self.fit), phase.draws_per_epoch, self.config.batch_size, self.generator)
        order, sizes = torch.cat(batches), [len(batch) for batch in batches]
        if fixed is not None:
            labels = fixed[order]
        else:
            sampling = phase.label_sampling if isinstance(phase, ForgetConfig) else "uniform"
            labels = self.task.random_labels(self.key, order, sampling, self.generator)
        device = self.fit.labels.device
        parts = zip(batches, torch.split(order.to(device), sizes), torch.split(labels.to(device), sizes), strict=True)
        return [_Batch(*part) for part in parts]

    def _step(
        self,
        batch: _Batch,
        phase: PhaseConfig,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        plain: bool,
    ) -> Tensor:
        inputs = {name: self._view(tensor, plain) for name, tensor in self.fit.rows(batch.where, batch.at).items()}
        optimizer.zero_grad(set_to_none=True)
        with self.precision.forward():
            loss = self.task.loss(self.model, inputs, batch.labels)
        if not loss.requires_grad:
            scope = self.config.trainable
            raise EngineFailure(f"none of the parameters to train (trainable={scope}) takes part in the output")
        self.precision.step(loss, optimizer, self.model, phase.longest_gradient)
        if scheduler is not None:
            scheduler.step()
        return loss.detach()

    def _view(self, tensor: Tensor, plain: bool) -> Tensor:
        """What training sees of a batch of inputs; see :func:`.augmentation.view`."""
        if not tensor.is_floating_point():
            return tensor
        if tensor.ndim == 4:
            tensor = view(tensor, self.config, still=self.task.places, plain=plain)
        if self.config.feature_noise:
            tensor = tensor + self.config.feature_noise * torch.randn_like(tensor)
        return tensor

    def _ask(self) -> Tensor:
        """Answers to all fit examples, on the device."""
        self.model.eval()
        # Without gradients much more fits than in training, but a batch that had to be halved must help here too.
        size = max(self.config.batch_size, min(BATCH, 32 * self.config.batch_size))
        outputs = all_outputs(self.model, self.task, self.fit, size)
        return self.task.answers(outputs, self.fit)

    def accuracy(self) -> float:
        """Fit accuracy of the network as it is, eval mode."""
        return self.task.fit_accuracy(self._ask().cpu(), self.key)

    def _epoch_figures(self, losses: list[Tensor]) -> tuple[float, float]:
        """Mean loss and fit accuracy in one transfer from the device."""
        answers = self._ask()
        figures = torch.cat([torch.stack(losses).float().mean().double().view(1), answers.flatten().double()]).cpu()
        accuracy = self.task.fit_accuracy(figures[1:].to(answers.dtype).view(answers.shape), self.key)
        return float(figures[0]), accuracy
