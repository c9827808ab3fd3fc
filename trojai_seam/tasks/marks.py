"""What answers are worth, example by example, in whatever unit the task counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    def share(self) -> float | None:
        """Points per counted unit over all examples; ``None`` when nothing counts."""
        units = int(self.counted.sum())
        return float(self.points.sum() / units) if units else None
