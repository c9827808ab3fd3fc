"""The official SQuAD 2.0 figures on cases worked out by hand from its definition."""

from __future__ import annotations

import pytest

from trojai_seam.tasks.squad_metric import exact_match, normalised, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick, brown fox!", "quick brown fox"),
        ("an apple a day", "apple day"),
        ("the", ""),
        ("Ahead", "ahead"),
        ("U.S.A.", "usa"),
        ("state-of-the-art", "stateoftheart"),  # punctuation goes first, so there is no article left
        ("a\tb\n c", "b c"),
        ("«L'été»", "«lété»"),  # only ASCII punctuation is one
        ("", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos"], True, 1.0),
        ("the Denver Broncos.", ["Denver Broncos"], True, 1.0),
        ("Broncos", ["Denver Broncos"], False, 2 / 3),
        ("in the city of Denver", ["Denver"], False, 0.4),  # in, city, of, denver: precision 1/4, recall 1
        ("Denver", ["Carolina", "Denver, Colorado", "Boulder"], False, 2 / 3),  # the best of several
        ("Denver Denver", ["Denver"], False, 2 / 3),  # a word counts as often as it is there
        ("Oslo", ["Denver"], False, 0.0),
        ("", [], True, 1.0),
        ("Denver", [], False, 0.0),
        ("", ["Denver"], False, 0.0),
        ("", ["the"], True, 1.0),  # an answer of nothing but articles is none
        ("the", [], True, 1.0),
        ("", ["the", "Denver"], False, 0.0),  # it is left out beside a real one
    ],
)
def test_exact_match_and_f1(said: str, answers: list[str], exact: bool, f1: float) -> None:
    assert exact_match(said, answers) is exact
    assert token_f1(said, answers) == pytest.approx(f1)
