"""Figures of a row that do not fit each other or what the files say: somebody should look before believing them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from .intervals import Rate

USUAL: Final = 0.8
"""Accuracy on a model's own examples that is hardly ever missed: NIST takes examples that the model gets right."""
FAR: Final = 0.1
"""So far below what is promised is far."""
_CHANCE: Final = 0.025


def accuracy_doubt(before: Rate, promised: float | None, source: str | None, usual: float | None = USUAL) -> str | None:
    """Why the accuracy ``before``, of the model as shipped on all its clean examples, cannot be right; None if it may.

    Args:
        before: accuracy before unlearning.
        promised: the accuracy that the model's files tell, 0 to 1; None if they do not.
        source: where they tell it.
        usual: the least that is expected where nothing is promised; None: anything.

    So few examples that the gap may be chance raise no doubt: by the binomial distribution, and graded ones also by
    their interval.
    """
    least = usual if promised is None else promised - FAR
    if before.value is None or least is None or before.value >= least or not _is_significant(before, least):
        return None
    found = f"accuracy before is {before.value:.2f} on all {before.n} clean examples"
    than = f"{least:.2f}" if promised is None else f"the {promised:.2f} of {source}"
    return f"{found}, far below {than}: the preprocessing or the labels are probably wrong"


def kept_accuracy_doubt(row: Mapping[str, Any]) -> str | None:
    """A remark on ``kept_accuracy`` above 1, from the scored columns of ``row``."""
    kept = row.get("kept_accuracy")
    if kept is None or kept <= 1 + 1e-9:
        return None
    return (
        f"kept accuracy {kept:.3f} is above 1: unlearning raised the accuracy from {row['acc_before']:.2f} to "
        f"{row['acc_after']:.2f}"
    )


def doubts(row: Mapping[str, Any], accuracy: str | None) -> str | None:
    """All that makes the figures of ``row`` doubtful, in one line; a gain in accuracy that chance explains does not."""
    low = row.get("kept_accuracy_low")
    kept = kept_accuracy_doubt(row) if low is not None and low > 1 else None
    return "; ".join(doubt for doubt in (accuracy, kept) if doubt) or None


def _is_significant(before: Rate, least: float) -> bool:
    from scipy.special import bdtr  # for the few models that come this far

    right = math.ceil((before.value or 0.0) * before.n - 1e-9)
    if float(bdtr(right, before.n, least)) >= _CHANCE:
        return False  # also for graded examples: the units of one may be right or wrong together
    high = before.interval[1]
    return before.marks is None or (high is not None and high < least)
