"""Networks of two convolutions for digits and CIFAR.

Sources: LeNet-5 (LeCun et al. 1998, tanh and mean pooling) and what most code calls so (ReLU and MaxPool, as in
kuangliu/pytorch-cifar); pytorch/examples ``mnist`` (today's and that of 2017); the network of BadNets (arXiv
1708.06733) as in verazuo/badnets-pytorch, which ends with a softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StateMismatch
from .registry import Hints, NetworkFacts, class_count_notes, dimensions, register_network, shape_of

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel


@dataclass(frozen=True)
class SmallCnn:
    """One network: the weights it has (None for a free number) and the name of its head.

    ``shapes`` leave the class count and the channels of the image free; ``module`` is a name in ``small_cnn_modules``.
    """

    name: str
    module: str
    shapes: Mapping[str, tuple[int | None, ...]]
    head: str

    def problem(self, saved: SavedModel) -> str | None:
        """How the file differs; None if it fits."""
        weights = {name for name in saved.tensors if name.endswith("weight")}
        if weights != self.shapes.keys():
            return f"has not exactly the weights {', '.join(self.shapes)}"
        for name, expected in self.shapes.items():
            found = saved.shape(name)
            if len(found) != len(expected) or any(e not in (None, f) for f, e in zip(found, expected, strict=True)):
                return f"{name} is {dimensions(found)}"
        return None

    def facts(self, saved: SavedModel, hints: Hints) -> NetworkFacts:
        problem = self.problem(saved)
        if problem is not None:
            raise StateMismatch(f"{saved.path}: its tensors are not those of {self.name}: {problem}")
        classes = shape_of(saved, self.head, 2)[0]
        return NetworkFacts(self.name, self.name, classes, None, class_count_notes(hints, classes, self.head))

    def build(self, saved: SavedModel, hints: Hints) -> nn.Module:
        from . import small_cnn_modules

        self.facts(saved, hints)
        sizes = {name: saved.shape(name) for name in self.shapes}
        built: nn.Module = getattr(small_cnn_modules, self.module)(sizes)
        return built


_LENET: dict[str, tuple[int | None, ...]] = {
    "conv1.weight": (6, None, 5, 5),
    "conv2.weight": (16, 6, 5, 5),
    "fc1.weight": (120, None),
    "fc2.weight": (84, 120),
    "fc3.weight": (None, 84),
}
NETWORKS = (
    SmallCnn("lenet5", "LeNet", _LENET, "fc3.weight"),
    SmallCnn("lenet5-tanh", "TanhLeNet", _LENET, "fc3.weight"),
    SmallCnn(
        "mnist-cnn",
        "MnistCnn",
        {
            "conv1.weight": (32, None, 3, 3),
            "conv2.weight": (64, 32, 3, 3),
            "fc1.weight": (128, None),
            "fc2.weight": (None, 128),
        },
        "fc2.weight",
    ),
    SmallCnn(
        "mnist-cnn-2017",
        "OldMnistCnn",
        {
            "conv1.weight": (10, None, 5, 5),
            "conv2.weight": (20, 10, 5, 5),
            "fc1.weight": (50, None),
            "fc2.weight": (None, 50),
        },
        "fc2.weight",
    ),
    SmallCnn(
        "badnets-cnn",
        "BadNetsCnn",
        {
            "conv1.0.weight": (16, None, 5, 5),
            "conv2.0.weight": (32, 16, 5, 5),
            "fc1.0.weight": (512, None),
            "fc2.0.weight": (None, 512),
        },
        "fc2.0.weight",
    ),
)

for _network in NETWORKS:
    register_network(
        _network.name,
        state_dict_names=(_network.name,),
        facts=_network.facts,
        fits=lambda saved, network=_network: network.problem(saved) is None,  # type: ignore[misc]
    )(_network.build)
