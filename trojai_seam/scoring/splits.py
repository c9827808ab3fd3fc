"""Which clean examples may be trained on, and which only measure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageProblem
from ..seeds import derive_seed

PROTOCOLS = ("held-out", "kfold", "paper")
HELD_OUT_SHARE = 0.3
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Indices into the clean examples: ``fit`` may be trained on, ``held_out`` only measures. Both sorted, disjoint."""

    fit: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class SplitPlan:
    """One split per unlearning run of a model.

    ``measured_on`` says what the main numbers of the row are measured on: ``held-out`` (examples that training never
    saw), ``cross-validated`` (every measured example was held out of exactly one of several runs) or ``in-sample``
    (there was nothing left to hold out, or the protocol is the paper's): then only the ``fit_`` columns have values.
    """

    protocol: str
    measured_on: str
    splits: tuple[Split, ...]


def plan_splits(
    labels: Sequence[int],
    protocol: str,
    seed: int,
    model_id: str,
    share: float = HELD_OUT_SHARE,
    folds: int = FOLDS,
    keep: Collection[int] = (),
) -> SplitPlan:
    """Stratified splits, deterministic in (seed, model id), with at least one fit example of every class that has any.

    Args:
        labels: the class of every clean example (for structured labels any stratum number).
        protocol: ``held-out`` (one split), ``kfold`` (up to ``folds`` splits, each unlearned separately) or ``paper``
            (train and measure on everything, as the authors' scripts do).
        seed: seed of the whole run.
        model_id: the model's name.
        share: share of every class to hold out, rounded to the nearest whole example.
        folds: the most folds for ``kfold``; fewer when the largest class has fewer examples.
        keep: examples that are fit examples in every split, because they had a say in something already.

    Raises:
        UsageProblem: unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageProblem(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if folds < 2 or not 0 < share < 1:
        raise UsageProblem(f"splits need at least 2 folds and a share between 0 and 1, found {folds} and {share}")
    count = len(labels)
    everything = SplitPlan(protocol, "in-sample", (Split(tuple(range(count)), ()),))
    if protocol == "paper":
        return everything
    rng, kept = np.random.default_rng(derive_seed(seed, model_id, "split")), set(keep)
    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        classes.setdefault(int(label), []).append(index)
    shuffled = [list(rng.permutation(classes[label])) for label in sorted(classes)]
    if protocol == "held-out":
        held = []
        for members in shuffled:
            free = [i for i in members if i not in kept]
            held += free[: min(int(share * len(members) + 0.5), len(members) - 1)]
        return SplitPlan(protocol, "held-out", (_split(count, held),)) if held else everything
    # A class with a single example stays in fit in every fold: without it the class would be unknown.
    shared = [[i for i in members if i not in kept] for members in shuffled if len(members) > 1]
    shared = [members for members in shared if members]
    if not shared:
        return everything
    used = min(folds, max(len(members) for members in shared))
    by_fold: list[list[int]] = [[] for _ in range(used)]
    offset = 0  # classes take turns at being first, so that folds have like sizes
    for members in shared:
        for position, index in enumerate(members):
            by_fold[(offset + position) % used].append(index)
        offset += len(members)
    return SplitPlan(protocol, "cross-validated", tuple(_split(count, held) for held in by_fold))


def _split(count: int, held: Sequence[int]) -> Split:
    out = {int(i) for i in held}
    return Split(tuple(i for i in range(count) if i not in out), tuple(sorted(out)))
