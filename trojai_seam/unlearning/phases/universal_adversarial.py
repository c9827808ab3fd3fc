"""Unlearn a universal change of images that the network itself gives away, with the gradient of how it depends on it.

Zeng et al., "Adversarial Unlearning of Backdoors via Implicit Hypergradient" (I-BAU), ICLR 2022, arXiv 2110.03735. In
every round one change is looked for that leads clean images away from what the network says of them; then the network
is trained to give true labels to images with it. The weights decide which change is found, and the implicit
hypergradient takes that into account.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..adversarial import implicit_part, span, universal
from ..batches import epoch_batches
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..settings import Rate, Share
from ..training import Batch, Training
from ..training_settings import TrainingSettings


class UniversalAdversarialSettings(TrainingSettings):
    """An epoch is a round. Sizes are in units of the span of the fit images' values."""

    kind: Literal["universal-adversarial"] = "universal-adversarial"
    search_rate: Rate = 10.0
    """Of the search for the change: one step of gradient descent per batch."""
    size_weight: float = Field(default=1e-3, ge=0, le=1e6)
    """Of the change's squared length, in the search."""
    inner_rate: Rate = 0.1
    """Of the gradient descent whose fixed point the change is taken to be."""
    iterations: int = Field(default=5, ge=0, le=1000)
    """Of the implicit hypergradient's fixed point (K); 0: without it."""
    share: Share = 0.01
    """Of the images of a batch that get the change; at least one."""


class UniversalAdversarial(Training[UniversalAdversarialSettings]):
    """Everything is in eval mode: no dropout, and BatchNorm statistics stay."""

    change: Tensor

    def begin(self) -> None:
        context = self.context
        self.span = span(context.fit.inputs["x"])
        first = torch.arange(min(len(context.fit), context.config.batch_size))
        self.anchor = self._inputs(first), context.ground_truth.labels[first].to(context.device)

    def mode(self) -> None:
        context, settings = self.context, self.settings
        context.model.eval()
        batches = epoch_batches(len(context.fit), None, context.config.batch_size, context.generator)

        def away(where: Tensor) -> Callable[[Tensor], Tensor]:
            inputs = self._inputs(where)
            with torch.no_grad():
                said = context.task.outputs(context.model, inputs).argmax(dim=1)
            return lambda change: self._inner(inputs, said, change)

        blank = torch.zeros_like(context.fit.inputs["x"][:1])
        self.change = universal(blank, ((away(where), settings.search_rate) for where in batches))

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        # The fused kernels of attention have no second derivative, which the implicit part asks for.
        with sdpa_kernel(SDPBackend.MATH) if self.settings.iterations else nullcontext():
            return self._loss(inputs, batch)

    def _loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        context, settings = self.context, self.settings
        change = self.change.clone().requires_grad_()
        count = len(batch.where)
        some = torch.randperm(count, generator=context.generator)[: max(1, int(settings.share * count))]
        given = torch.zeros(count, 1, 1, 1).index_fill_(0, some, 1.0).to(context.device)
        images = inputs["x"] + given * self.span * change
        loss = context.task.loss(context.model, {**inputs, "x": images}, batch.labels)
        if not settings.iterations or not loss.requires_grad:
            return loss
        (outer,) = torch.autograd.grad(loss, change, retain_graph=True)
        (slope,) = torch.autograd.grad(self._inner(*self.anchor, change), change, create_graph=True)
        part = implicit_part(slope, change, outer, settings.inner_rate, settings.iterations)
        return loss + (part - part.detach())

    def _inner(self, inputs: dict[str, Tensor], labels: Tensor, change: Tensor) -> Tensor:
        images = inputs["x"] + self.span * change
        loss = self.context.task.loss(self.context.model, {**inputs, "x": images}, labels)
        return self.settings.size_weight * change.square().sum() - loss

    def _inputs(self, where: Tensor) -> dict[str, Tensor]:
        return self.context.fit.rows(where, where.to(self.context.device))


def universal_adversarial(context: Context, settings: UniversalAdversarialSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return UniversalAdversarial(context, settings).run()


KIND = PhaseKind(UniversalAdversarialSettings, universal_adversarial, serves=("images",))
