"""Examples as tensors: the few clean or poisoned inputs that ship with a model, decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """N examples of one model, all on one device.

    Attributes:
        inputs: what the network is called with, by argument name; every tensor has N as its first dimension. Networks
            with one positional input (images ``float32 [N, 3, H, W]``, feature vectors ``float32 [N, F]``) use the
            name ``"x"``.
        labels: true labels, ``int64 [N]`` (or ``[N, ...]`` where a task needs more than one label per example).
        targets: for poisoned examples the label that the attacker wants, same shape as ``labels``; ``None`` for clean.
        names: N file names or keys, unique, in the order of the tensors.
        origin: ``"shipped"`` by NIST or ``"synthesised"`` by us from the trigger's description.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    names: tuple[str, ...]
    targets: Tensor | None = None
    origin: str = "shipped"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        sizes = {len(self.names), len(self.labels), *(len(t) for t in self.inputs.values())}
        if self.targets is not None:
            sizes.add(len(self.targets))
        if len(sizes) != 1:
            raise ValueError(f"inputs, labels, targets and names have different lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> ExampleSet:
        """The same examples on ``device``."""
        return replace(
            self,
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            labels=self.labels.to(device),
            targets=None if self.targets is None else self.targets.to(device),
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
        )
