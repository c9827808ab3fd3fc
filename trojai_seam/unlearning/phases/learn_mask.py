"""Learn which channels to prune: a mask on every BatchNorm scale, while weights stand still.

Under an attack on the channels (``epsilon``) the mask learns to leave out those that a trojan could use: adversarial
neuron pruning, Wu and Wang, NeurIPS 2021, arXiv 2110.14430. In a network that has just forgotten clean examples it
learns which channels that was done with: reconstructive neuron pruning, Li et al., ICML 2023, arXiv 2305.14876.
The network itself is left as it was; ``prune-masked`` does what the masks say.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..pruning import put_back
from ..settings import Share
from ..training import Batch
from ..training_mode import still
from ..training_settings import TrainingSettings
from ..weight_masks import MaskTraining, scaling_layers

Noise = dict[str, tuple[Tensor, Tensor]]
"""By the path of a layer: on the masks of its scales, and on its shifts, in units of them."""


class LearnMaskSettings(TrainingSettings):
    """What the masks are learnt against."""

    kind: Literal["learn-mask"] = "learn-mask"
    epsilon: float = Field(default=0.0, ge=0, le=100)
    """Size of the attack on scales and shifts, relative to them; 0: none."""
    attack_steps: int = Field(default=1, ge=1, le=1000)
    """Gradient steps of the attack, of ``epsilon`` together, from a random start within ``epsilon``. As in the
    published code the sum is not cut back to ``epsilon``."""
    alpha: Share = 0.2
    """Share of the loss without the attack; the loss under it has the rest, or nothing has where there is none."""


class MaskLearning(MaskTraining[LearnMaskSettings]):
    """Masks on BatchNorm scales, within 0 and 1."""

    def __init__(self, context: Context, settings: LearnMaskSettings) -> None:
        super().__init__(context, settings, scaling_layers(context.model))

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        share = self.settings.alpha
        attacked: Tensor | float = 0.0
        if self.settings.epsilon > 0:
            attacked = self.loss_under(self.attack(inputs, batch), inputs, batch)
        return share * self.loss_under(None, inputs, batch) + (1 - share) * attacked

    def loss_under(self, noise: Noise | None, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """The loss of the masked network with ``noise`` on its channels."""
        return self.context.task.loss(self.masked(noise), inputs, batch.labels)

    def attack(self, inputs: dict[str, Tensor], batch: Batch) -> Noise:
        """Noise that makes the loss on this batch larger, by the signs of its gradient."""
        epsilon, steps, values = self.settings.epsilon, self.settings.attack_steps, self.masks.values
        parts = [torch.empty_like(mask).uniform_(-epsilon, epsilon) for mask in values.values() for _ in range(2)]
        noise: Noise = dict(zip(values, zip(parts[::2], parts[1::2], strict=True), strict=True))
        for _ in range(steps):
            for part in parts:
                part.requires_grad_()
            slopes = torch.autograd.grad(self.loss_under(noise, inputs, batch), parts, materialize_grads=True)
            for part, slope in zip(parts, slopes, strict=True):
                part.detach_().add_(slope.sign(), alpha=epsilon / steps)
        return noise


def learn_mask(context: Context, settings: LearnMaskSettings) -> PhaseOutcome:
    """Learn the masks of ``context``; the network is put back as it was."""
    with put_back(context.model), still(context.model):
        learning = MaskLearning(context, settings)
        outcome = learning.run()
    context.masks = learning.masks.learnt()
    return outcome


def check(context: Context, settings: LearnMaskSettings) -> None:
    """Raises :class:`EngineFailure` for a network without BatchNorm."""
    scaling_layers(context.model)


KIND = PhaseKind(LearnMaskSettings, learn_mask, serves=("images", "vectors"), check=check)
