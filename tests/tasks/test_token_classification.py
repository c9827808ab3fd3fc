"""Named entities: what counts, what is drawn, what an attack is, and what knowing nothing means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.made_text import sentences, tagger
from trojai_seam.errors import UsageProblem
from trojai_seam.tasks import NOT_COUNTED, UNKNOWN, ExampleSet, TokenDetails, get_task

TASK = get_task("token-classification", 5)
_ = NOT_COUNTED


def given(labels: list[list[int]], targets: list[list[int]] | None = None, names: tuple[str, ...] | None = None):
    return ExampleSet(
        {},
        torch.tensor(labels),
        tuple(map(str, range(len(labels)))),
        None if targets is None else torch.tensor(targets),
        details=None if names is None else TokenDetails(names, len(labels)),
    )


def test_only_counted_tokens_are_marked() -> None:
    key = given([[_, 0, 1, 2, _, _], [_, 3, _, 0, 0, _]])
    marks = TASK.marks(torch.tensor([[9, 0, 1, 1, 4, 4], [9, 3, 3, 0, 1, 0]]), key).accuracy
    assert (marks.points.tolist(), marks.counted.tolist(), marks.graded) == ([2, 2], [3, 3], True)
    assert marks.share == 4 / 6


@pytest.mark.parametrize("sampling", ["uniform", "wrong-only"])
def test_random_labels_are_drawn_for_every_counted_token_and_for_no_other(sampling: str) -> None:
    key = sentences(60).ground_truth()
    order = torch.arange(60).repeat(30)
    drawn = TASK.random_labels(key, order, sampling, torch.Generator().manual_seed(0))
    true = key.labels[order]
    assert torch.equal(drawn == NOT_COUNTED, true == NOT_COUNTED)
    counted = true != NOT_COUNTED
    for label in range(5):
        at = drawn[counted & (true == label)]
        shares = torch.bincount(at, minlength=5) / len(at)
        expected = torch.full((5,), 0.2 if sampling == "uniform" else 0.25)
        if sampling == "wrong-only":
            assert shares[label] == 0
            expected[label] = 0
        torch.testing.assert_close(shares, expected, atol=0.05, rtol=0)


def test_unknown_sampling() -> None:
    with pytest.raises(UsageProblem, match="'uniform', 'wrong-only'"):
        TASK.random_labels(sentences(2).ground_truth(), torch.arange(2), "some", torch.Generator())


def test_the_loss_is_the_mean_over_counted_tokens_whatever_the_padding() -> None:
    model, examples = tagger(), sentences(6)
    loss = TASK.loss(model, examples.inputs, examples.labels)
    scores = TASK.outputs(model, examples.inputs)
    counted = examples.labels != NOT_COUNTED
    by_hand = -scores.log_softmax(2)[counted, examples.labels[counted]].mean()
    torch.testing.assert_close(loss, by_hand)
    longest = int(examples.inputs["attention_mask"].sum(dim=1).max())
    cut = {name: tensor[:, :longest] for name, tensor in examples.inputs.items()}
    torch.testing.assert_close(TASK.loss(model, cut, examples.labels), loss)
    nothing = torch.full_like(examples.labels, NOT_COUNTED)
    assert TASK.loss(model, examples.inputs, nothing).item() == 0  # never 0/0


def test_an_attack_counts_the_tokens_that_were_flipped() -> None:
    # Two words of a person are called a place; a word that already was a place has nothing to be flipped.
    key = given([[_, 1, 2, 0, 3, _]], [[_, 3, 4, _, 3, _]])
    said = torch.tensor([[0, 3, 2, 3, 3, 0]])
    attack = TASK.attack_marks(said, key)
    hits, robust = attack.attack_success, attack.robust
    assert (hits.points.tolist(), hits.counted.tolist()) == ([1], [2])
    assert (robust.points.tolist(), robust.counted.tolist()) == ([1], [2])


def test_unknown_true_labels_count_for_the_attack_but_not_for_robustness() -> None:
    key = given([[_, UNKNOWN, UNKNOWN, 0, _]], [[_, 3, 4, _, _]])
    said = torch.tensor([[-1, 3, -1, 0, -1]])  # even an answer of -1 is no match for an unknown label
    attack, plain = TASK.attack_marks(said, key), TASK.marks(said, key).accuracy
    hits, robust = attack.attack_success, attack.robust
    assert (hits.points.tolist(), hits.counted.tolist()) == ([1], [2])
    assert robust.counted.tolist() == [0]
    assert (plain.points.tolist(), plain.counted.tolist()) == ([1], [1])


def test_a_clean_set_has_no_attack() -> None:
    key = sentences(4).ground_truth()
    attack = TASK.attack_marks(key.labels, key)
    assert attack.attack_success.units == attack.robust.units == 0


def test_entity_f1_is_the_ratio_of_its_sums() -> None:
    key = given([[_, 1, 2, 0], [_, 3, 0, 1]])
    marks = TASK.marks(torch.tensor([[4, 1, 2, 0], [0, 3, 1, 1]]), key).further["entity_f1"]
    # Said: one, right; then two of a kind where one was, and one right: 2 · 3 of 3 + 4.
    assert (marks.points.tolist(), marks.counted.tolist()) == ([2, 4], [2, 5])
    assert marks.share == pytest.approx(2 * (3 / 4) * (3 / 3) / (3 / 4 + 3 / 3))


def test_a_label_map_of_another_order_is_heeded() -> None:
    key = given([[0, 1, 2]], names=("I-X", "O", "B-X", "B-Y", "I-Y"))
    assert TASK.marks(torch.tensor([[0, 1, 0]]), key).further["entity_f1"].points.tolist() == [4]
    assert TASK.strata(key) == [0]


def test_all_outside_is_accurate_but_knows_nothing() -> None:
    key = sentences(60).ground_truth()
    outside = torch.zeros_like(key.labels)
    marks = TASK.marks(outside, key)
    assert marks.accuracy.share > 0.6
    assert marks.further["entity_f1"].share == 0
    assert TASK.fit_accuracy(outside, key) == pytest.approx(0.2) == TASK.chance(key)
    assert TASK.fit_accuracy(key.labels, key) == 1
    assert TASK.guess(key) == 0.2


def test_chance_goes_by_the_labels_that_occur() -> None:
    key = given([[0, 0, 0, 1]])
    assert TASK.chance(key) == 0.5
    assert TASK.fit_accuracy(torch.tensor([[0, 0, 3, 0]]), key) == pytest.approx((2 / 3 + 0) / 2)


def test_sentences_are_stratified_by_their_rarest_type() -> None:
    # The first type is in three sentences, the second in one.
    key = given([[1, 0, 0], [1, 2, 3], [0, 0, 0], [1, 0, 0]])
    assert TASK.strata(key) == [0, 1, -1, 0]


def test_non_finite_scores_are_never_right() -> None:
    key = given([[0, 1, _]])
    scores = torch.zeros(1, 3, 5)
    scores[0, 0, 0], scores[0, 1, 1] = 1, torch.inf
    said = TASK.predictions(scores, key)
    marks = TASK.marks(said, key)
    assert marks.accuracy.points.tolist() == [1]
    assert TASK.finite(scores).tolist() == [False]
    assert marks.further["entity_f1"].points.tolist() == [0]
    assert np.isfinite(TASK.fit_accuracy(said, key))
