"""What may change during unlearning: which parameters are trained, and whether BatchNorm statistics move."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import EngineFailure
from .config import UnlearnConfig


def trainable_parameters(model: nn.Module, scope: str) -> list[nn.Parameter]:
    """Switch gradients on for ``scope`` (``all`` or ``head``) and off for the rest.

    The head is the last module, in registration order, that has a weight matrix of its own.

    Raises:
        EngineFailure: the network has no parameters.
    """
    owners = [m for m in model.modules() if any(p.is_floating_point() for p in m.parameters(recurse=False))]
    if not owners:
        raise EngineFailure("the network has no parameters to train")
    # A normalisation layer may be registered behind the layer that gives the logits.
    layers = [m for m in owners if any(p.ndim > 1 for p in m.parameters(recurse=False))] or owners
    chosen = {id(p) for p in (model if scope == "all" else layers[-1]).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen and parameter.is_floating_point())
    return [p for p in model.parameters() if p.requires_grad]


def enter_training(model: nn.Module, config: UnlearnConfig) -> None:
    """Training mode, except for what must stand still: with ``frozen-stats`` BatchNorm keeps its running statistics,
    and with ``head`` everything below the head behaves as in evaluation."""
    model.train(config.trainable == "all")
    if config.trainable == "all" and config.batch_norm == "frozen-stats":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def moves_batch_statistics(model: nn.Module, config: UnlearnConfig) -> bool:
    """Whether training updates BatchNorm statistics, which takes at least two examples per batch."""
    if config.trainable != "all" or config.batch_norm != "train":
        return False
    if config.forget.max_epochs == config.recover.max_epochs == 0:
        return False
    return any(isinstance(module, _BatchNorm) for module in model.modules())
