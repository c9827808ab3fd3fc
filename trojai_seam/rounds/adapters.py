"""What an adapter is, and the registry of adapters by the name that round configs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..registry import Registry

if TYPE_CHECKING:
    from ..tasks import ExampleSet
    from .config import RoundConfig
    from .model_directory import ModelDirectory


class Examples(NamedTuple):
    """What ships with one model. ``poisoned`` is ``None`` when there is no triggered example."""

    clean: ExampleSet
    poisoned: ExampleSet | None


class Adapter(Protocol):
    """Turns the example files of one family of rounds into tensors."""

    def __call__(self, directory: ModelDirectory, round_config: RoundConfig, num_classes: int) -> Examples:
        """Read all examples of ``directory``, on the CPU.

        Raises:
            ExampleProblem: no clean example, or one that cannot be used; names the file.
            DatasetProblem: a config or label file cannot be read.
        """
        ...


ADAPTERS: Registry[Adapter] = Registry("adapter")
ADAPTERS.add("feature-vectors", "trojai_seam.rounds.feature_vectors:read_examples")
