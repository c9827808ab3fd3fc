"""The training loop that all phases share which train: caps, stop rule, schedule, views, trace.

A kind of phase that trains towards something else than labels derives from :class:`Training` and says what the loss is,
what comes before a step, or which labels a batch has.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ..errors import EngineFailure
from .batches import epoch_batches
from .context import Context
from .monitor import PhaseMonitor
from .optimization import learning_rate_of, make_optimizer, make_scheduler, most_steps
from .outcome import EpochTrace, PhaseOutcome
from .pace import Pace
from .training_mode import enter_training, moves_batch_statistics, trainable_parameters
from .training_settings import TrainingSettings

S = TypeVar("S", bound=TrainingSettings)


class Batch(NamedTuple):
    """One training step: which examples (on the CPU, and the same on their device), and the labels to train on."""

    where: Tensor
    at: Tensor
    labels: Tensor


class Training(Generic[S]):
    """Trains the network of ``context`` towards the true labels of its working set; subclasses towards other things.

    ``forgets``: the stop rule is met below its threshold, not above it. ``epochs_before``: of the same phase, which the
    trace counts on from.
    """

    forgets: ClassVar[bool] = False
    epochs_before: int = 0

    def __init__(self, context: Context, settings: S) -> None:
        self.context, self.settings = context, settings

    def begin(self) -> None:
        """Called once, before the first epoch."""

    def mode(self) -> None:
        """Called before every epoch: put the network into the mode that it trains in."""
        enter_training(self.context.model, self.context.config)

    def labels(self, order: Tensor) -> Tensor:
        """Labels to train on, on the CPU, for the examples at ``order`` of the working set; asked once per epoch."""
        return self.context.ground_truth.labels[order]

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the network is trained on instead of these views of a batch; it may be asked, not changed, here."""
        return inputs

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """The loss of one step, a scalar; computed under the precision of the run."""
        return self.context.task.loss(self.context.model, inputs, batch.labels)

    def before_update(self) -> None:
        """Called between the gradients of a step and the optimizer, without gradients."""

    def after_step(self) -> None:
        """Called after every step, without gradients: put weights back where they must be."""

    def as_it_ends(self) -> AbstractContextManager[None]:
        """While it lasts, the network computes as it would if the phase ended now; for figures and observers."""
        return nullcontext()

    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer changes."""
        return trainable_parameters(self.context.model, self.context.config.trainable)

    def run(self) -> PhaseOutcome:
        """Train until the stop rule or a cap; one device synchronisation per epoch.

        Raises:
            EngineFailure: a loss became non-finite, nothing is to be trained, or one example at a time cannot move
                BatchNorm statistics.
        """
        context, settings, config = self.context, self.settings, self.context.config
        start = context.accuracy()
        if settings.max_epochs == 0:
            return PhaseOutcome(settings.name, "off", None, start, start)
        self._check()
        monitor = PhaseMonitor(settings, self.forgets, context.guess, context.chance, start)
        total = most_steps(settings, len(context.fit), config.batch_size)
        if total == 0:
            return monitor.outcome("no-steps", 0, 0)
        rate = learning_rate_of(settings, context.model, config)
        paced = settings.model_copy(update={"learning_rate": rate})
        optimizer = make_optimizer(paced, self.parameters(), fused=True if context.precision.scales else None)
        scheduler = make_scheduler(paced, optimizer, total)
        self.begin()
        steps, epoch, status = 0, 0, None
        pace = Pace(settings, total)
        with context.noisy(settings.views):
            while status is None:
                began = time.perf_counter()
                self.mode()
                losses = []
                for batch in self._epoch()[: total - steps]:
                    pace.tell(epoch, steps)
                    plain = steps >= total * (1 - settings.views.plain_end)
                    losses.append(self._step(batch, optimizer, scheduler, plain))
                    with torch.no_grad():
                        self.after_step()
                    context.keep_pruned()
                    steps += 1
                last = steps >= total
                with self.as_it_ends():
                    loss, accuracy = self._figures(losses, monitor.asks(epoch, last, context.trace_every))
                    late = context.time_is_up()
                    if late and accuracy is None:
                        accuracy = context.accuracy()
                    if not math.isfinite(loss):
                        raise EngineFailure(monitor.lost(epoch))
                    seconds = time.perf_counter() - began
                    number = self.epochs_before + epoch
                    context.trace.append(EpochTrace(settings.name, number, len(losses), loss, accuracy, seconds))
                    context.watch(settings.name, number)
                status = monitor.status(epoch, accuracy, last, late)
                epoch += 1
        return monitor.outcome(status, epoch, steps)

    def _check(self) -> None:
        few = 1 in (len(self.context.fit), self.context.config.batch_size)
        if few and moves_batch_statistics(self.context.model, self.context.config):
            what = "one fit example" if len(self.context.fit) == 1 else "batches of one example"
            raise EngineFailure(f"{what} cannot train BatchNorm statistics; use --set batch_norm=frozen-stats")

    def _epoch(self) -> list[Batch]:
        """The batches of an epoch: drawn on the CPU, brought over in two copies."""
        context = self.context
        count, size, draws = len(context.fit), context.config.batch_size, self.settings.examples_per_epoch
        batches = epoch_batches(count, draws, size, context.generator, self.settings.order == "shuffled")
        order, sizes = torch.cat(batches), [len(batch) for batch in batches]
        labels, device = self.labels(order), context.device
        parts = zip(batches, torch.split(order.to(device), sizes), torch.split(labels.to(device), sizes), strict=True)
        return [Batch(*part) for part in parts]

    def _step(
        self, batch: Batch, optimizer: torch.optim.Optimizer, scheduler: LRScheduler | None, plain: bool
    ) -> Tensor:
        context, settings = self.context, self.settings
        rows = context.fit.rows(batch.where, batch.at)
        inputs = {name: context.view(tensor, settings.views, plain) for name, tensor in rows.items()}
        inputs = self.before_step(inputs, batch)
        optimizer.zero_grad(set_to_none=True)
        with context.precision.forward():
            loss = self.loss(inputs, batch)
        if not loss.requires_grad:
            scope = context.config.trainable
            raise EngineFailure(f"none of the parameters to train (trainable={scope}) takes part in the output")
        context.precision.step(loss, optimizer, settings.max_grad_norm, self.before_update)
        if scheduler is not None:
            scheduler.step()
        return loss.detach()

    def _figures(self, losses: list[Tensor], asked: bool) -> tuple[float, float | None]:
        """Mean loss and, if ``asked`` for, fit accuracy in one transfer from the device; then in eval mode."""
        context = self.context
        if not asked:
            context.model.eval()
            return float(torch.stack(losses).float().mean().double()), None
        predictions = context.predictions()
        figures = torch.cat([torch.stack(losses).float().mean().double().view(1), predictions.flatten().double()]).cpu()
        found = figures[1:].to(predictions.dtype).view(predictions.shape)
        return float(figures[0]), context.task.fit_accuracy(found, context.ground_truth)
