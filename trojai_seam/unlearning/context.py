"""What a phase gets to work with: the network that it changes, the one as shipped, the examples, and the clock."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ..tasks import ExampleSet, Task
from ..tasks.calling import BATCH, all_outputs
from .augmentation import view
from .config import UnlearnConfig
from .embedding_noise import noisy_embeddings
from .outcome import EpochTrace
from .perturbations import Change, Family
from .phase_kinds import Modality
from .precision import StepPrecision
from .training_settings import Views


@dataclass(frozen=True)
class Suspicion:
    """What a trigger of the network may be like.

    Attributes:
        family: of changes.
        target: the class that they lead to.
        weight: how much speaks for it, in proportion to the other suspicions.
        changes: where to begin, for local families.
    """

    family: Family
    target: int
    weight: float = 1.0
    changes: tuple[Change, ...] = ()


Observer = Callable[[str, int, nn.Module], None]
"""Called after every epoch with (phase, epoch, network in eval mode), and once, as epoch 0, after a phase that has no
epochs. It can only watch: its result is ignored."""


class Context:
    """The state of one run of unlearning, shared by its phases.

    Attributes:
        model: the network that phases change in place, one after the other. On a CPU its convolutions lie channels
            last in memory.
        task: what it does; a phase that replaces the examples may replace it, too.
        fit: the working set that phases train on: the examples as given, until a phase calls :meth:`use`. Nothing else
            of the model's examples is ever seen.
        given: the fit examples as given.
        ground_truth: of ``fit``: labels on the CPU.
        config: settings that all phases share.
        seed: of this run. Random choices come from ``generator`` (on the CPU) or from torch's global generators, which
            the engine has seeded with it and will put back.
        precision: of training steps.
        trace: of epochs, to be added to.
        trace_every: epochs between two accuracies that are asked for the trace alone.
        channels_last: whether convolutions of ``shipped`` lie so in memory, too.
        suspicions: what a phase found out about the trigger, for those that follow; empty: nothing.
        evident: the family that gave away a class which stands out so far that deep forgetting may be left out, if any.
        deadline: of ``time.perf_counter()``: the phase should end by then; ``None`` for never.
        teacher: a frozen network that a phase has made for later ones to learn from.
        masks: of BatchNorm channels, by the path of their layer, that a phase has learnt for later ones.
    """

    def __init__(
        self,
        model: nn.Module,
        shipped: nn.Module,
        task: Task,
        fit: ExampleSet,
        config: UnlearnConfig,
        seed: int,
        observer: Observer | None,
        trace_every: int = 1,
        channels_last: bool = False,
    ) -> None:
        self.model, self.config, self.seed, self.given = model, config, seed, fit
        self.generator = torch.Generator().manual_seed(seed)
        self.device = fit.labels.device
        self.devices = [self.device] if self.device.type == "cuda" else []
        """For ``torch.random.fork_rng``."""
        self.precision = StepPrecision(config.precision, self.device)
        self.trace: list[EpochTrace] = []
        self.suspicions: tuple[Suspicion, ...] = ()
        self.evident: Family | None = None
        self.deadline: float | None = None
        self._shipped, self._observer = shipped, observer
        self.trace_every, self.channels_last = trace_every, channels_last
        self.teacher: nn.Module | None = None
        self.masks: dict[str, Tensor] = {}
        self._pruned: list[tuple[Tensor, Tensor]] = []
        self.fit, self.task, self.ground_truth = fit, task, fit.ground_truth()

    def use(self, fit: ExampleSet, task: Task | None = None) -> None:
        """From now on phases train on ``fit``, on the device of the examples as given, and by ``task`` if set."""
        self.fit, self.ground_truth = fit, fit.ground_truth()
        self.task = self.task if task is None else task

    @torch.no_grad()
    def prune(self, parameter: Tensor, where: Tensor) -> None:
        """Set ``parameter`` to zero at ``where`` (``bool`` of its shape), for this phase and all later ones."""
        self._pruned.append((parameter, where))
        parameter.masked_fill_(where, 0)

    @torch.no_grad()
    def keep_pruned(self) -> None:
        """What :meth:`prune` set to zero is zero again; asked after every step of training."""
        for parameter, where in self._pruned:
            parameter.masked_fill_(where, 0)

    def restore(self) -> None:
        """Give the network its weights as shipped back, but for what was pruned."""
        self.model.load_state_dict(self.shipped.state_dict())
        self.keep_pruned()

    @property
    def chance(self) -> float:
        """Fit accuracy of knowing nothing; see ``Task.chance``."""
        return self.task.chance(self.ground_truth)

    @property
    def guess(self) -> float:
        """Fit accuracy of random answers; see ``Task.guess``."""
        return self.task.guess(self.ground_truth)

    @cached_property
    def shipped(self) -> nn.Module:
        """A copy of the network as it was shipped, in eval mode, without gradients; made when first asked for."""
        shipped = copy.deepcopy(self._shipped).eval()
        if self.channels_last:
            shipped.to(memory_format=torch.channels_last)
        return shipped.requires_grad_(False)

    def noisy(self, views: Views) -> AbstractContextManager[None]:
        """While training, word embeddings with the noise of ``views``, in units of the shipped network's."""
        return noisy_embeddings(self.model, views.noise, self._shipped)

    @property
    def modality(self) -> Modality:
        """What is unlearned; see :data:`.phase_kinds.MODALITIES`."""
        return modality_of(self.task, self.fit)

    def view(self, tensor: Tensor, views: Views, plain: bool = False) -> Tensor:
        """What training sees of a batch of inputs; ``plain``: without colours and patches."""
        if not tensor.is_floating_point():
            return tensor
        if tensor.ndim == 4:
            tensor = view(tensor, views, still=self.task.places, plain=plain)
        if views.noise:
            tensor = tensor + views.noise * torch.randn_like(tensor)
        return tensor

    def predictions(self) -> Tensor:
        """Predictions of the network as it is to all of ``fit``, on their device; it is in eval mode afterwards."""
        self.model.eval()
        # Without gradients much more fits than in training, but a batch that had to be halved must help here too.
        size = max(self.config.batch_size, min(BATCH, 32 * self.config.batch_size))
        return self.task.predictions(all_outputs(self.model, self.task, self.fit, size), self.fit)

    @property
    def key(self) -> ExampleSet:
        """What :attr:`ground_truth` was called."""
        warnings.warn("Context.key is now called ground_truth", DeprecationWarning, 2)
        return self.ground_truth

    def answers(self) -> Tensor:
        """What :meth:`predictions` was called."""
        warnings.warn("Context.answers is now called predictions", DeprecationWarning, 2)
        return self.predictions()

    def accuracy(self) -> float:
        """Fit accuracy of the network as it is, which is in eval mode afterwards; what it is says ``Task``."""
        return self.task.fit_accuracy(self.predictions().cpu(), self.ground_truth)

    def watch(self, phase: str, epoch: int) -> None:
        """Let the observer see the network, which must be in eval mode."""
        if self._observer is not None:
            with torch.random.fork_rng(devices=self.devices):  # what it draws must not shift dropout
                self._observer(phase, epoch, self.model)

    def time_is_up(self) -> bool:
        """Whether the phase has used up its ``max_seconds``."""
        return self.deadline is not None and time.perf_counter() >= self.deadline


def modality_of(task: Task, examples: ExampleSet) -> Modality:
    """``boxes`` for detectors, ``tokens`` where ids go in, ``images`` for ``x [N, C, H, W]``, else ``vectors``."""
    if task.places:
        return "boxes"
    inputs = list(examples.inputs.values())
    if not any(tensor.is_floating_point() for tensor in inputs):
        return "tokens"
    return "images" if any(tensor.ndim == 4 for tensor in inputs) else "vectors"


def evidence(examples: int) -> float:
    """How far a number of fit examples can be relied on, 0 to 1: a half for 200. Phases take from it how much may be
    forgotten, since what is lost has to be learnt again from these examples, and how fast to learn from them."""
    return examples / (examples + 200)
