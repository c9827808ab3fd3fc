"""Named entities in BIO labels, as the CoNLL-2000/2003 evaluation script ``conlleval`` counts them.

An entity begins at every B-, and at an I- whose predecessor is O, outside the sentence, or of another type; it is right
when type, first and last token all agree. Our own code: the package ``seqeval``, whose default mode does the same, has
not been released since 2020 and would bring scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """``kind`` from token ``first`` to token ``last``, both included."""

    kind: str
    first: int
    last: int


def default_names(num_classes: int) -> tuple[str, ...]:
    """The label order of every TrojAI round: O, then B- and I- of each type by turns."""
    return (OUTSIDE, *(f"{'BI'[(label + 1) % 2]}-{(label - 1) // 2}" for label in range(1, num_classes)))


def entities(labels: Sequence[str]) -> list[Entity]:
    """The entities of one sentence, in order. A label without a prefix and a ``-`` stands for no entity."""
    found: list[Entity] = []
    kind, first = "", 0
    for position, label in enumerate([*labels, OUTSIDE]):
        prefix, dash, now = label.partition("-")
        inside = bool(dash) and prefix in ("B", "I")
        if kind and (not inside or prefix == "B" or now != kind):
            found.append(Entity(kind, first, position - 1))
            kind = ""
        if inside and not kind:
            kind, first = now, position
    return found


def agreement(true: Sequence[str], said: Sequence[str]) -> tuple[int, int]:
    """(2 · entities right, entities true + entities said) of one sentence: over sentences, F1 is the ratio of sums."""
    expected, given = set(entities(true)), set(entities(said))
    return 2 * len(expected & given), len(expected) + len(given)
