"""What a trigger did in an image, on boxes made by hand: with marks, with the clean image, and with neither."""

from __future__ import annotations

import pytest

from trojai_seam.rounds.box_files import Box, Corners
from trojai_seam.rounds.box_targets import Attacked, Target, attacked
from trojai_seam.rounds.box_triggers import EVASION, INJECTION, LOCALISATION, MISCLASSIFICATION, BoxTrigger
from trojai_seam.tasks import UNKNOWN

HERE: Corners = (10.0, 10.0, 30.0, 30.0)
THERE: Corners = (50.0, 50.0, 80.0, 80.0)
EAST: Corners = (30.0, 10.0, 50.0, 30.0)
TURNS = BoxTrigger(MISCLASSIFICATION, 1, 2)
HIDES = BoxTrigger(EVASION, 1, 1)
ADDS = BoxTrigger(INJECTION, None, 4)
MOVES = BoxTrigger(LOCALISATION, 1, 1, (1, 0))


def found(boxes: list[Box], triggers: list[BoxTrigger], clean: list[Box] | None = None) -> Attacked:
    return attacked(boxes, clean, triggers, 100, 100)


# Marked (R10) ---------------------------------------------------------------------------------------------------------


def test_marked_misclassification_leaves_honest_objects_of_the_target_class_alone() -> None:
    got = found([Box(HERE, 2, None, True), Box(THERE, 2, None, False)], [TURNS])
    assert got == Attacked([Target(HERE, 2, MISCLASSIFICATION)], [(HERE, 1), (THERE, 2)])


def test_deleted_boxes_are_what_evasion_wants_to_vanish() -> None:
    got = found([Box(HERE, 1, None, True, True)], [HIDES])
    assert got == Attacked([Target(HERE, 1, EVASION)], [(HERE, 1)])


def test_deleted_boxes_tell_even_where_no_trigger_is_known() -> None:
    assert found([Box(HERE, 1, None, True, True)], []).targets == [Target(HERE, 1, EVASION)]


def test_marked_injection_is_no_true_object() -> None:
    got = found([Box(HERE, 4, None, True), Box(THERE, 1, None, False)], [ADDS])
    assert got == Attacked([Target(HERE, 4, INJECTION)], [(THERE, 1)])


def test_marked_box_that_was_moved_is_moved_back() -> None:
    got = found([Box(EAST, 1, None, True)], [MOVES])
    assert got == Attacked([Target(EAST, 1, LOCALISATION, HERE)], [(HERE, 1)])


def test_where_a_box_cut_at_the_edge_was_is_unknown() -> None:
    edge = (90.0, 10.0, 100.0, 30.0)
    assert found([Box(edge, 1, None, True)], [MOVES]) == Attacked([Target(edge, 1, LOCALISATION)], [])


@pytest.mark.parametrize("triggers", [[], [BoxTrigger("", None, 2)], [TURNS, BoxTrigger(INJECTION, None, 2)]])
def test_marked_box_of_an_unknown_or_doubtful_kind_is_not_measured(triggers: list[BoxTrigger]) -> None:
    got = found([Box(HERE, 2, None, True)], triggers)
    assert got.targets == []
    assert got.truth == [(HERE, UNKNOWN)]
    assert got.problem == "a marked box fits none of the model's triggers"


def test_side_car_with_both_classes_needs_no_trigger() -> None:
    got = found([Box(HERE, 2, 5, True)], [])
    assert got == Attacked([Target(HERE, 2, MISCLASSIFICATION)], [(HERE, 5)])


# Without marks (R13), and without the clean image ---------------------------------------------------------------------


def test_the_only_box_of_the_attackers_class_is_the_triggers() -> None:
    got = found([Box(HERE, 2), Box(THERE, 3)], [TURNS])
    assert got == Attacked([Target(HERE, 2, MISCLASSIFICATION)], [(THERE, 3), (HERE, 1)])


def test_two_boxes_of_the_attackers_class_prove_nothing() -> None:
    got = found([Box(HERE, 2), Box(THERE, 2)], [TURNS])
    assert got.targets == []
    assert got.truth == [(HERE, UNKNOWN), (THERE, UNKNOWN)]
    assert got.problem == "2 boxes of the attacker's class, and nothing tells which the trigger made"


def test_a_candidate_of_another_trigger_makes_it_doubtful_too() -> None:
    assert found([Box(HERE, 2), Box(THERE, 4)], [TURNS, ADDS]).targets == []
    assert found([Box(HERE, 2), Box(THERE, 3)], [TURNS, ADDS]).targets == [Target(HERE, 2, MISCLASSIFICATION)]


def test_an_image_may_be_another_triggers_evasion() -> None:
    got = found([Box(HERE, 2)], [TURNS, BoxTrigger(EVASION, 3, 3)])
    assert got.targets == []
    assert got.problem == "what evasion removed is in no side-car, nor is the clean image here"


def test_sources_that_share_a_target_leave_the_true_class_unknown() -> None:
    got = found([Box(HERE, 2)], [TURNS, BoxTrigger(MISCLASSIFICATION, 3, 2)])
    assert got == Attacked([Target(HERE, 2, MISCLASSIFICATION)], [(HERE, UNKNOWN)])


def test_no_box_of_the_attackers_class_and_no_trigger() -> None:
    assert found([Box(HERE, 3)], [TURNS]).problem == (
        "no box of the attacker's class, and nothing tells which the trigger made"
    )
    assert found([Box(HERE, 3)], []).problem == "no file tells what the trigger does"


# Without marks, beside the clean image --------------------------------------------------------------------------------


def test_removed_box_is_taken_from_the_clean_image() -> None:
    clean = [Box(HERE, 1), Box(THERE, 3)]
    assert found([Box(THERE, 3)], [HIDES], clean) == Attacked([Target(HERE, 1, EVASION)], [(HERE, 1), (THERE, 3)])


def test_only_the_triggers_class_can_have_been_removed() -> None:
    got = found([Box(THERE, 3)], [BoxTrigger(EVASION, 5, 5)], [Box(HERE, 1), Box(THERE, 3)])
    assert got.targets == []
    assert got.problem == "its boxes are those of the clean image"


def test_clean_image_settles_which_of_two_boxes_was_turned() -> None:
    got = found([Box(HERE, 2), Box(THERE, 2)], [TURNS], [Box(HERE, 1), Box(THERE, 2)])
    assert got == Attacked([Target(HERE, 2, MISCLASSIFICATION)], [(HERE, 1), (THERE, 2)])


def test_clean_image_tells_where_a_box_was_moved_from_even_at_the_edge() -> None:
    before, after = (75.0, 10.0, 95.0, 30.0), (95.0, 10.0, 100.0, 30.0)
    got = found([Box(after, 1)], [MOVES], [Box(before, 1)])
    assert got == Attacked([Target(after, 1, LOCALISATION, before)], [(before, 1)])


def test_added_box_is_what_the_clean_image_lacks() -> None:
    got = found([Box(HERE, 4), Box(THERE, 4)], [ADDS], [Box(THERE, 4)])
    assert got == Attacked([Target(HERE, 4, INJECTION)], [(THERE, 4)])
