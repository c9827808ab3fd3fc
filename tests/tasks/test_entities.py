"""Entities as conlleval counts them, on the cases that tell counting schemes apart."""

from __future__ import annotations

import pytest

from trojai_seam.tasks.entities import agreement, default_names, entities


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O", []),
        ("B-PER I-PER O", [("PER", 0, 1)]),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # an I- may begin an entity
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # another type begins another one
        ("I-LOC B-LOC", [("LOC", 0, 0), ("LOC", 1, 1)]),
        ("B-A-B I-A-B", [("A-B", 0, 1)]),  # a type may hold a hyphen
        ("B-PER PER I-PER", [("PER", 0, 0), ("PER", 2, 2)]),  # a word without a prefix is no entity
        ("", []),
    ],
)
def test_entities(labels: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(labels.split()) == expected


def test_an_entity_is_right_as_a_whole_or_not_at_all() -> None:
    true = ["B-NP", "I-NP", "O", "B-VP", "B-NP", "I-NP", "I-NP", "O"]
    said = ["B-NP", "I-NP", "O", "B-VP", "B-NP", "I-NP", "O", "O"]
    right, both = agreement(true, said)
    assert (right, both) == (4, 6)  # two of three and three
    assert agreement(true, true) == (6, 6)
    assert agreement(["O"], ["O"]) == (0, 0)
    assert agreement(["B-PER"], ["B-LOC"]) == (0, 2)
    assert agreement(["B-PER"], ["I-PER"]) == (2, 2)  # the same entity, however its beginning is spelt


def test_the_label_order_of_the_rounds() -> None:
    assert default_names(5) == ("O", "B-0", "I-0", "B-1", "I-1")
    assert entities([default_names(9)[label] for label in (1, 2, 2, 0, 7, 8, 8)]) == [("0", 0, 2), ("3", 4, 6)]
