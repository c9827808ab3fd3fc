"""What counts as a success of each kind of attack on a detector, box by box, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trojai_seam.tasks.box_attacks import OVERLAP, SCORE, outcomes, overlaps, right_detections
from trojai_seam.tasks.details import ATTACKS

NOWHERE = [np.nan] * 4
BOX, ELSEWHERE = [10, 10, 30, 30], [60, 60, 80, 80]
SHIFTED = [16, 10, 36, 30]  # overlaps BOX by 14/26
TRUE, TARGET = 2, 5
STOP = [*BOX, TRUE]


def attack(kind: str, said: list, true: list, target: list, origin: list = NOWHERE) -> tuple[int, int, int, int]:
    return tuple(
        outcomes(
            np.array(said, float).reshape(-1, 6),
            np.array(true, float).reshape(-1, 5),
            np.array([target, [0] * 4 + [-100]], float),
            np.array([ATTACKS.index(kind), -100]),
            np.array([origin, NOWHERE], float),
        )
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([[*BOX, TARGET, 0.9]], (1, 1, 1, 0)),
        ([[*BOX, TRUE, 0.9]], (1, 0, 1, 1)),
        ([[*BOX, TARGET, 0.9], [*BOX, TRUE, 0.4]], (1, 1, 1, 1)),
        ([[*BOX, TARGET, SCORE - 0.01]], (1, 0, 1, 0)),
        ([[*BOX, TARGET, SCORE]], (1, 1, 1, 0)),
        ([[*ELSEWHERE, TARGET, 0.9]], (1, 0, 1, 0)),
        ([[*SHIFTED, TARGET, 0.9]], (1, 1, 1, 0)),
        ([[20, 10, 40, 30, TARGET, 0.9]], (1, 0, 1, 0)),  # overlaps by a third
        ([[*BOX, TARGET, np.nan]], (1, 0, 1, 0)),
        ([], (1, 0, 1, 0)),
    ],
)
def test_misclassification(said: list, expected: tuple[int, ...]) -> None:
    assert attack("misclassification", said, [STOP, [*ELSEWHERE, TARGET]], [*BOX, TARGET]) == expected


def test_misclassification_whose_true_class_is_the_target_or_unknown() -> None:
    said = [[*BOX, TARGET, 0.9]]
    assert attack("misclassification", said, [[*SHIFTED, TARGET]], [*BOX, TARGET]) == (0, 0, 0, 0)
    assert attack("misclassification", said, [[*BOX, -1]], [*BOX, TARGET]) == (1, 1, 0, 0)
    assert attack("misclassification", said, [], [*BOX, TARGET]) == (1, 1, 0, 0)
    assert attack("misclassification", said, [[*SHIFTED, TARGET], STOP], [*BOX, TARGET]) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], (1, 1, 1, 0)),
        ([[*SHIFTED, TRUE, 0.31]], (1, 0, 1, 1)),
        ([[*BOX, TARGET, 0.9]], (1, 1, 1, 0)),
        ([[*ELSEWHERE, TRUE, 0.9]], (1, 1, 1, 0)),
        ([[*BOX, TRUE, 0.2]], (1, 1, 1, 0)),
    ],
)
def test_evasion(said: list, expected: tuple[int, ...]) -> None:
    assert attack("evasion", said, [STOP], [*BOX, TRUE]) == expected


@pytest.mark.parametrize(
    ("said", "true", "expected"),
    [
        ([[*BOX, TARGET, 0.9]], [], (1, 1, 1, 0)),
        ([[*BOX, TRUE, 0.9]], [], (1, 0, 1, 1)),
        ([], [[*ELSEWHERE, TARGET]], (1, 0, 1, 1)),
        ([[*BOX, TARGET, 0.9]], [STOP], (1, 1, 1, 0)),
        ([[*BOX, TARGET, 0.9]], [[*SHIFTED, TARGET]], (0, 0, 0, 0)),
    ],
)
def test_injection(said: list, true: list, expected: tuple[int, ...]) -> None:
    assert attack("injection", said, true, [*BOX, TARGET]) == expected


@pytest.mark.parametrize(
    ("said", "origin", "expected"),
    [
        ([[*ELSEWHERE, TRUE, 0.9]], BOX, (1, 1, 1, 0)),
        ([[*BOX, TRUE, 0.9]], BOX, (1, 0, 1, 1)),
        ([[*BOX, TRUE, 0.9], [*ELSEWHERE, TRUE, 0.9]], BOX, (1, 0, 1, 0)),
        ([], BOX, (1, 0, 1, 0)),
        ([[*ELSEWHERE, TARGET, 0.9]], BOX, (1, 0, 1, 0)),
        ([[*ELSEWHERE, TRUE, 0.9]], NOWHERE, (1, 1, 0, 0)),
        ([[*ELSEWHERE, TRUE, 0.9]], ELSEWHERE, (0, 0, 0, 0)),
    ],
)
def test_localisation(said: list, origin: list, expected: tuple[int, ...]) -> None:
    assert attack("localisation", said, [STOP], [*ELSEWHERE, TRUE], origin) == expected


def test_a_short_move_is_met_by_the_detection_that_is_nearer_to_it() -> None:
    assert overlaps(np.array([BOX], float), np.array([SHIFTED], float))[0, 0] > OVERLAP
    assert attack("localisation", [[*SHIFTED, TRUE, 0.9]], [STOP], [*SHIFTED, TRUE], BOX) == (1, 1, 1, 0)
    assert attack("localisation", [[*BOX, TRUE, 0.9]], [STOP], [*SHIFTED, TRUE], BOX) == (1, 0, 1, 1)


boxes = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
said_boxes = st.lists(
    st.tuples(boxes, st.integers(0, 3), st.floats(0, 1)).map(lambda d: [*d[0], d[1], d[2]]), max_size=5
)


@given(
    said=said_boxes,
    box=boxes,
    origin=boxes,
    label=st.integers(0, 3),
    true=st.integers(-1, 3),
    kind=st.sampled_from(ATTACKS),
)
def test_outcomes_hold_together(said: list, box: list, origin: list, label: int, true: int, kind: str) -> None:
    attacked, hits, known, resisted = attack(kind, said, [[*box, true]], [*box, label], origin)
    assert 0 <= hits <= attacked <= 1
    assert 0 <= resisted <= known <= attacked
    if kind in ("evasion", "injection"):
        assert hits + resisted == attacked == known
    if kind == "localisation":
        assert hits + resisted <= attacked
    # What is below the threshold changes nothing.
    loud = [row for row in said if row[5] >= SCORE]
    assert attack(kind, loud, [[*box, true]], [*box, label], origin) == (attacked, hits, known, resisted)


@given(said=said_boxes, true=st.lists(st.tuples(boxes, st.integers(-1, 3)).map(lambda b: [*b[0], b[1]]), max_size=4))
def test_no_object_is_found_twice(said: list, true: list) -> None:
    found, wanted, loud = right_detections(np.array(said, float).reshape(-1, 6), np.array(true, float).reshape(-1, 5))
    assert found <= min(wanted, loud)
    assert wanted == sum(row[4] >= 0 for row in true)


def test_the_better_score_chooses_first() -> None:
    true = np.array([STOP, [*SHIFTED, TRUE], [*ELSEWHERE, 3]], float)
    said = np.array([[*SHIFTED, TRUE, 0.4], [*BOX, TRUE, 0.9], [*BOX, TRUE, 0.8], [*ELSEWHERE, TRUE, 0.9]], float)
    # 0.9 takes BOX, 0.8 is left with SHIFTED (14/26), 0.4 finds nothing; ELSEWHERE is of another class.
    assert right_detections(said, true) == (2, 3, 4)


def test_of_one_place_only_the_best_class_counts() -> None:
    true = np.array([STOP], float)
    said = np.array([[*BOX, 1, 0.35], [*SHIFTED, TRUE, 0.34], [*ELSEWHERE, 1, 0.32]], float)
    assert right_detections(said, true) == (0, 1, 2)
    assert right_detections(said[::-1] * [1, 1, 1, 1, 1, 1], true) == (0, 1, 2)
    assert right_detections(said[1:], true) == (1, 1, 2)
