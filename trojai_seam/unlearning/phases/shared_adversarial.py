"""Unlearn changes of images that fool the network as shipped and the one being repaired in the same way.

Wei et al., "Shared Adversarial Unlearning: Backdoor Mitigation by Unlearning Shared Adversarial Examples" (SAU),
NeurIPS 2023, arXiv 2307.10562. An image with a trigger fools both networks towards the same class; so do the changes
that are looked for here, and the repaired network is taught to give another answer than the shipped one.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ..adversarial import signed_descent, span
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Batch, Training
from ..training_settings import TrainingSettings

_LEAST = 1e-6
_SURE = 0.999
"""An answer that is another one with this probability has been unlearnt."""


class SharedAdversarialSettings(TrainingSettings):
    """An epoch is a round. Sizes are in units of the span of the fit images' values."""

    kind: Literal["shared-adversarial"] = "shared-adversarial"
    bound: float = Field(default=0.2, ge=0, le=10)
    """No pixel is changed by more."""
    step: float = Field(default=0.2, ge=0, le=10)
    """How far every pixel is moved in one step of the search, in the units of ``bound``."""
    steps: int = Field(default=5, ge=0, le=1000)
    """Of the search for changes; it begins with all pixels raised by ``bound``."""
    fool_weight: float = Field(default=0.01, ge=0, le=1e6)
    """In the search, of fooling both networks."""
    share_weight: float = Field(default=1.0, ge=0, le=1e6)
    """In the search, of fooling them alike."""
    unlearn_weight: float = Field(default=1.0, ge=0, le=1e6)
    """In training, of answering otherwise than the shipped network, beside the true labels of unchanged images."""


class SharedAdversarial(Training[SharedAdversarialSettings]):
    """Everything is in eval mode: no dropout, and BatchNorm statistics stay."""

    said: Tensor
    """What the shipped network says of the changed images of a batch, ``int64 [n]``."""
    fooled: Tensor
    """Where that is neither true nor what it says of the unchanged ones, ``bool [n]``."""
    changed: Tensor

    def begin(self) -> None:
        self.unit = float(span(self.context.fit.inputs["x"]))

    def mode(self) -> None:
        self.context.model.eval()

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        context, settings = self.context, self.settings
        unit, images = self.unit, inputs["x"]
        networks = (context.model, context.shipped)

        def scores(network: nn.Module, seen: Tensor) -> Tensor:
            return context.task.outputs(network, {**inputs, "x": seen}).float()

        with torch.no_grad():
            before = [scores(network, images).argmax(dim=1) for network in networks]

        def fooling(change: Tensor) -> tuple[Tensor, Tensor]:
            now = [scores(network, images + change) for network in networks]
            return shared_loss(now, before, batch.labels, settings.fool_weight, settings.share_weight)

        start = torch.full_like(images, settings.bound * unit)
        change = signed_descent(start, fooling, settings.step * unit, settings.bound * unit, settings.steps)
        self.changed = images + change
        with torch.no_grad():
            self.said = scores(context.shipped, self.changed).argmax(dim=1)
        self.fooled = (self.said != batch.labels) & (self.said != before[1])
        return inputs

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        both = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items() if name != "x"}
        images = torch.cat([inputs["x"], self.changed])
        scores = self.context.task.outputs(self.context.model, {**both, "x": images}).float()
        plain, changed = scores.chunk(2)
        loss = functional.cross_entropy(plain, batch.labels)
        return loss + self.settings.unlearn_weight * unlearning_loss(changed, self.said, self.fooled)


def shared_loss(
    scores: list[Tensor], before: list[Tensor], labels: Tensor, fool_weight: float, share_weight: float
) -> tuple[Tensor, Tensor]:
    """What the search for changes makes smaller: per image minus the mean of both networks' cross-entropy, as far as
    each is not fooled yet, plus the Jensen-Shannon divergence of their answers while they are not fooled alike.

    Args:
        scores: of both networks for the changed images, ``float [n, C]`` each.
        before: what each says of the unchanged ones, ``int64 [n]``.
        labels: ``int64 [n]``.
        fool_weight: of the first part.
        share_weight: of the second one.

    Returns:
        The loss, a scalar, and which images fool both networks alike, ``bool [n]``.
    """
    said = [one.argmax(dim=1) for one in scores]
    fooled = [now != was for now, was in zip(said, before, strict=True)]
    shared = fooled[0] & fooled[1] & (said[0] == said[1])
    pairs = zip(scores, fooled, strict=True)
    left = [(functional.cross_entropy(one, labels, reduction="none") * ~done).sum() for one, done in pairs]
    chances = [one.softmax(dim=1).clamp_min(1e-8) for one in scores]
    middle = (chances[0] + chances[1]) / 2
    divergence = torch.stack([(p * (p.log() - middle.log())).sum(dim=1) for p in chances]).mean(dim=0)
    apart = (divergence * ~shared).sum()
    return (share_weight * apart - fool_weight * torch.stack(left).mean()) / len(labels), shared


def unlearning_loss(scores: Tensor, said: Tensor, fooled: Tensor) -> Tensor:
    """-log of the probability of another answer than ``said``, summed over the images that ``fooled`` the shipped
    network, by the number of all.

    Args:
        scores: of the network being repaired, ``float [n, C]``.
        said: by the one as shipped, ``int64 [n]``.
        fooled: ``bool [n]``.
    """
    chances = scores.softmax(dim=1)
    others = chances.scatter(1, said[:, None], 0.0).sum(dim=1)
    return -(torch.log(_LEAST + others.clamp(max=_SURE)) * fooled).sum() / len(said)


def shared_adversarial(context: Context, settings: SharedAdversarialSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return SharedAdversarial(context, settings).run()


KIND = PhaseKind(SharedAdversarialSettings, shared_adversarial, serves=("images",))
