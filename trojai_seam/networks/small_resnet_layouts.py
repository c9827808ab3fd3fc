"""Which small ResNet the tensors of a file call for, and its registration. Needs no torch until something is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import StateMismatch
from .registry import Hints, NetworkFacts, class_count_notes, count_numbered, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel
    from .small_resnets import ResNetPlan

_DEPTHS = {False: (18, 34), True: (50, 101, 152)}
_THIN_DEPTHS = (20, 32, 44, 56, 110)


def _plan(saved: SavedModel, max_pool: bool = False) -> ResNetPlan:
    """What the tensors say.

    Raises:
        StateMismatch: no small ResNet has such tensors.
    """
    from .small_resnets import ResNetPlan

    stem, channels, height, width = shape_of(saved, "conv1.weight", 4)
    if (height, width) != (3, 3):
        raise StateMismatch(f"{saved.path}: the stem conv1 is {height}×{width}, that of a small ResNet 3×3")
    stages = count_numbered(saved, "layer#.")
    if not 1 <= stages <= 8:
        raise StateMismatch(f"{saved.path}: {stages} stages called layer1, layer2 …, expected 1 to 8")
    blocks = tuple(count_numbered(saved, f"layer{stage}.#.") for stage in range(1, stages + 1))
    widths = tuple(shape_of(saved, f"layer{stage}.0.conv1.weight", 4)[0] for stage in range(1, stages + 1))
    bottleneck = "layer1.0.conv3.weight" in saved.tensors
    head = "linear" if "linear.weight" in saved.tensors else "fc"
    classes, features = shape_of(saved, f"{head}.weight", 2)
    last = widths[-1] * (4 if bottleneck else 1)
    grid = math.isqrt(features // last)
    if not grid or grid * grid * last != features:
        raise StateMismatch(f"{saved.path}: the head takes {features} features, no square of {last} channels")
    return ResNetPlan(
        channels=channels,
        stem=stem,
        widths=widths,
        blocks=blocks,
        bottleneck=bottleneck,
        preactivated="bn1.weight" not in saved.tensors,
        shortcut="downsample" if any(".downsample." in name for name in saved.tensors) else "shortcut",
        head=head,
        classes=classes,
        grid=grid,
        max_pool=max_pool,
        final_norm="bn.weight" in saved.tensors,
    )


def _name(plan: ResNetPlan) -> str:
    kind = "preactresnet" if plan.preactivated else "cifar-resnet"
    return f"{kind}{plan.depth}" + ("-maxpool" if plan.max_pool else "")


def _facts(saved: SavedModel, hints: Hints, preactivated: bool, max_pool: bool = False) -> NetworkFacts:
    plan = _plan(saved, max_pool)
    if plan.preactivated != preactivated:
        asked, found = ("a pre-activation", "an ordinary") if preactivated else ("an ordinary", "a pre-activation")
        raise StateMismatch(f"{saved.path}: its tensors are those of {found} ResNet, not of {asked} one")
    name = _name(plan)
    notes = class_count_notes(hints, plan.classes, f"{plan.head}.weight")
    also = (f"resnet{plan.depth}-cifar", f"resnet{plan.depth}") if not preactivated and not max_pool else ()
    return NetworkFacts(name, name, plan.classes, None, notes, also=also)


def _is_small(saved: SavedModel, preactivated: bool) -> bool:
    tensors = saved.tensors
    head = next((name for name in ("linear.weight", "fc.weight") if name in tensors), None)
    return (
        head is not None
        and "layer1.0.conv2.weight" in tensors
        and "layer2.0.conv1.weight" in tensors
        and "layer1.0.conv1.bias" not in tensors  # a wide ResNet with biases
        and ("bn1.weight" not in tensors) == preactivated
        and "conv1.weight" in tensors
        and tuple(saved.shape("conv1.weight"))[2:] == (3, 3)
        and not _is_wide(saved)
    )


def _is_wide(saved: SavedModel) -> bool:
    """Names as in a small ResNet, but ``bn1`` after the last block."""
    last = max(
        (f"layer{stage}" for stage in range(1, 9) if f"layer{stage}.0.conv1.weight" in saved.tensors), default=""
    )
    if not last or "bn1.weight" not in saved.tensors:
        return False
    stem, final = saved.shape("conv1.weight")[:1], saved.shape("bn1.weight")
    return tuple(stem) != tuple(final)


def _build(saved: SavedModel, max_pool: bool = False) -> nn.Module:
    from .small_resnets import SmallResNet

    plan = _plan(saved, max_pool)
    weights = tuple(
        tuple(f"layer{stage}.{block}.{plan.shortcut}.0.weight" in saved.tensors for block in range(blocks))
        for stage, blocks in enumerate(plan.blocks, 1)
    )
    return SmallResNet(plan, weights)


register_network(
    "cifar-resnet",
    state_dict_names=[
        *(f"cifar-resnet{depth}" for depths in _DEPTHS.values() for depth in depths),
        *(f"cifar-resnet{depth}" for depth in _THIN_DEPTHS),
        *(f"resnet{depth}" for depth in _THIN_DEPTHS),
    ],
    facts=lambda saved, hints: _facts(saved, hints, preactivated=False),
    fits=lambda saved: _is_small(saved, preactivated=False),
)(lambda saved, _: _build(saved))

register_network(
    "cifar-resnet-maxpool",
    state_dict_names=[f"cifar-resnet{depth}-maxpool" for depths in _DEPTHS.values() for depth in depths],
    facts=lambda saved, hints: _facts(saved, hints, preactivated=False, max_pool=True),
    # Whether the stem pools leaves no trace; with torchvision's names both are usual, with others only without.
    fits=lambda saved: _is_small(saved, preactivated=False) and "fc.weight" in saved.tensors and _downsamples(saved),
)(lambda saved, _: _build(saved, max_pool=True))

register_network(
    "preactresnet",
    state_dict_names=[f"preactresnet{depth}" for depths in _DEPTHS.values() for depth in depths],
    facts=lambda saved, hints: _facts(saved, hints, preactivated=True),
    fits=lambda saved: _is_small(saved, preactivated=True),
)(lambda saved, _: _build(saved))


def _downsamples(saved: SavedModel) -> bool:
    return saved.shape("conv1.weight")[0] >= 64 and any(".downsample." in name for name in saved.tensors)
