"""Wide residual networks (Zagoruyko and Komodakis, arXiv 1605.07146) in the layouts that public repositories have.

``block`` layout (xternalz/WideResNet-pytorch; NAD, TRADES): the shortcut convolution gets the activated input.
``layer`` layout (meliketoy/wide-resnet.pytorch): convolutions may have biases, the first has stride 1 and the second
the stage's, and the shortcut convolution gets the input as it came.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ..errors import StateMismatch
from .registry import Hints, NetworkFacts, class_count_notes, count_numbered, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

NAMES = ("wrn-16-1", "wrn-16-2", "wrn-28-10", "wrn-40-1", "wrn-40-2", "wide-resnet")


class WidePlan(NamedTuple):
    """What the tensors of a wide ResNet say. ``plain`` is the ``layer`` layout; ``biased`` its convolutions."""

    channels: int
    stem: int
    widths: tuple[int, int, int]
    blocks: int
    plain: bool
    biased: bool
    head: str
    classes: int
    grid: int

    @property
    def name(self) -> str:
        """``wrn-16-1``: depth and width as the paper counts them."""
        return f"wrn-{6 * self.blocks + 4}-{self.widths[0] // self.stem}"


def _is_plain(saved: SavedModel) -> bool:
    return "block1.layer.0.conv1.weight" not in saved.tensors


def _stage(plain: bool, number: int) -> str:
    return f"layer{number}" if plain else f"block{number}.layer"


def _plan(saved: SavedModel) -> WidePlan:
    plain = _is_plain(saved)
    stem, channels, *_ = shape_of(saved, "conv1.weight", 4)
    first, second, third = (shape_of(saved, f"{_stage(plain, n)}.0.conv1.weight", 4)[0] for n in (1, 2, 3))
    blocks = {count_numbered(saved, f"{_stage(plain, n)}.#.") for n in (1, 2, 3)}
    if len(blocks) != 1:
        raise StateMismatch(
            f"{saved.path}: stages of different length; those of a wide ResNet have as many blocks each"
        )
    head = "linear" if "linear.weight" in saved.tensors else "fc"
    classes, features = shape_of(saved, f"{head}.weight", 2)
    grid = math.isqrt(features // third)
    if not grid or grid * grid * third != features or shape_of(saved, "bn1.weight", 1) != (third,):
        raise StateMismatch(f"{saved.path}: bn1 and {head} do not fit the {third} channels of the last stage")
    return WidePlan(
        channels=channels,
        stem=stem,
        widths=(first, second, third),
        blocks=blocks.pop(),
        plain=plain,
        biased=f"{_stage(plain, 1)}.0.conv1.bias" in saved.tensors,
        head=head,
        classes=classes,
        grid=grid,
    )


def _fits(saved: SavedModel) -> bool:
    tensors, plain = saved.tensors, _is_plain(saved)
    stages = [f"{_stage(plain, number)}.0.conv1.weight" for number in (1, 2, 3)]
    if not {"conv1.weight", "bn1.weight", *stages} <= tensors.keys() or "layer4.0.conv1.weight" in tensors:
        return False
    # bn1 of an ordinary ResNet follows the stem, and its blocks normalise what their convolutions give.
    norm = f"{_stage(plain, 2)}.0.bn1.weight"
    last = saved.shape(stages[2])[0]
    return saved.shape("bn1.weight") == (last,) and norm in tensors and saved.shape(norm) == saved.shape(stages[1])[1:2]


def _facts(saved: SavedModel, hints: Hints) -> NetworkFacts:
    plan = _plan(saved)
    notes = class_count_notes(hints, plan.classes, f"{plan.head}.weight")
    return NetworkFacts("wide-resnet", plan.name, plan.classes, None, notes)


@register_network("wide-resnet", state_dict_names=NAMES, facts=_facts, fits=_fits)
def _build(saved: SavedModel, hints: Hints) -> nn.Module:
    from .wide_resnet_modules import WideResNet

    return WideResNet(_plan(saved))
