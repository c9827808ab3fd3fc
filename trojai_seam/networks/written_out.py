"""Whole modules of a class that only their owner knows, where the owner says which network of ours they are.

``--network preactresnet18`` is a word about what the classes in the file compute. All layers with tensors are compared
all the same, with their strides, paddings and order. Here is what else such classes hold: parts that our modules write
as functions, and numbers that their constructors remember.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .class_names import today

if TYPE_CHECKING:
    from torch import nn

    from ..loading import ModuleNode

OURS: Final = "trojai_seam."
#: What published classes of these networks keep, and what follows from the tensors or plays no part in eval mode.
REMEMBERED: Final = frozenset(
    {
        "in_planes", "inplanes", "in_channels", "nChannels", "planes", "ind", "expansion", "stride", "equalInOut",
        "droprate", "drop_rate", "dropRate", "dropout_rate", "depth", "widen_factor", "num_classes", "n_classes",
        "num_blocks", "block", "out_dim",
    }
)  # fmt: skip
_NN: Final = "torch.nn.modules"
_RELU: Final = frozenset({"ResidualBlock", "SmallResNet", "WideBlock", "WideResNet", "LeNet", "MnistCnn"})
_PAIRS: Final = (int, tuple, list)


def is_written_out(node: ModuleNode, owner: nn.Module) -> bool:
    """Whether our module ``owner`` computes the part ``node`` of the file, for which it has none, as a function."""
    kind, ours = today(node.class_path), type(owner)
    if not ours.__module__.startswith(OURS):
        return False
    told = node.attributes
    if kind == f"{_NN}.flatten.Flatten":
        return (told.get("start_dim"), told.get("end_dim")) == (1, -1)
    if kind == f"{_NN}.activation.ReLU":
        return ours.__name__ in _RELU
    grid = getattr(owner, "grid", None)
    if not isinstance(grid, int):
        return False
    if kind == f"{_NN}.pooling.AdaptiveAvgPool2d":
        return _both(told.get("output_size"), grid)
    if kind == f"{_NN}.pooling.AvgPool2d":  # the head says what size it leaves
        size = told.get("kernel_size")
        return (
            isinstance(size, _PAIRS) and told.get("stride") in (size, None) and _both(told.get("padding"), 0)
        ) and told.get("ceil_mode") is False
    return False


def _both(value: Any, number: int) -> bool:
    return value == number if isinstance(value, int) else value in ((number, number), [number, number])
