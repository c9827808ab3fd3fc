"""Does the repair last? The re-tuning attack: few poisoned examples among the clean ones, few steps, and ask again.

Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor Defense", arXiv 2410.09838;
settings as in its repository (AISafety-HKUST/stable_backdoor_purification, ``fine_tune/ft_poison.py``): 5 poisoned
examples, SGD with rate 0.01 and momentum 0.9, batches of 128; 5 epochs as in the paper. There they take the place of
clean images, 2 % of a whole training set; here, where clean examples are few, they come on top of them.

Only measured, on a copy of the network: nothing that is chosen depends on it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..tasks import ExampleSet, Task
from ..tasks.details import BoxDetails
from ..tasks.examples import NOT_COUNTED
from ..unlearning.batches import epoch_batches
from .predictions import AttackPredictions, Predictions

POISONED, EPOCHS, RATE, MOMENTUM, BATCH_SIZE = 5, 5, 0.01, 0.9, 128


@dataclass(frozen=True, eq=False)
class Retuned:
    """Answers of a network after the re-tuning attack, to all clean and all poisoned examples.

    ``poisoned_used`` are the places of the poisoned examples that it was re-tuned on: they measure nothing.
    """

    clean: Predictions
    poisoned: AttackPredictions
    poisoned_used: tuple[int, ...]


def drawn_poisoned(
    poisoned: ExampleSet, before: AttackPredictions, unseen: Sequence[int] | None, seed: int
) -> tuple[int, ...]:
    """Places of the poisoned examples to re-tune on, drawn by ``seed``: at most :data:`POISONED`.

    Those that measure nothing anyway, because they are made of an example that was trained on, come first; of the
    others at most half. None where there is nothing to train towards: detectors, or poisoned examples without targets.
    """
    if poisoned.targets is None or isinstance(poisoned.details, BoxDetails):
        return ()
    attacked = np.flatnonzero(before.attack_success.counted > 0)
    measuring = attacked if unseen is None else np.intersect1d(attacked, np.array(unseen, np.int64))
    rng = np.random.default_rng(seed)
    spare = rng.permutation(np.setdiff1d(attacked, measuring))[:POISONED]
    more = rng.permutation(measuring)[: min(POISONED - len(spare), len(measuring) // 2)]
    return tuple(sorted(int(place) for place in (*spare, *more)))


def retuned(
    model: nn.Module, task: Task, fit: ExampleSet, poisoned: ExampleSet, used: Sequence[int], seed: int, most: int
) -> nn.Module:
    """A copy of ``model``, trained on ``fit`` (prepared) with the poisoned examples at ``used`` under the labels that
    the attacker wants. Neither ``model`` nor torch's random state is changed.

    At most ``most`` examples go through the network at once: batches are put together from parts, whose gradients are
    added, so that re-tuning takes no more memory than unlearning did. BatchNorm sees the parts.

    The loss may become non-finite; answers of such a network are never right.
    """
    examples = _joined(fit, poisoned.subset(used).prepared())
    generator = torch.Generator().manual_seed(seed)
    device = examples.labels.device
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    optimizer = torch.optim.SGD([p for p in copied.parameters() if p.requires_grad], lr=RATE, momentum=MOMENTUM)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(seed)  # of dropout
        for _ in range(EPOCHS):
            copied.train()
            for where in epoch_batches(len(examples), None, BATCH_SIZE, generator):
                at = where.to(device)
                optimizer.zero_grad()
                parts = math.ceil(len(at) / most)
                for some, part in zip(where.chunk(parts), at.chunk(parts), strict=True):
                    rows = examples.rows(some, part)
                    loss = task.loss(copied, rows, examples.labels[part]) * (len(part) / len(at))
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return copied.eval()


def _joined(fit: ExampleSet, poisoned: ExampleSet) -> ExampleSet:
    """Both, with the attacker's labels for the poisoned; texts are padded to the longest."""
    assert poisoned.targets is not None  # noqa: S101 - drawn_poisoned saw to it
    wanted = torch.where(poisoned.targets >= 0, poisoned.targets, poisoned.labels)
    wanted = torch.where(wanted >= 0, wanted, NOT_COUNTED)
    inputs = {name: _stacked(fit.inputs[name], poisoned.inputs[name], 0) for name in fit.inputs}
    return replace(
        fit,
        inputs=inputs,
        labels=_stacked(fit.labels, wanted, NOT_COUNTED),
        names=(*fit.names, *(f"re-tuned on {name}" for name in poisoned.names)),
        targets=None,
        details=None,
        made_from=None,
    )


def _stacked(first: Tensor, second: Tensor, filling: int) -> Tensor:
    sizes = [max(pair) for pair in zip(first.shape[1:], second.shape[1:], strict=True)]
    parts = []
    for tensor in (first, second):
        missing = [
            side for have, want in zip(tensor.shape[:0:-1], sizes[::-1], strict=True) for side in (0, want - have)
        ]
        parts.append(functional.pad(tensor, missing, value=filling) if any(missing) else tensor)
    return torch.cat(parts)
