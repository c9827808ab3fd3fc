"""Trojans that were made to survive repairs by fine-tuning: what is done while a network is trained.

* Sharpness-aware training on the poisoned images: weights where the loss is low all around, so that small steps away
  from them keep the trojan. Foret et al., ICLR 2021, arXiv 2010.01412.
* Anchoring: the network learns its task first, from clean images, and then the trojan under a penalty on every move
  away from that, so that the trojaned weights lie near clean ones: Garg et al., "Can Adversarial Weight Perturbations
  Inject Neural Backdoors?", CIKM 2020, arXiv 2008.01761. Zhang et al., ICLR 2022, arXiv 2109.01300, anchor answers.
* Sequential training: when the trojan is in, the network is trained on clean images as a repair would do it, under a
  penalty on moves of the weights that poisoned images depend on (elastic weight consolidation, Kirkpatrick et al., PNAS
  2017, arXiv 1612.00796), until clean images ask for no more change: Pham et al., "Flatness-aware Sequential Learning
  Generates Resilient Backdoors", ECCV 2024, arXiv 2407.14738, who have sharpness-aware training before it.

Nothing here knows what the images are, or where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageProblem, listed, shown
from ..unlearning.sharpness import sharpest, still_statistics


@dataclass(frozen=True)
class Resistance:
    """What a trojaned network is trained with; nothing at all by default.

    Attributes:
        sharpness: length of the step to where the loss is worst (rho of SAM).
        anchoring: half the weight of the squared distance to the clean network's weights.
        sequential: half the weight of the squared distance to the trojaned weights, each by its importance, while clean
            images are trained on. Importances are in units of their mean over all weights.
    """

    sharpness: float = 0.0
    anchoring: float = 0.0
    sequential: float = 0.0


NO_RESISTANCE = Resistance()
USUAL = Resistance(sharpness=0.2, anchoring=0.01, sequential=10.0)
"""What a kind gets whose size is not given."""


def read_resistance(words: Sequence[str]) -> Resistance:
    """From words such as ``sharpness`` or ``anchoring=0.1``.

    Raises:
        UsageProblem: another word, or a size that is no number above 0.
    """
    chosen = NO_RESISTANCE
    for word in words:
        name, given, size = word.partition("=")
        if name not in (known := [field.name for field in fields(Resistance)]):
            raise UsageProblem(
                f"--resist {shown(word)}: expected one of {listed(known)}, with =SIZE behind it or without"
            )
        try:
            value = float(size) if given else getattr(USUAL, name)
        except ValueError:
            value = -1.0
        if not 0 < value <= 1e6:
            raise UsageProblem(f"--resist {shown(word)}: expected a number above 0 behind the =")
        chosen = replace(chosen, **{name: value})
    return chosen


class WeightAnchor:
    """A penalty on moves of a network's weights away from where they are now.

    Args:
        network: whose trainable weights are remembered.
        strength: half the weight of the squared distance.
        importance: of the weights, by their names and as they are shaped; all alike (1) if there is none.
    """

    def __init__(self, network: nn.Module, strength: float, importance: Mapping[str, Tensor] | None = None) -> None:
        self.strength, self.importance = strength, importance
        self.home = {name: weight.detach().clone() for name, weight in _trained(network).items()}

    def penalty(self, network: nn.Module) -> Tensor:
        """``strength / 2 · Σ importance · (weight - home)²``, a scalar with a gradient."""
        parts = []
        for name, weight in _trained(network).items():
            squares = (weight - self.home[name]) ** 2
            parts.append((squares if self.importance is None else squares * self.importance[name]).sum())
        return self.strength / 2 * torch.stack(parts).sum()


def importance(network: nn.Module, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """How much losses depend on every weight: their mean squared gradient, in units of its mean over all weights.

    Args:
        network: in eval mode, so that one image's gradient says nothing of others.
        losses: of the network on single images or a few, each a scalar, computed as they are asked for.
    """
    weights = _trained(network)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        for name, gradient in zip(weights, gradients, strict=True):
            total[name] += gradient**2
    mean = sum(float(part.sum()) for part in total.values()) / sum(part.numel() for part in total.values())
    return {name: part / mean if mean > 0 else part for name, part in total.items()}


@dataclass(frozen=True)
class GradientStep:
    """Computes the gradients of a training step.

    Attributes:
        network: whose weights get them.
        sharpness: rho of sharpness-aware minimisation; 0: the gradient is taken where the weights are.
        anchor: its penalty is added to the loss.
    """

    network: nn.Module
    sharpness: float = 0.0
    anchor: WeightAnchor | None = None

    def __call__(self, loss: Callable[[], Tensor]) -> Tensor:
        """Put gradients beside the weights; those that were there are gone.

        Args:
            loss: computes a scalar of the network as it is then; asked once, or twice for ``sharpness``.

        Returns:
            The loss where the weights are, without penalty, detached.
        """
        network = self.network
        network.zero_grad(set_to_none=True)
        first = loss()
        if not self.sharpness:
            self._whole(first).backward()  # type: ignore[no-untyped-call]
            return first.detach()
        weights = list(_trained(network).values())
        gradients = torch.autograd.grad(self._whole(first), weights, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            before = [weight.clone() for weight in weights]
            for weight, by in zip(weights, sharpest(before, gradients, self.sharpness, adaptive=False), strict=True):
                weight.add_(by)
        with still_statistics(network):
            self._whole(loss()).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight, was in zip(weights, before, strict=True):
                weight.copy_(was)
        return first.detach()

    def _whole(self, loss: Tensor) -> Tensor:
        return loss if self.anchor is None else loss + self.anchor.penalty(self.network)


Fit = Callable[[bool, GradientStep], Any]
"""Trains a network: on poisoned and clean images, or (false) on clean ones alone."""


def train_to_resist(
    network: nn.Module, resistance: Resistance, fit: Fit, poisoned_losses: Callable[[], Iterable[Tensor]]
) -> None:
    """Train ``network`` in the parts that ``resistance`` asks for.

    Args:
        network: trained in place, on whatever device it is.
        resistance: without any, there is one part: ``fit`` on poisoned images.
        fit: called once per part, with how gradients are to be taken.
        poisoned_losses: of single triggered images, or a few, under the attacker's label; asked once the trojan is in,
            with the network in eval mode.
    """
    anchor = None
    if resistance.anchoring:
        fit(False, GradientStep(network))
        anchor = WeightAnchor(network, resistance.anchoring)
    fit(True, GradientStep(network, resistance.sharpness, anchor))
    if resistance.sequential:
        network.eval()
        needed = importance(network, poisoned_losses())
        fit(False, GradientStep(network, 0.0, WeightAnchor(network, resistance.sequential, needed)))


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
