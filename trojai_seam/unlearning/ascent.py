"""Training upwards: the loss on clean examples is made larger until accuracy falls.

What a network loses first under it tells where its trojan sits: Li et al., "Reconstructive Neuron Pruning for Backdoor
Defense", ICML 2023; Min, Pham and Sun, arXiv 2405.14781.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from .training import Batch, Training
from .training_settings import TrainingSettings

S = TypeVar("S", bound=TrainingSettings)


class Ascending(Training[S]):
    """Gradient ascent on the loss of true labels; the stop rule is met below its threshold."""

    forgets = True

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        return -super().loss(inputs, batch)
