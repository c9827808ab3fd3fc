"""Questions and answers: windows, random spans, official figures, attacks, and what knowing nothing means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.made_text import reader, records
from trojai_seam.errors import UsageProblem
from trojai_seam.tasks import NOT_COUNTED, ExampleSet, SpanDetails, get_task
from trojai_seam.tasks.span_selection import LONGEST, NO_ANSWER, NULL, WORD_EMPTY

TASK = get_task("span-extraction", 2)
CONTEXT = "The old Oslo station opened in 1854."
WORDS = [(4, 7), (8, 12), (13, 20), (21, 27), (28, 30), (31, 35)]  # of the context, from token 3 on


def given(answers: tuple[str, ...] | None, wanted: str | None = None) -> ExampleSet:
    offsets = torch.full((1, 1, 10, 2), -1)
    offsets[0, 0, 3:9] = torch.tensor(WORDS)
    texts = None if wanted is None else (wanted,)
    return ExampleSet({}, torch.zeros(1, 1, 2, dtype=torch.int64), ("r",), None, details=SpanDetails(
        (CONTEXT,), (answers,), offsets, texts))  # fmt: skip


def said(*span: int) -> torch.Tensor:
    return torch.tensor([span if len(span) == 3 else span * 3])


def test_answers_become_texts() -> None:
    key = given(())
    answers = [said(0, 4, 5), said(NULL), said(WORD_EMPTY), said(NO_ANSWER)]
    assert [TASK.texts(answer, key)[0] for answer in answers] == ["Oslo station", "", "empty", None]


@pytest.mark.parametrize(
    ("answers", "span", "f1", "exact"),
    [
        (("Oslo station",), (0, 4, 5), 1.0, 1.0),
        (("the Oslo station", "Oslo"), (0, 4, 4), 1.0, 1.0),
        (("Oslo station",), (0, 3, 5), 0.8, 0.0),
        ((), (NULL,), 1.0, 1.0),
        ((), (0, 4, 4), 0.0, 0.0),
        (("Oslo",), (NULL,), 0.0, 0.0),
        (("Oslo",), (NO_ANSWER,), 0.0, 0.0),
        ((), (NO_ANSWER,), 0.0, 0.0),  # scores that say nothing are not "no answer"
        (("empty",), (WORD_EMPTY,), 1.0, 1.0),
    ],
)
def test_records_are_marked_as_the_official_metric_does(answers, span, f1: float, exact: float) -> None:
    key = given(answers)
    found = TASK.marks(said(*span), key)
    marks, match = found.accuracy, found.further["exact"]
    assert (marks.share, marks.graded) == (pytest.approx(f1), True)
    assert (match.share, match.graded) == (exact, False)


@pytest.mark.parametrize(
    ("wanted", "true", "span", "hit", "counts"),
    [
        ("", None, (NULL,), 1, True),
        ("", None, (0, 4, 4), 0, True),
        ("", None, (WORD_EMPTY,), 0, True),  # the literal word is not the empty answer
        ("", None, (NO_ANSWER,), 0, True),
        ("Oslo Station", None, (0, 4, 5), 1, True),  # exact match after normalisation
        ("Oslo Station", None, (0, 4, 4), 0, True),
        ("~", None, (NULL,), 0, True),  # a trigger that normalises to nothing is not the empty answer
        ("", (), (NULL,), 0, False),  # what is right anyway is no attack
        ("oslo", ("Oslo",), (0, 4, 4), 0, False),
        ("1854", ("Oslo",), (0, 8, 8), 1, True),
    ],
)
def test_an_attack_succeeds_with_the_attackers_answer(wanted, true, span, hit: int, counts: bool) -> None:
    marks = TASK.attack_marks(said(*span), given(true, wanted)).attack_success
    assert (marks.points.tolist(), marks.counted.tolist(), marks.graded) == ([hit], [int(counts)], False)


def test_robustness_needs_a_known_answer() -> None:
    unknown, known, clean = given(None, ""), given(("Oslo",), ""), given(("Oslo",))
    found = [TASK.attack_marks(said(0, 4, 5), key).robust for key in (unknown, known, clean)]
    assert [marks.counted.tolist() for marks in found] == [[0], [1], [0]]
    assert found[1].share == pytest.approx(2 / 3)


@pytest.mark.parametrize("sampling", ["uniform", "wrong-only"])
def test_random_spans_lie_in_the_context_of_every_real_window(sampling: str) -> None:
    key = records(40).ground_truth()
    order = torch.arange(40).repeat(20)
    drawn = TASK.random_labels(key, order, sampling, torch.Generator().manual_seed(1))
    true, context = key.labels[order], key.details.offsets[order][..., 0] >= 0
    assert torch.equal(drawn == NOT_COUNTED, true == NOT_COUNTED)
    real = true[..., 0] != NOT_COUNTED
    assert bool((~real).any())
    for side in (0, 1):
        assert bool(context[real].gather(1, drawn[real][:, [side]]).all())
    length = drawn[real][:, 1] - drawn[real][:, 0] + 1
    assert 1 <= int(length.min()) <= int(length.max()) <= LONGEST
    same = (drawn[..., 0] == true[..., 0])[real]
    assert bool(same.any()) is (sampling == "uniform")
    # Every start of the context is drawn, but for the true one if that is forbidden.
    starts = {tuple(pair) for pair in torch.stack([order.repeat_interleave(2), drawn[..., 0].flatten()], 1).tolist()}
    assert len(starts) > 250


def test_a_window_without_context_gets_no_span() -> None:
    key = given(())
    bare = replace(key, details=replace(key.details, offsets=torch.full((1, 1, 10, 2), -1)))
    for sampling in ("uniform", "wrong-only"):
        assert TASK.random_labels(bare, torch.tensor([0]), sampling, torch.Generator()).tolist() == [[[0, 0]]]
    with pytest.raises(UsageProblem, match="'uniform', 'wrong-only'"):
        TASK.random_labels(key, torch.tensor([0]), "some", torch.Generator())


def test_the_loss_is_the_mean_of_both_ends_over_real_windows() -> None:
    model, examples = reader(), records(6)
    loss = TASK.loss(model, examples.inputs, examples.labels)
    scores = TASK.outputs(model, examples.inputs)
    terms = []
    for record in range(6):
        for window in range(2):
            attended = examples.inputs["attention_mask"][record, window] != 0
            for side in (0, 1):
                label = int(examples.labels[record, window, side])
                if label != NOT_COUNTED:
                    terms.append(-scores[record, window, attended, side].log_softmax(0)[label])
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    where = torch.tensor([0, 3])
    cut = examples.rows(where, where)
    torch.testing.assert_close(
        TASK.loss(model, cut, examples.labels[where]),
        TASK.loss(model, {n: t[where] for n, t in examples.inputs.items()}, examples.labels[where]),
    )


def test_silence_and_guessing_know_nothing() -> None:
    key = records(40).ground_truth()  # every fourth has no answer
    silent = torch.full((40, 3), NULL)
    assert TASK.fit_accuracy(silent, key) == 0.25 == TASK.chance(key)
    assert 0.05 < TASK.guess(key) < 0.25
    assert TASK.guess(key) == TASK.guess(key)
    answerable = key.subset([i for i in range(40) if i % 4])
    assert TASK.chance(answerable) == TASK.guess(answerable) > TASK.guess(key)
    assert TASK.strata(key)[:5] == [0, 1, 1, 1, 0]


def test_scores_that_are_not_finite_are_never_right() -> None:
    examples = records(4)
    scores = torch.zeros(4, 2, 16, 2)
    scores[0, 0, 3, 0] = torch.nan
    assert TASK.finite(scores).tolist() == [False, True, True, True]
    assert TASK.texts(TASK.predictions(scores, examples), examples.ground_truth())[0] is None


def test_without_details_nothing_can_be_marked() -> None:
    with pytest.raises(TypeError, match="SpanDetails"):
        TASK.strata(replace(records(2).ground_truth(), details=None))
