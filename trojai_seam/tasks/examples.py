"""Examples as tensors: the few clean or poisoned inputs that ship with a model, decoded once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .details import SIZES, BoxDetails, Details

UNKNOWN = -1
"""A label that counts, but that nobody knows: the true label of a poisoned example whose original is lost."""
NOT_COUNTED = -100
"""In labels of several units per example: this unit is padding, a special token or the rest of a word."""
MASK = "attention_mask"
REAL_WINDOWS = "real_windows"


class Extents(NamedTuple):
    """How much of padded text is real, known on the CPU so that cutting a batch needs no device."""

    tokens: Tensor
    """``int64 [N]``: position of the last attended token, plus one (over all windows)."""
    windows: Tensor | None
    """``bool [N, W]``: windows with an attended token; ``None`` for one sequence per example."""


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """N examples of one model, all on one device.

    What differs in size between examples (sentences, windows, objects in an image) is padded, and the tensors
    say how far it is real; texts and names live in ``details``.

    Attributes:
        inputs: what the network is called with, by argument name; every tensor has N as its first dimension. Networks
            with one positional input (images ``float32 [N, 3, H, W]``, feature vectors ``float32 [N, F]``, embeddings
            ``float32 [N, 1, D]``) use the name ``"x"``; text has ``input_ids``, ``attention_mask`` and, if the network
            takes it, ``token_type_ids``, ``int64 [N, L]``, or ``[N, W, L]`` for W windows over one record.
        labels: true labels, ``int64 [N]``, or ``[N, ...]`` where a task has several per example: see each task. Units
            that do not count are :data:`NOT_COUNTED`, unknown ones :data:`UNKNOWN`.
        targets: for poisoned examples the label that the attacker wants, same shape as ``labels``; ``None`` for clean.
        names: N file names or keys, unique, in the order of the tensors.
        origin: ``"shipped"`` by NIST or ``"synthesised"`` by us from the trigger's description.
        details: what the task needs beyond labels; see ``details.py``.
        prepare: makes what the network gets of ``x``, on the device where it lies, batch by batch: thousands of images
            stay 8-bit numbers in memory, and triggered ones are the clean ones until they are asked for. None: as is.
        made_from: for poisoned examples the place of the clean example that each was made of, -1 where that is none of
            them; ``None`` where nothing tells. One that was made of an example that is trained on measures nothing.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    names: tuple[str, ...]
    targets: Tensor | None = None
    origin: str = "shipped"
    notes: tuple[str, ...] = field(default=())
    details: Details | None = None
    prepare: Callable[[Tensor], Tensor] | None = None
    made_from: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.names), len(self.labels), *(len(t) for t in self.inputs.values())}
        if self.targets is not None:
            sizes.add(len(self.targets))
        if self.details is not None:
            sizes.add(len(self.details))
        if self.made_from is not None:
            sizes.add(len(self.made_from))
        if len(sizes) != 1:
            raise ValueError(f"inputs, labels, targets, names and details have different lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> ExampleSet:
        """The same examples on ``device``."""
        return replace(
            self,
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            labels=self.labels.to(device),
            targets=None if self.targets is None else self.targets.to(device),
            details=None if self.details is None else self.details.to(device),
        )

    def subset(self, indices: Sequence[int]) -> ExampleSet:
        """The examples at ``indices``, in that order."""
        where = torch.as_tensor(list(indices), dtype=torch.int64, device=self.labels.device)
        return replace(
            self,
            inputs={name: tensor[where] for name, tensor in self.inputs.items()},
            labels=self.labels[where],
            targets=None if self.targets is None else self.targets[where],
            names=tuple(self.names[i] for i in indices),
            details=None if self.details is None else self.details.subset(indices),
            made_from=None if self.made_from is None else tuple(self.made_from[i] for i in indices),
        )

    def prepared(self) -> ExampleSet:
        """The same examples with inputs as the network gets them, for those that are asked for over and over again."""
        if self.prepare is None:
            return self
        return replace(self, inputs={**self.inputs, "x": self.prepare(self.inputs["x"])}, prepare=None)

    def ground_truth(self) -> ExampleSet:
        """Labels, targets and details without inputs, on the CPU, where predictions are marked."""
        return replace(self, inputs={}).to("cpu")

    def key(self) -> ExampleSet:
        """What :meth:`ground_truth` was called."""
        warnings.warn("ExampleSet.key is now called ground_truth", DeprecationWarning, 2)
        return self.ground_truth()

    @cached_property
    def extents(self) -> Extents | None:
        """How far text is real; ``None`` without an attention mask. The first use waits for the device."""
        if MASK not in self.inputs:
            return None
        mask = self.inputs[MASK].cpu() != 0
        windows = mask.any(dim=2) if mask.ndim == 3 else None
        attended = mask if windows is None else mask.any(dim=1)
        positions = torch.arange(1, attended.shape[1] + 1)
        return Extents((attended * positions).amax(dim=1).clamp(min=1), windows)

    def rows(self, where: Tensor, at: Tensor) -> dict[str, Tensor]:
        """Inputs of the examples at ``where``; text is cut behind the longest of them.

        Windows are cut likewise, and :data:`REAL_WINDOWS` (``int64 [R]``) says which of the n · W left are real. Images
        with boxes are cut to the largest of them; :data:`SIZES` (``int64 [n, 2]``, on the CPU) says how large each is.

        Args:
            where: ``int64 [n]``, on the CPU.
            at: the same on the device of the examples; no synchronisation is needed then.
        """
        if isinstance(self.details, BoxDetails):
            sizes = self.details.sizes[where]
            height, width = sizes.amax(dim=0).tolist()
            return {**{name: tensor[at, :, :height, :width] for name, tensor in self.inputs.items()}, SIZES: sizes}
        if self.extents is None:
            found = {name: tensor[at] for name, tensor in self.inputs.items()}
            return found if self.prepare is None else {**found, "x": self.prepare(found["x"])}
        length = int(self.extents.tokens[where].max())
        if self.extents.windows is None:
            return {name: tensor[at, :length] for name, tensor in self.inputs.items()}
        real = self.extents.windows[where]
        width = int(real.any(dim=0).nonzero().max()) + 1
        cut = {name: tensor[at, :width, :length] for name, tensor in self.inputs.items()}
        numbers = real[:, :width].flatten().nonzero().flatten()
        return {**cut, REAL_WINDOWS: numbers.to(at.device, non_blocking=True)}
