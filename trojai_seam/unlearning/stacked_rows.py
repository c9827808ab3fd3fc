"""The networks of a stack that are in training at this moment: weights, examples, generators and optimizer state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .optimization import make_optimizer, make_scheduler
from .phases.train_work import negative_entropy
from .stacked_layers import Layer, Pass, Plain, known_product, padded
from .training_settings import TrainingSettings


class Asking(Pass):
    """Keeps the first product: until the weights change, the same examples give it in training, too."""

    first: Tensor | None = None

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result = super().product(x, weight, bias)
        self.first = result if self.first is None else self.first
        return result


class Training(Pass):
    """Dropout and noise of every row from its own generator, as it would draw alone; rows without one get nothing."""

    def __init__(self, generators: Sequence[torch.Generator | None]) -> None:
        self.generators = generators
        self.first: Tensor | None = None
        """The next product, if it is known."""

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        first, self.first = self.first, None
        return super().product(x, weight, bias) if first is None else known_product(x, weight, bias, first)

    def dropout(self, x: Tensor, share: float, width: int) -> Tensor:
        kept = x.new_zeros((*x.shape[:-1], width))
        for row, generator in enumerate(self.generators):
            if generator is not None:
                kept[row].bernoulli_(1 - share, generator=generator)
        return x * padded(kept.div_(1 - share))[..., : x.shape[-1]]

    def noise(self, x: Tensor) -> Tensor:
        """Standard normal numbers like ``x``."""
        noise = torch.zeros_like(x)
        for row, generator in enumerate(self.generators):
            if generator is not None:
                noise[row].normal_(generator=generator)
        return noise


def stacked_scores(layers: Sequence[Layer], weights: Sequence[Sequence[Tensor]], x: Tensor, through: Pass) -> Tensor:
    """What ``layers`` make of ``x [R, n, …]``, padding included."""
    for layer, some in zip(layers, weights, strict=True):
        x = layer(x, some, through)
    return x


class Rows:
    """R networks in training.

    Args:
        layers: what they have in common.
        classes: C of their scores.
        weights: of each layer, ``[R, …]`` each; they are trained in place.
        x: fit examples ``[R, N, …]``.
        generators: of dropout and noise, one per row.
        phase: says how they are trained.
        planned: steps that the schedule is for.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        classes: int,
        weights: Sequence[Sequence[Tensor]],
        x: Tensor,
        generators: Sequence[torch.Generator | None],
        phase: TrainingSettings,
        planned: int,
    ) -> None:
        self.layers, self.classes, self.x, self.draws = layers, classes, x, Training(generators)
        self.weights = [[nn.Parameter(tensor) for tensor in layer] for layer in weights]
        self.parameters = [parameter for layer in self.weights for parameter in layer]
        self._first: Tensor | None = None
        weighted = next(place for place, layer in enumerate(self.weights) if layer)
        # What training does before the first product is what asking does.
        self._alike = not any(isinstance(layer, Plain) and layer.share for layer in layers[:weighted])
        self.optimizer = make_optimizer(phase, self.parameters, fused=True)
        self.scheduler = make_scheduler(phase, self.optimizer, planned)

    @torch.no_grad()
    def all_scores(self) -> Tensor:
        """``[R, N, C]`` of all fit examples, as in evaluation."""
        asking = Asking()
        scores = stacked_scores(self.layers, self.weights, self.x, asking)
        one_each = asking.first is not None and asking.first.shape[1] == self.x.shape[1]
        self._first = asking.first if self._alike and one_each else None
        return scores[..., : self.classes]

    def step(self, where: Tensor, labels: Tensor, noise: float, uniform: bool = False) -> Tensor:
        """One training step on the examples ``where [R, n]`` with ``labels [R, n]``, or towards ``uniform`` answers;
        the loss of every row."""
        rows, count = where.shape
        flat = where + torch.arange(rows, device=where.device)[:, None] * self.x.shape[1]
        x = self.x.flatten(0, 1)[flat]
        if noise:
            x = x + noise * self.draws.noise(x)
        elif self._first is not None and count > 1:
            self.draws.first = self._first.flatten(0, 1)[flat]
        self._first = None
        self.optimizer.zero_grad(set_to_none=True)
        scores = stacked_scores(self.layers, self.weights, x, self.draws)[..., : self.classes]
        if uniform:
            losses = negative_entropy(scores)
        else:
            losses = functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
        loss = losses.view(rows, count).mean(dim=1)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return loss.detach()

    def rest(self, row: int) -> None:
        """What ``row`` draws from now on is nobody's."""
        self.draws.generators = [None if n == row else one for n, one in enumerate(self.draws.generators)]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        at = torch.as_tensor(list(rows), device=self.x.device)
        self.x = self.x[at]
        self._first = None if self._first is None else self._first[at]
        self.draws.generators = [self.draws.generators[row] for row in rows]
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.data[at], None
            state = self.optimizer.state[parameter]
            for name, value in state.items():
                if isinstance(value, Tensor) and value.ndim:
                    state[name] = value[at]
