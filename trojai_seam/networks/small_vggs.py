"""VGGs for small images: a Sequential ``features`` of convolutions, and a ``classifier`` of one or several layers.

What lies between the layers that have tensors is read from the numbers that these have in the Sequential: one place is
an activation, two are activation and MaxPool, three are those and Dropout. Sources: kuangliu/pytorch-cifar and
chengyangfu/pytorch-vgg-cifar10 (ReLU; arXiv 1409.1556), YiZeng623/I-BAU (the six-layer one: ELU, Dropout).
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ..errors import StateMismatch
from .registry import MOST_LAYERS, Hints, NetworkFacts, class_count_notes, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_WEIGHT = re.compile(r"(features|classifier)\.(\d{1,4})\.weight")
_STANDARD = {8: 11, 10: 13, 13: 16, 16: 19}
_SMALL_DROPS = (0.3, 0.4, 0.4)


class Layer(NamedTuple):
    """One layer with a weight: its place in the Sequential and the weight's shape (one number for a BatchNorm)."""

    place: int
    shape: tuple[int, ...]
    bias: bool


class VggPlan(NamedTuple):
    """What the tensors of a small VGG say."""

    features: tuple[Layer, ...]
    classifier: tuple[Layer, ...]
    single_head: tuple[int, int] | None
    small: bool
    grid: int

    @property
    def classes(self) -> int:
        """Rows of the head."""
        return self.single_head[0] if self.single_head else self.classifier[-1].shape[0]

    @property
    def name(self) -> str:
        """``cifar-vgg16-bn``, ``small-vgg``."""
        if self.small:
            return "small-vgg"
        convolutions = sum(len(layer.shape) == 4 for layer in self.features)
        norm = "-bn" if len(self.features) > convolutions else ""
        return f"cifar-vgg{_STANDARD.get(convolutions, convolutions + 1)}{norm}"


def _layers(saved: SavedModel, part: str) -> tuple[Layer, ...]:
    found = []
    for name in saved.tensors:
        match = _WEIGHT.fullmatch(name)
        if match and match[1] == part:
            bias = name.removesuffix("weight") + "bias" in saved.tensors
            found.append(Layer(int(match[2]), saved.shape(name), bias))
    return tuple(sorted(found))


def _plan(saved: SavedModel) -> VggPlan:
    features, classifier = _layers(saved, "features"), _layers(saved, "classifier")
    convolutions = [layer for layer in features if len(layer.shape) == 4]
    if not convolutions or features[-1].place > MOST_LAYERS or features[0].place != 0:
        raise StateMismatch(
            f"{saved.path}: its tensors are not those of a VGG: no convolutions features.0, features.1 …"
        )
    single = None
    if "classifier.weight" in saved.tensors:
        rows, columns = shape_of(saved, "classifier.weight", 2)
        single, inputs = (rows, columns), columns
    elif classifier and all(len(layer.shape) == 2 for layer in classifier) and classifier[-1].place <= 20:
        inputs = classifier[0].shape[1]
    else:
        raise StateMismatch(f"{saved.path}: its tensors are not those of a VGG: no Linear layers called classifier")
    grid = math.isqrt(inputs // convolutions[-1].shape[0])
    if not grid or grid * grid * convolutions[-1].shape[0] != inputs:
        raise StateMismatch(f"{saved.path}: the classifier takes {inputs} features, no square of the last channels")
    gaps = {after.place - before.place for before, after in pairwise(features)}
    return VggPlan(features, classifier, single, 4 in gaps, grid)


def _fits(saved: SavedModel) -> bool:
    if not {"features.0.weight", "features.0.bias"} <= saved.tensors.keys():
        return False
    try:
        plan = _plan(saved)
    except StateMismatch:
        return False
    kernels = {layer.shape[2:] for layer in plan.features if len(layer.shape) == 4}
    large = plan.single_head is None and plan.grid == 7  # torchvision's
    return kernels == {(3, 3)} and not large


def _facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    plan = _plan(saved)
    head = "classifier.weight" if plan.single_head else f"classifier.{plan.classifier[-1].place}.weight"
    notes = class_count_notes(hints, plan.classes, head)
    also = (plan.name.removeprefix("cifar-") + "-cifar",) if not plan.small else ()
    return NetworkFacts(plan.name, plan.name, plan.classes, None, notes, also=also)


_NAMES = ("small-vgg", *(f"cifar-vgg{depth}{norm}" for depth in _STANDARD.values() for norm in ("", "-bn")))


@register_network("cifar-vgg", state_dict_names=_NAMES, facts=_facts, fits=_fits)
def _build(saved: SavedModel, hints: Hints) -> nn.Module:
    from .small_vgg_modules import SmallVgg

    plan = _plan(saved)
    parts = _sequence(saved, plan)
    return SmallVgg(parts, _heads(plan), plan.grid if not plan.small else None)


def _sequence(saved: SavedModel, plan: VggPlan) -> list[nn.Module]:
    """All parts of ``features``, those without tensors too."""
    from torch import nn

    parts: list[nn.Module] = []
    drops = iter(_SMALL_DROPS)
    layers = plan.features
    for number, layer in enumerate(layers):
        parts.append(_with_tensors(saved, layer))
        following = layers[number + 1].place if number + 1 < len(layers) else None
        if following is not None and following == layer.place + 1:
            continue
        gap = (4 if plan.small else 3) if following is None else following - layer.place
        if gap > 4:
            raise StateMismatch(f"{saved.path}: features.{layer.place + 1} to {following}: no VGG has so many there")
        parts.append(nn.ELU() if plan.small else nn.ReLU())
        if gap > 2:
            parts.append(nn.MaxPool2d(2))
        if gap > 3:
            parts.append(nn.Dropout(next(drops, _SMALL_DROPS[-1])))
    return parts


def _with_tensors(saved: SavedModel, layer: Layer) -> nn.Module:
    from torch import nn

    if len(layer.shape) == 4:
        outputs, inputs, height, width = layer.shape
        return nn.Conv2d(inputs, outputs, (height, width), 1, (height // 2, width // 2), bias=layer.bias)
    if len(layer.shape) == 1:
        return nn.BatchNorm2d(layer.shape[0])
    raise StateMismatch(f"{saved.path}: features.{layer.place} is neither a convolution nor a BatchNorm")


def _heads(plan: VggPlan) -> nn.Module:
    """One Linear layer, or several with ReLU and Dropout wherever the numbers leave room for them."""
    from torch import nn

    if plan.single_head is not None:
        return nn.Linear(plan.single_head[1], plan.single_head[0])
    parts: list[nn.Module] = []
    for layer in plan.classifier:
        gap = layer.place - len(parts)
        if parts and gap:
            parts.append(nn.ReLU())
        parts += [nn.Dropout(0.5) for _ in range(layer.place - len(parts))]
        parts.append(nn.Linear(layer.shape[1], layer.shape[0], bias=layer.bias))
    return nn.Sequential(*parts)
