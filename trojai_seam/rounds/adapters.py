"""What an adapter is, and the registry of adapters by the name that round configs use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ..loading import Budget
from ..registry import Registry
from .adapter_keys import AdapterKeys

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..tasks import ExampleSet
    from .config import RoundConfig
    from .model_directory import ModelDirectory


Outputs: TypeAlias = "Callable[[Mapping[str, Tensor]], Tensor]"
"""Asks the model as shipped: from inputs by argument name, on the CPU, to raw scores ``float32 [N, …]``, on the CPU."""


@dataclass(frozen=True, eq=False)
class Workplace:
    """Where a model is opened, and what may be used for it. Nothing in here may change a number of the row.

    Attributes:
        device: where networks compute.
        budget: bounds on reading ``.pt`` files.
        cache: folder for what many models share, such as embeddings of texts; ``None`` works without.
    """

    device: str = "cpu"
    budget: Budget = field(default_factory=Budget)
    cache: Path | None = None


@dataclass(frozen=True, eq=False)
class ShippedNetwork:
    """The network as shipped, for adapters that must ask it, or fit the inputs to it. Not to be changed.

    Attributes:
        model: the rebuilt network, eval mode, on ``workplace.device``.
        class_path: the pickled class; of a bare state dict, that of the dictionary.
        input_shape: of one example, where the file tells: ``(1, E)`` for heads on embeddings of E numbers.
        outputs: asks it.
        workplace: where it was opened.
    """

    model: nn.Module
    class_path: str
    input_shape: tuple[int, ...] | None
    outputs: Outputs
    workplace: Workplace


class Examples(NamedTuple):
    """What ships with one model. ``poisoned`` is ``None`` when there is no triggered example.

    ``facts`` are values for declared columns of the row, such as how the inputs were prepared. ``decided_on`` are the
    places of clean examples whose labels had a say in that: they must not measure anything later. ``only_measured`` are
    those that must never be trained on: a test set of its own. ``variants`` are other preparations of the poisoned
    examples by name, with triggers that are not quite theirs.
    """

    clean: ExampleSet
    poisoned: ExampleSet | None
    facts: Mapping[str, Any] = MappingProxyType({})
    decided_on: tuple[int, ...] = ()
    only_measured: tuple[int, ...] = ()
    variants: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({})


class Adapter(Protocol):
    """Turns the example files of one family of rounds into tensors."""

    def __call__(
        self, directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
    ) -> Examples:
        """Read all examples of ``directory``, on the CPU.

        Raises:
            ExampleProblem: no clean example, or one that cannot be used; names the file.
            DatasetProblem: a config or label file cannot be read.
        """
        ...


class Check(Protocol):
    """Looks at the example files of a model as far as that is cheap, for ``evaluate --check``."""

    def __call__(
        self, directory: ModelDirectory, round_config: RoundConfig, num_classes: int, network: ShippedNetwork
    ) -> Mapping[str, tuple[int, ...]] | None:
        """Whether the adapter would find what it needs: examples, labels, scale files, tokenizers. Nothing is decoded.

        ``network.model`` has no memory and ``network.outputs`` cannot be asked.

        Returns:
            Shape of one example by argument name, where it follows from the round and the files' headers alone.

        Raises:
            TrojaiSeamError: what the adapter would say.
        """
        ...


@dataclass(frozen=True)
class AdapterKind:
    """One adapter, as a round's config names it.

    Attributes:
        keys: what a round may tell it.
        read: reads the examples of a model.
        check: looks at their files; ``None`` looks at nothing.
    """

    keys: AdapterKeys
    read: Adapter
    check: Check | None = None


ADAPTERS: Registry[AdapterKind] = Registry("adapter")
ADAPTERS.add("feature-vectors", "trojai_seam.rounds.feature_vectors:KIND")
ADAPTERS.add("image-classification", "trojai_seam.rounds.image_classification:KIND")
ADAPTERS.add("backdoorbench", "trojai_seam.rounds.backdoorbench:KIND")
ADAPTERS.add("labelled-images", "trojai_seam.rounds.own_images:KIND")
ADAPTERS.add("text-embeddings", "trojai_seam.rounds.text_embeddings:KIND")
ADAPTERS.add("text-classification", "trojai_seam.rounds.text_classification:KIND")
ADAPTERS.add("token-classification", "trojai_seam.rounds.labelled_sentences:KIND")
ADAPTERS.add("question-answering", "trojai_seam.rounds.question_answering:KIND")
ADAPTERS.add("object-detection", "trojai_seam.rounds.object_detection:KIND")
