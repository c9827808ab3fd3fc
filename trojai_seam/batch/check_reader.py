"""What ``evaluate --check`` looks at in one model, from its file to its last side-car."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import torch

from ..loading import Budget, read_model
from ..networks import check_fit, identify
from ..networks.structure import KnownStructures
from ..rounds import ModelDirectory, RoundConfig
from ..rounds.adapters import ADAPTERS, ShippedNetwork, Workplace
from ..rounds.opening import _head_width, _outputs_of
from ..rounds.variants import variant_of
from ..tasks import get_task


class Reader:
    """Looks at model directories of one round.

    Attributes:
        budget: bounds on reading.
        round_config: the round.
    """

    def __init__(self, budget: Budget, round_config: RoundConfig) -> None:
        torch.set_num_threads(1)  # there is a reader for every core
        self.budget, self.round_config = budget, round_config
        self._networks = KnownStructures(check_fit)
        self._asked: set[tuple[int, str]] = set()

    def look(self, directory: ModelDirectory) -> list[str]:
        """What was looked at: ``tensors``, ``examples``.

        Raises:
            TrojaiSeamError: what an evaluation would say.
        """
        _ = directory.poisoned
        hints, round_config = directory.config, self.round_config.of_model(directory.model_id)
        saved = read_model(directory.model_path, self.budget, entry=round_config.checkpoint_entry)
        facts = identify(saved, hints)
        model = self._networks.examine(saved, hints)
        round_config = variant_of(round_config, directory, str(saved.class_path))
        look = ADAPTERS.get(round_config.adapter).check
        if look is None:
            return ["tensors"]
        classes = facts.num_classes or _head_width(model, saved.path)
        task = get_task(round_config.task, classes)
        outputs = _outputs_of(model, task, "meta", saved.path)
        workplace = Workplace("meta", self.budget)
        network = ShippedNetwork(model, str(saved.class_path), facts.input_shape, outputs, workplace)
        shapes = look(directory, round_config, classes, network)
        if shapes is None or facts.input_shape is None or set(shapes.values()) != {facts.input_shape}:
            self._ask(model, shapes, network)  # the first time torch imports its compiler for that: seconds
        return ["tensors", "examples"]

    def _ask(
        self, model: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]] | None, network: ShippedNetwork
    ) -> None:
        """Whether the network takes examples of these shapes: only shapes are computed."""
        if shapes is None or (id(model), repr(shapes)) in self._asked:
            return
        with suppress(RuntimeError, NotImplementedError):  # what the meta device cannot compute is not looked at
            network.outputs({name: torch.empty((1, *shape), device="meta") for name, shape in shapes.items()})
        self._asked.add((id(model), repr(shapes)))
