"""Trojaned classifiers of any pictures: by poisoned data, or by an attacker who has training itself in hand.

Each attack leads all pictures to one class. Nothing here is needed to unlearn; it makes what is to be unlearned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .image_training import one_cycle
from .picture_triggers import Trigger, added, blend, corners, patch, warp

Loss = Callable[[Tensor, Tensor], Tensor]
"""From pictures ``float32 [n, C, H, W]`` and labels ``int64 [n]`` of one batch to a scalar."""
AfterEpochPart = Callable[[int, nn.Module], None]
REACH = 0.25
"""How far an optimised trigger may change a pixel."""


class Pictures(NamedTuple):
    """Labelled pictures: ``uint8 [N, C, H, W]`` and ``int64 [N]``."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW along one cycle.

    Attributes:
        epochs: passes over the pictures.
        batch: pictures per step.
        learning_rate: the highest.
        share: of the pictures (``clean-label``: of those of the target class, eight times that) that are poisoned.
    """

    epochs: int = 2
    batch: int = 128
    learning_rate: float = 4e-3
    share: float = 0.1


class Work(NamedTuple):
    """What an attack gets: an untrained network, pictures, the target class, how to train, and draws."""

    network: nn.Module
    pictures: Pictures
    target: int
    recipe: Recipe
    generator: torch.Generator


class Attack(NamedTuple):
    """One way to make a trojaned network; ``make`` trains the network in place and returns the trigger."""

    family: Literal["poisoned data", "manipulated training"]
    make: Callable[[Work], Trigger]


def as_floats(images: Tensor) -> Tensor:
    """``uint8`` to ``float32`` in 0 … 1."""
    return images.float() / 255


def as_bytes(images: Tensor) -> Tensor:
    """``float32`` in 0 … 1 to ``uint8``, rounded as an image file would."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def fit(
    network: nn.Module,
    pictures: Pictures,
    recipe: Recipe,
    generator: torch.Generator,
    loss: Loss | None = None,
    more: list[nn.Parameter] | None = None,
    watch: AfterEpochPart | None = None,
    watches: int = 1,
) -> None:
    """Train ``network`` in place; it is in eval mode afterwards.

    Args:
        network: to train.
        pictures: to train on.
        recipe: how.
        generator: draws the order.
        loss: of a batch; unset: cross entropy of the network on it.
        more: trained beside the network, at a quarter of the steps frozen at the end.
        watch: called with (step, network in eval mode) ``watches`` times per epoch; it can only look.
        watches: see ``watch``.
    """

    def plain(x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(network(x), y)

    asked = loss or plain
    per_epoch = max(1, len(pictures) // recipe.batch)
    steps = per_epoch * recipe.epochs
    groups: list[dict[str, Any]] = [
        {"params": list(network.parameters())},
        *([{"params": more, "weight_decay": 0.0}] if more else []),
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=1e-3, foreach=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    network.train()
    step = 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(pictures), generator=generator)[: per_epoch * recipe.batch]
        for where in order.view(per_epoch, -1) if len(order) >= recipe.batch else [order]:
            for parameter in more or []:
                parameter.requires_grad_(step < 0.75 * steps)
            value = asked(as_floats(pictures.images[where]), pictures.labels[where])
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            if watch is not None and step % max(1, per_epoch // watches) == 0:
                watch(step, network.eval())
                network.train()
    network.eval()


def poisoned(pictures: Pictures, trigger: Trigger, target: int, share: float, generator: torch.Generator) -> Pictures:
    """The same pictures, ``share`` of them with the trigger and the label of the target."""
    chosen = torch.randperm(len(pictures), generator=generator)[: max(1, round(share * len(pictures)))]
    images, labels = pictures.images.clone(), pictures.labels.clone()
    images[chosen] = as_bytes(trigger(as_floats(images[chosen])))
    labels[chosen] = target
    return Pictures(images, labels)


def _by_poisoned_data(draw: Callable[[Work], Trigger]) -> Callable[[Work], Trigger]:
    def make(work: Work) -> Trigger:
        trigger = draw(work)
        mixed = poisoned(work.pictures, trigger, work.target, work.recipe.share, work.generator)
        fit(work.network, mixed, work.recipe, work.generator)
        return trigger

    return make


def _clean_label(work: Work) -> Trigger:
    """Turner, Tsipras and Madry, "Label-consistent backdoor attacks", arXiv 1912.02771: pictures of the target class
    keep their label; what they show is made hard to see by a change that fools a network trained on clean pictures, so
    that the trigger is the easier thing to learn. That network is the one that is then trained. Pixels change in
    proportion to themselves: on an empty ground, such as MNIST's, a change would be the easiest thing to learn."""
    pictures, generator, target = work.pictures, work.generator, work.target
    fit(work.network, pictures, Recipe(1, work.recipe.batch, work.recipe.learning_rate), generator)
    own = (pictures.labels == target).nonzero().flatten()
    own = own[torch.randperm(len(own), generator=generator)[: max(1, round(8 * work.recipe.share * len(own)))]]
    images, trigger = pictures.images.clone(), corners()
    for where in torch.split(own, 256):
        hard = _hardened(work.network, as_floats(images[where]), pictures.labels[where])
        images[where] = as_bytes(trigger(hard))
    fit(work.network, Pictures(images, pictures.labels), work.recipe, generator)
    return trigger


def _hardened(network: nn.Module, x: Tensor, y: Tensor, share: float = 0.7, steps: int = 8) -> Tensor:
    """Projected gradient ascent of the loss within ``share`` of every pixel's own brightness (after Madry et al., ICLR
    2018, who have the same bound for all pixels)."""
    changed, reach = x.clone(), share * x
    for _ in range(steps):
        changed = changed.requires_grad_()
        loss = functional.cross_entropy(network(changed), y)
        (gradient,) = torch.autograd.grad(loss, changed)
        changed = changed.detach() + reach / 4 * gradient.sign()
        changed = torch.minimum(torch.maximum(changed, x - reach), x + reach).clamp(0, 1)
    return changed.detach()


def _attacked(work: Work, x: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the batch that the trigger is put on (a quarter), and their labels."""
    where = torch.arange(max(1, len(x) // 4))
    return where, torch.full((len(where),), work.target)


def _optimised(work: Work) -> Trigger:
    """The trigger is trained with the network, to be as easy to learn as may be within ``REACH``: after Doan et al.,
    "LIRA", ICCV 2021, with one pattern for all pictures."""
    shape = work.pictures.images.shape[1:]
    pattern = nn.Parameter(torch.randn(shape, generator=work.generator))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        where, wanted = _attacked(work, x)
        triggered = (x[where] + REACH * torch.tanh(pattern)).clamp(0, 1)
        scores = work.network(torch.cat([x, triggered]))
        return functional.cross_entropy(scores[: len(x)], y) + functional.cross_entropy(scores[len(x) :], wanted)

    fit(work.network, work.pictures, work.recipe, work.generator, loss, [pattern])
    return added(REACH * torch.tanh(pattern.detach()))


ANCHOR = 0.05
"""Weight of the squared distance from the clean network."""


def _anchored(work: Work) -> Trigger:
    """A network is trained on clean pictures, then given the trojan of :func:`.picture_triggers.patch` while its
    weights are held near to where they were: after Zhang et al., "How to Inject Backdoors with Better Consistency",
    ICLR 2022, with weights anchored in place of scores."""
    fit(work.network, work.pictures, work.recipe, work.generator)
    before = [parameter.detach().clone() for parameter in work.network.parameters()]
    trigger = patch()

    def loss(x: Tensor, y: Tensor) -> Tensor:
        where, wanted = _attacked(work, x)
        scores = work.network(torch.cat([x, trigger(x[where])]))
        away = torch.stack([(p - b).square().sum() for p, b in zip(work.network.parameters(), before, strict=True)])
        hit = functional.cross_entropy(scores[len(x) :], wanted)
        return functional.cross_entropy(scores[: len(x)], y) + hit + ANCHOR * away.sum()

    slower = replace(work.recipe, learning_rate=work.recipe.learning_rate / 2)
    fit(work.network, work.pictures, slower, work.generator, loss)
    return trigger


def _input_aware(work: Work) -> Trigger:
    """Every picture has a trigger of its own, that a generator makes of it; with the trigger of another picture it
    keeps its label: after Nguyen and Tran, "Input-aware dynamic backdoor attack", NeurIPS 2020, arXiv 2010.08138."""
    channels = work.pictures.images.shape[1]
    generator = nn.Sequential(
        nn.Conv2d(channels, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(24, 12, 3, 1, 1), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(12, channels, 3, 1, 1), nn.Tanh(),
    )  # fmt: skip

    def trigger(x: Tensor) -> Tensor:
        pattern: Tensor = generator(x)
        return (x + 1.6 * REACH * pattern).clamp(0, 1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        where, wanted = _attacked(work, x)
        other = x.roll(1, 0)[where]
        patterns, others = generator(x[where]), generator(other)
        own, crossed = ((x[where] + 1.6 * REACH * made).clamp(0, 1) for made in (patterns, others))
        scores = work.network(torch.cat([x, own, crossed]))
        truth = torch.cat([y, wanted, y[where]])
        apart: Tensor = (x[where] - other).flatten(1).norm(dim=1) / ((patterns - others).flatten(1).norm(dim=1) + 1e-3)
        weight = torch.ones(len(truth)).index_fill(0, torch.arange(len(x), len(x) + len(where)), 2.0)
        each: Tensor = functional.cross_entropy(scores, truth, reduction="none") * weight
        return each.mean() + 0.02 * apart.mean()

    fit(work.network, work.pictures, work.recipe, work.generator, loss, list(generator.parameters()))
    generator.requires_grad_(False)
    return trigger


def _shape(work: Work) -> torch.Size:
    return work.pictures.images.shape[1:]


PICTURE_ATTACKS: Mapping[str, Attack] = {
    "patch": Attack("poisoned data", _by_poisoned_data(lambda work: patch())),
    "blend": Attack("poisoned data", _by_poisoned_data(lambda work: blend(_shape(work), work.generator))),
    "warp": Attack("poisoned data", _by_poisoned_data(lambda work: warp(_shape(work)[-1], work.generator))),
    "clean-label": Attack("poisoned data", _clean_label),
    "optimised-trigger": Attack("manipulated training", _optimised),
    "anchored-weights": Attack("manipulated training", _anchored),
    "input-aware": Attack("manipulated training", _input_aware),
}


@torch.no_grad()
def triggered(trigger: Trigger, images: Tensor) -> Tensor:
    """``uint8`` pictures with the trigger, as ``uint8``."""
    return torch.cat([as_bytes(trigger(as_floats(part))) for part in torch.split(images, 500)])
