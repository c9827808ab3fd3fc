"""Train only the widening layers of a transformer's feed-forward blocks, under a penalty on their norms.

What a text needs of these layers is kept up by the loss, what only a trigger needs fades. Zhu et al., "Removing
Backdoors in Pre-trained Models by Regularized Continual Pre-training" (RECIPE), TACL 2023: there with the loss of
masked words on plain sentences, for encoders that are yet to be fine-tuned; here with the task's own loss on the fit
examples.
"""

from __future__ import annotations

import re
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import EngineFailure
from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..training import Batch, Training
from ..training_settings import TrainingSettings

_WIDENING = re.compile(r"(^|\.)(intermediate\.dense|ffn\.lin1|mlp\.c_fc)$")
"""Of BERT and its relatives, DistilBERT, GPT-2."""


class ShrinkNormsSettings(TrainingSettings):
    """How much norms count."""

    kind: Literal["shrink-norms"] = "shrink-norms"
    penalty: float = Field(default=1.0, ge=0, le=1e6)
    """Weight of the sum of the layers' norms (of each weight matrix, over all of its numbers) beside the loss."""


def widening_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weight of the first layer of every feed-forward block.

    Raises:
        EngineFailure: there is none.
    """
    found = [m.get_parameter("weight") for path, m in model.named_modules() if _WIDENING.search(path)]
    if not found:
        raise EngineFailure("the network has no feed-forward blocks of a transformer; use another --preset")
    return found


class ShrinkingNorms(Training[ShrinkNormsSettings]):
    """Cross-entropy, or whatever the task's loss is, plus the norms."""

    def parameters(self) -> list[nn.Parameter]:
        allowed = {id(parameter) for parameter in super().parameters()}
        self.weights = [weight for weight in widening_weights(self.context.model) if id(weight) in allowed]
        if not self.weights:
            scope = self.context.config.trainable
            raise EngineFailure(f"trainable={scope} leaves no feed-forward layer to train; set it to all")
        trained = {id(weight) for weight in self.weights}
        for parameter in self.context.model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        return self.weights

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        norms = torch.stack([weight.norm() for weight in self.weights]).sum()
        return super().loss(inputs, batch) + self.settings.penalty * norms


def shrink_norms(context: Context, settings: ShrinkNormsSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap."""
    return ShrinkingNorms(context, settings).run()


def check(context: Context, settings: ShrinkNormsSettings) -> None:
    """Refuse a network without such layers."""
    widening_weights(context.model)


KIND = PhaseKind(ShrinkNormsSettings, shrink_norms, serves=("tokens",), check=check)
