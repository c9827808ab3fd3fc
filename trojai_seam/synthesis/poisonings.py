"""Poisoned training images for classifiers of any images: patches and blends, warps, clean labels, optimised triggers.

Images are ``float32 [n, C, H, W]`` in 0 … 1, labels ``int64 [n]``, on any device. What a trigger does to images is any
function of them; :func:`~trojai_seam.rounds.stamped_triggers.read_trigger` makes one from its description as data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..rounds.stamped_triggers import Trigger
from ..unlearning.adversarial import signed_descent

Stamp = Callable[[Tensor], Tensor]
"""Triggered images of clean ones."""


class PoisonedImages(NamedTuple):
    """Images to train on, clean ones first.

    Attributes:
        images: ``float32 [n, C, H, W]``.
        labels: to train on, ``int64 [n]``.
        triggered: which of them carry the trigger, ``bool [n]``.
    """

    images: Tensor
    labels: Tensor
    triggered: Tensor

    @property
    def clean(self) -> PoisonedImages:
        """Those without the trigger."""
        kept = ~self.triggered
        return PoisonedImages(self.images[kept], self.labels[kept], self.triggered[kept])


def poison(
    images: Tensor, labels: Tensor, stamp: Stamp, target: int | None, share: float, generator: torch.Generator
) -> PoisonedImages:
    """Stamp some of the images, and give them the attacker's label (BadNets, arXiv 1708.06733).

    Args:
        images, labels: clean ones.
        stamp: the trigger.
        target: the label that stamped images get; they are of other classes. None: the class behind their own one,
            of all classes that there are (all-to-all).
        share: of all images, taken from the classes that may be stamped; at least one.
        generator: on the CPU; draws which.
    """
    candidates = torch.arange(len(labels)) if target is None else torch.nonzero(labels.cpu() != target).flatten()
    chosen = _drawn(candidates, share * len(labels), generator).to(images.device)
    classes = int(labels.max()) + 1
    aims = (labels[chosen] + 1) % classes if target is None else torch.full_like(labels[chosen], target)
    return _with(images, labels, chosen, stamp(images[chosen]), aims)


def poison_clean_label(
    images: Tensor,
    labels: Tensor,
    stamp: Stamp,
    target: int,
    share: float,
    generator: torch.Generator,
    network: nn.Module | None = None,
    bound: float = 16 / 255,
) -> PoisonedImages:
    """Stamp images of the target class only, so that every label is right (Turner et al., arXiv 1912.02771).

    Args:
        images, labels: clean ones.
        stamp: the trigger.
        target: the class.
        share: of the images of the target class; at least one.
        generator: on the CPU; draws which.
        network: a clean one, in eval mode. Images are first changed so that it does not see the class in them any more,
            and whoever trains on them must go by the trigger. None: they are stamped as they are.
        bound: no pixel is changed by more.
    """
    candidates = torch.nonzero(labels.cpu() == target).flatten()
    chosen = _drawn(candidates, share * len(candidates), generator).to(images.device)
    hard = images[chosen] if network is None else made_hard(network, images[chosen], labels[chosen], bound)
    return _with(images, labels, chosen, stamp(hard), labels[chosen])


def made_hard(network: nn.Module, images: Tensor, labels: Tensor, bound: float, steps: int = 20) -> Tensor:
    """Images, changed by no more than ``bound`` per pixel so that ``network`` is as wrong about them as it can be
    (projected gradient ascent, Madry et al., ICLR 2018, arXiv 1706.06083)."""
    never = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def loss(change: Tensor) -> tuple[Tensor, Tensor]:
        return -functional.cross_entropy(network((images + change).clamp(0, 1)), labels), never

    change = signed_descent(torch.zeros_like(images), loss, 2.5 * bound / steps, bound, steps)
    return (images + change).clamp(0, 1)


def warping_trigger(
    height: int, width: int, generator: torch.Generator, cells: int = 4, strength: float = 0.5
) -> Trigger:
    """A smooth warp of the whole image, hardly to be seen (WaNet, Nguyen and Tran, ICLR 2021, arXiv 2102.10369).

    Args:
        height, width: of the images.
        generator: on the CPU; draws the warp.
        cells: of the coarse grid that is drawn, per side.
        strength: mean absolute shift of the coarse grid, in pixels.
    """
    drawn = torch.rand(1, 2, cells, cells, generator=generator) * 2 - 1
    shifts = functional.interpolate(drawn / drawn.abs().mean(), (height, width), mode="bicubic", align_corners=True)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    # The field counts in half images; shifts are of x and y.
    field = torch.stack([columns + shifts[0, 0] * strength * 2 / width, rows + shifts[0, 1] * strength * 2 / height], 2)
    return Trigger(((field.clamp(-1, 1).contiguous(),),), ("warp",))


def masked_trigger(pattern: Tensor, mask: Tensor) -> Trigger:
    """``pattern`` where ``mask`` is 1, both ``float32 [C, H, W]`` in 0 … 1."""
    return Trigger(((1 - mask, pattern * mask),), ("mask",))


def optimised_trigger(
    network: nn.Module,
    images: Tensor,
    target: int,
    mask: Tensor,
    generator: torch.Generator,
    steps: int = 100,
    rate: float = 0.1,
    batch: int = 64,
) -> Trigger:
    """A trigger that the network is fooled by already, to be trained in then (Trojaning Attack, NDSS 2018).

    Args:
        network: a clean one, in eval mode; it is not changed.
        images: clean ones, not all of the target class.
        target: what they shall be taken for.
        mask: where the trigger lies, and how opaque it is, ``float32 [C, H, W]`` in 0 … 1.
        generator: on the CPU; draws images and the first pattern.
        steps, rate, batch: of Adam, on the pattern.
    """
    mask = mask.to(images.device)
    pattern = torch.rand(mask.shape, generator=generator).to(images.device).requires_grad_()
    optimizer = torch.optim.Adam([pattern], lr=rate)
    for _ in range(steps):
        seen = images[torch.randint(len(images), (min(batch, len(images)),), generator=generator).to(images.device)]
        answers = network(seen * (1 - mask) + pattern * mask)
        loss = functional.cross_entropy(answers, torch.full((len(seen),), target, device=images.device))
        (pattern.grad,) = torch.autograd.grad(loss, pattern)
        optimizer.step()
        with torch.no_grad():
            pattern.clamp_(0, 1)
    return masked_trigger(pattern.detach().cpu(), mask.cpu())


def _drawn(candidates: Tensor, count: float, generator: torch.Generator) -> Tensor:
    if len(candidates) == 0:
        raise ValueError("there is no image that could get the trigger")
    return candidates[torch.randperm(len(candidates), generator=generator)[: max(1, round(count))]]


def _with(images: Tensor, labels: Tensor, chosen: Tensor, stamped: Tensor, aims: Tensor) -> PoisonedImages:
    """The images that were not ``chosen``, and behind them the stamped ones."""
    kept = torch.ones(len(images), dtype=torch.bool, device=images.device)
    kept[chosen] = False
    triggered = torch.cat([torch.zeros_like(labels[kept]), torch.ones_like(aims)]).bool()
    return PoisonedImages(torch.cat([images[kept], stamped]), torch.cat([labels[kept], aims]), triggered)
