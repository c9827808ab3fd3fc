"""What an adapter is, and the registry of adapters by the name that round configs use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ..registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ..tasks import ExampleSet
    from .config import RoundConfig
    from .model_directory import ModelDirectory


Outputs: TypeAlias = "Callable[[Mapping[str, Tensor]], Tensor]"
"""Asks the model as shipped: from inputs by argument name, on the CPU, to raw scores ``float32 [N, …]``, on the CPU."""


class Examples(NamedTuple):
    """What ships with one model. ``poisoned`` is ``None`` when there is no triggered example.

    ``facts`` are values for declared columns of the row, such as how the inputs were prepared.
    """

    clean: ExampleSet
    poisoned: ExampleSet | None
    facts: Mapping[str, Any] = MappingProxyType({})


class Adapter(Protocol):
    """Turns the example files of one family of rounds into tensors."""

    def __call__(
        self, directory: ModelDirectory, round_config: RoundConfig, num_classes: int, outputs: Outputs
    ) -> Examples:
        """Read all examples of ``directory``, on the CPU. ``outputs`` asks the rebuilt network, if an adapter must.

        Raises:
            ExampleProblem: no clean example, or one that cannot be used; names the file.
            DatasetProblem: a config or label file cannot be read.
        """
        ...


ADAPTERS: Registry[Adapter] = Registry("adapter")
ADAPTERS.add("feature-vectors", "trojai_seam.rounds.feature_vectors:read_examples")
ADAPTERS.add("image-classification", "trojai_seam.rounds.image_classification:read_examples")
