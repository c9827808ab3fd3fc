"""What predictions are worth, example by example, in whatever unit the task counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


class Measure(Protocol):
    """A figure between 0 and 1 of N examples that can be taken of any of them: a ratio of sums (:class:`Marks`), or
    something that examples only have together (average precision).

    ``graded`` says that examples are not simply right or wrong: the figure then gets an interval over examples.
    """

    @property
    def graded(self) -> bool: ...

    @property
    def draw_count(self) -> int:
        """How many weightings make an interval of it."""
        ...

    @property
    def units(self) -> int:
        """Units that count, over all examples."""
        ...

    @property
    def share(self) -> float | None:
        """The figure itself; ``None`` when nothing counts."""
        ...

    @property
    def successes(self) -> float:
        """``share`` times ``units``, 0 when nothing counts."""
        ...

    def __len__(self) -> int: ...

    def at(self, indices: Places) -> Measure:
        """Of the examples at ``indices``, which are sorted and all different."""
        ...

    def counting(self) -> Measure:
        """Of the examples that count at all."""
        ...

    def draws(self, weights: NDArray[np.float64], pseudo: Sequence[float]) -> NDArray[np.float64]:
        """The figure with other weights of the examples: ``float64 [W]`` for ``weights [W, N + P]``, where the last P
        belong to made-up examples of the usual size that are right (1) or wrong (0) as ``pseudo`` says."""
        ...

    def over_folds(self, parts: Sequence[tuple[Any, Places]]) -> Measure:
        """One figure of several networks: each of ``parts`` is a measure like this one of all examples, and the places
        of those examples for which it speaks. Of the examples for which any speaks, in the order of their places."""
        ...


@dataclass(frozen=True, eq=False)
class Marks:
    """Points of N examples.

    Attributes:
        points: ``float64 [N]``, at most ``counted``: how many of the example's units are right. A unit may be right in
            part (a token F1 of 0.4).
        counted: ``int64 [N]``, units that count: 1 per example for a class or an answer, the counted tokens of a
            sentence, 0 where the question makes no sense (an attack on a clean example).
        graded: whether an example can be right in part, or holds several units. Such figures get an interval over
            examples; all others are rates of examples.
    """

    points: NDArray[np.float64]
    counted: NDArray[np.int64]
    graded: bool = False
    draw_count: ClassVar[int] = 10_000

    @classmethod
    def of_examples(cls, right: NDArray[np.bool_], use: NDArray[np.bool_] | None = None) -> Marks:
        """One unit per example: right or wrong; those outside ``use`` do not count."""
        counted = np.ones(len(right), np.int64) if use is None else use.astype(np.int64)
        return cls((right & (counted > 0)).astype(np.float64), counted)

    @classmethod
    def nothing(cls, count: int) -> Marks:
        """``count`` examples of which none counts."""
        return cls(np.zeros(count), np.zeros(count, np.int64))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def units(self) -> int:
        return int(self.counted.sum())

    @property
    def successes(self) -> float:
        return float(self.points.sum())

    @property
    def share(self) -> float | None:
        """Points per counted unit over all examples; ``None`` when nothing counts."""
        return self.successes / self.units if self.units else None

    def at(self, indices: Places) -> Marks:
        return Marks(self.points[indices], self.counted[indices], self.graded)

    def counting(self) -> Marks:
        return self.at(np.flatnonzero(self.counted > 0))

    def draws(self, weights: NDArray[np.float64], pseudo: Sequence[float]) -> NDArray[np.float64]:
        typical = self.counted.mean()
        points = np.array([*self.points, *(typical * right for right in pseudo)])
        drawn: NDArray[np.float64] = (weights @ points) / (weights @ [*self.counted, *[typical] * len(pseudo)])
        return drawn

    def over_folds(self, parts: Sequence[tuple[Any, Places]]) -> Marks:
        """Points averaged over the folds that speak for an example; what counts is the same in all of them."""
        times, points = np.zeros(len(self)), np.zeros(len(self))
        for marks, places in parts:
            times[places] += 1
            points[places] += marks.points[places]
        used = np.flatnonzero(times)
        return Marks(points[used] / times[used], self.counted[used], self.graded)


@dataclass(frozen=True, eq=False)
class CleanMarks:
    """What predictions of N clean examples are worth.

    Attributes:
        accuracy: how much of every example is right.
        further: other figures of them, by the name of their columns (``entity_f1``, ``exact``, ``ap50``).
        counts: ``int64 [N]`` each, what is counted per example, by the name of their columns (``foreign_boxes``).
    """

    accuracy: Measure
    further: Mapping[str, Measure] = field(default_factory=dict)
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AttackMarks:
    """What predictions of N poisoned examples say of the attack.

    Attributes:
        attack_success: how much of what was attacked gets the attacker's answer.
        robust: how much of what was attacked gets its true answer all the same, where that is known.
    """

    attack_success: Marks
    robust: Marks

    @classmethod
    def nothing(cls, count: int) -> AttackMarks:
        """``count`` examples in which nothing is attacked: clean ones."""
        return cls(Marks.nothing(count), Marks.nothing(count))
