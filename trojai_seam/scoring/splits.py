"""Which clean examples may be trained on, and which only measure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..choices import PROTOCOLS as PROTOCOLS
from ..errors import UsageProblem
from ..seeds import derive_seed

HELD_OUT_SHARE = 0.3
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Indices into the clean examples: ``fit`` may be trained on, ``held_out`` only measures. Both sorted, disjoint."""

    fit: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class FitLimit:
    """How many clean examples may be trained on.

    Attributes:
        per_class: at most so many of every class.
        total: at most so many in all, shared out over the classes in proportion to their sizes; as far as they go, one
            of each class.
    """

    per_class: int | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        for name in ("per_class", "total"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageProblem(f"--fit-{name.replace('_', '-')} {value}: expected at least 1")

    @property
    def unset(self) -> bool:
        """There is no limit."""
        return self.per_class is None and self.total is None

    def chosen(self, classes: Sequence[list[int]], kept: set[int]) -> set[int]:
        """The examples of ``classes`` (each in the order in which it is drawn from, after those ``kept``) that may be
        trained on."""
        ordered = [members[: self.per_class] for members in _kept_first(classes, kept)]
        if self.total is not None:
            shares = _shared_out(self.total, [len(members) for members in ordered])
            ordered = [members[:share] for members, share in zip(ordered, shares, strict=True)]
        return {int(i) for members in ordered for i in members}


def _shared_out(total: int, sizes: Sequence[int]) -> list[int]:
    """``total`` over classes of these ``sizes``: one each as far as it goes, the rest by largest remainders."""
    if total >= sum(sizes):
        return list(sizes)
    filled = [place for place, size in enumerate(sizes) if size][:total]
    shares = [int(place in filled) for place in range(len(sizes))]
    heap = [
        (share / size, place) for place, (share, size) in enumerate(zip(shares, sizes, strict=True)) if share < size
    ]
    heapq.heapify(heap)
    for _ in range(total - sum(shares)):
        _, place = heapq.heappop(heap)  # the class that is furthest behind, the first of equals
        shares[place] += 1
        if shares[place] < sizes[place]:
            heapq.heappush(heap, (shares[place] / sizes[place], place))
    return shares


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
    only_measured: Collection[int] = (),
    limit: FitLimit | None = None,
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
        keep: examples that are never held out, because they had a say in something already.
        only_measured: examples that are never trained on: with protocol ``held-out`` they alone are held out.
        limit: how many examples may be trained on. With ``held-out`` all others measure, and every class that has two
            keeps one to measure; larger limits train on all that smaller ones do.

    Raises:
        UsageProblem: unknown protocol.
    """
    limit = limit or FitLimit()
    if protocol not in PROTOCOLS:
        raise UsageProblem(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if folds < 2 or not 0 < share < 1:
        raise UsageProblem(f"splits need at least 2 folds and a share between 0 and 1, found {folds} and {share}")
    count, kept, measured = len(labels), set(keep), set(only_measured)
    rng = np.random.default_rng(derive_seed(seed, model_id, "split"))
    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        classes.setdefault(int(label), []).append(index)
    shuffled = [rng.permutation(classes[label]).tolist() for label in sorted(classes)]
    free = [[i for i in members if i not in measured] for members in shuffled]
    everything = SplitPlan(protocol, "in-sample", (Split(tuple(sorted(limit.chosen(free, kept))), ()),))
    if protocol == "paper":
        return everything
    if protocol == "held-out":
        fit = _fitted(shuffled, free, share, kept, measured, limit)
        held = [i for i in range(count) if i not in fit and (i in measured if measured else i not in kept)]
        return SplitPlan(protocol, "held-out", (Split(tuple(sorted(fit)), tuple(held)),)) if held else everything
    # A class with a single example stays in fit in every fold: without it the class would be unknown.
    shared = [[i for i in members if i not in kept] for members in free if len(members) > 1]
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
    return SplitPlan(protocol, "cross-validated", tuple(_fold(free, held, kept, limit) for held in by_fold))


def _fitted(
    shuffled: Sequence[list[int]],
    free: Sequence[list[int]],
    share: float,
    kept: set[int],
    measured: set[int],
    limit: FitLimit,
) -> set[int]:
    """What protocol ``held-out`` trains on."""
    if limit.unset:
        if measured:
            return {i for members in free for i in members}
        held: set[int] = set()
        for members in shuffled:
            out = [i for i in members if i not in kept]
            held.update(out[: min(int(share * len(members) + 0.5), len(members) - 1)])
        return {i for members in shuffled for i in members if i not in held}
    spared = [members if measured else members[: max(1, len(members) - 1)] for members in _kept_first(free, kept)]
    return limit.chosen(spared, kept)


def _kept_first(classes: Sequence[list[int]], kept: set[int]) -> list[list[int]]:
    return [[i for i in members if i in kept] + [i for i in members if i not in kept] for members in classes]


def _fold(free: Sequence[list[int]], held: Sequence[int], kept: set[int], limit: FitLimit) -> Split:
    out = {int(i) for i in held}
    fit = limit.chosen([[i for i in members if i not in out] for members in free], kept)
    return Split(tuple(sorted(int(i) for i in fit)), tuple(sorted(out)))
