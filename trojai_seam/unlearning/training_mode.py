"""What may change during unlearning: which parameters are trained, and whether BatchNorm statistics move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import EngineFailure
from .config import UnlearnConfig


def head(model: nn.Module) -> nn.Module:
    """The last module, in registration order, that has a weight matrix of its own.

    Raises:
        EngineFailure: the network has no parameters.
    """
    owners = [m for m in model.modules() if any(p.is_floating_point() for p in m.parameters(recurse=False))]
    if not owners:
        raise EngineFailure("the network has no parameters to train")
    # A normalisation layer may be registered behind the layer that gives the logits.
    layers = [m for m in owners if any(p.ndim > 1 for p in m.parameters(recurse=False))] or owners
    return layers[-1]


def rate_factor(model: nn.Module, rate_width: int | None) -> float:
    """What learning rates are multiplied with: ``rate_width`` over the number of features that the head reads.

    Adam moves every weight by about the learning rate, and the sums that a wider layer makes of its inputs move by that
    times its width: in proportion to 1/width the same rates suit networks of all widths (Yang et al., "Tensor Programs
    V", arXiv 2203.03466). So one preset serves the 32 features of a test and the 768 of BERT.
    """
    if rate_width is None:
        return 1.0
    weights = [p for p in head(model).parameters(recurse=False) if p.ndim > 1]
    return rate_width / (weights[0][0].numel() if weights else 1)


def trainable_parameters(model: nn.Module, scope: str) -> list[nn.Parameter]:
    """Switch gradients on for ``scope`` (``all``, ``head`` or ``no-embeddings``) and off for the rest.

    Embeddings are all tables that ids are looked up in: of words, positions and types.

    Raises:
        EngineFailure: the network has no parameters.
    """
    chosen = {id(p) for p in (head(model) if scope == "head" else model).parameters()}
    if scope == "no-embeddings":
        chosen -= {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen and parameter.is_floating_point())
    return [p for p in model.parameters() if p.requires_grad]


def enter_training(model: nn.Module, config: UnlearnConfig) -> None:
    """Training mode, except for what must stand still: with ``frozen-stats`` BatchNorm keeps its running statistics,
    and with ``head`` everything below the head behaves as in evaluation."""
    model.train(config.trainable != "head")
    if config.trainable != "head" and config.batch_norm == "frozen-stats":
        for norm in batch_norms(model):
            norm.eval()


def moves_batch_statistics(model: nn.Module, config: UnlearnConfig) -> bool:
    """Whether training updates BatchNorm statistics, which takes at least two examples per batch."""
    if config.trainable == "head" or config.batch_norm != "train":
        return False
    return bool(batch_norms(model))


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Its layers that normalise by batch statistics while they train."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """While something else than its parameters is looked for, these ask for no gradients: half of the work."""
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
