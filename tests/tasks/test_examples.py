"""Example sets with details: subsets, the key, and batches of text cut to what is real."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.made_text import judge, reader, records, sentences, tagger
from trojai_seam.tasks import ExampleSet, SpanDetails, get_task
from trojai_seam.tasks.calling import all_outputs, logits
from trojai_seam.tasks.examples import REAL_WINDOWS


def test_a_subset_takes_its_details_along() -> None:
    whole = records(8, poisoned=True)
    part = whole.subset([5, 2])
    assert part.names == ("record 5", "record 2")
    assert isinstance(part.details, SpanDetails)
    assert isinstance(whole.details, SpanDetails)
    assert part.details.contexts == (whole.details.contexts[5], whole.details.contexts[2])
    assert torch.equal(part.details.offsets, whole.details.offsets[[5, 2]])
    assert (part.details.wanted, part.details.answers) == (("", ""), (None, None))
    assert len(sentences(7).subset([1, 2]).details) == 2
    assert len(whole.subset([]).details) == 0


def test_the_key_has_no_inputs() -> None:
    key = records(3).ground_truth()
    assert (dict(key.inputs), len(key), key.labels.device.type) == ({}, 3, "cpu")


def test_details_of_another_length_are_refused() -> None:
    whole = records(4)
    with pytest.raises(ValueError, match="different lengths"):
        ExampleSet(whole.inputs, whole.labels, whole.names, details=whole.details.subset([0, 1]))
    with pytest.raises(ValueError, match="do not fit"):
        SpanDetails(("a",), ((), ()), torch.zeros(1, 1, 4, 2))


def test_a_batch_of_sentences_ends_behind_the_longest() -> None:
    whole = sentences(12)
    lengths = whole.inputs["attention_mask"].sum(dim=1)
    where = lengths.argsort()[:4]
    rows = whole.rows(where, where)
    assert rows["input_ids"].shape == (4, lengths[where].max())
    assert torch.equal(rows["input_ids"], whole.inputs["input_ids"][where, : lengths[where].max()])
    assert rows["input_ids"].shape[1] < whole.inputs["input_ids"].shape[1]


def test_a_batch_of_records_says_which_windows_are_real() -> None:
    whole = records(12)
    windows = whole.inputs["attention_mask"].any(dim=2).sum(dim=1)
    assert set(windows.tolist()) == {1, 2}
    singles = (windows == 1).nonzero().flatten()
    assert whole.rows(singles, singles)["input_ids"].shape[1] == 1
    mixed = torch.cat([singles[:1], (windows == 2).nonzero().flatten()[:1]])
    rows = whole.rows(mixed, mixed)
    assert rows["input_ids"].shape[:2] == (2, 2)
    assert rows[REAL_WINDOWS].tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("name", "model", "examples"),
    [
        ("token-classification", tagger(), sentences(40)),
        ("token-classification", tagger("distilbert"), sentences(40)),
        ("span-extraction", reader(), records(40)),
        ("classification", judge(), ExampleSet(sentences(40).inputs, torch.arange(40) % 2, sentences(40).names)),
    ],
    ids=["bert-tagger", "distilbert-tagger", "reader", "judge"],
)
def test_asked_by_length_the_answers_are_those_of_one_batch(name: str, model: nn.Module, examples: ExampleSet) -> None:
    task = get_task(name, 5 if "token" in name else 2)
    with torch.no_grad():
        whole = task.outputs(model, examples.inputs)
    cut = all_outputs(model, task, examples, batch_size=7)
    real = examples.inputs["attention_mask"][..., : cut.shape[1] if name == "token-classification" else None] != 0
    if name == "classification":
        torch.testing.assert_close(cut, whole)
        return
    same = whole[:, : cut.shape[1], : cut.shape[2]] if name == "span-extraction" else whole[:, : cut.shape[1]]
    if name == "span-extraction":
        real = real[:, : cut.shape[1], : cut.shape[2]]
    torch.testing.assert_close(cut[real], same[real], rtol=1e-4, atol=1e-5)
    answers = [task.predictions(scores, examples) for scores in (cut, whole)]
    marks = [task.marks(said, examples.ground_truth()).accuracy for said in answers]
    assert marks[0].points.tolist() == marks[1].points.tolist()


def test_the_network_never_sees_a_window_that_only_pads() -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = reader()

        def forward(self, **inputs: torch.Tensor) -> object:
            seen.append(inputs["attention_mask"])
            return self.inner(**inputs)

    examples = records(12)
    outputs = all_outputs(Spy(), get_task("span-extraction", 2), examples)
    assert all(bool(mask.any(dim=1).all()) for mask in seen)
    assert sum(map(len, seen)) == int(examples.inputs["attention_mask"].any(dim=2).sum())
    assert not outputs[~examples.inputs["attention_mask"].any(dim=2)[:, : outputs.shape[1]]].any()


def test_scores_are_found_in_whatever_a_network_returns() -> None:
    scores = torch.zeros(2, 3, 5)
    assert logits(scores) is scores
    assert logits((None, scores)) is scores  # NIST's taggers without labels
    assert logits((torch.tensor(0.3), scores)) is scores  # and with them
    with pytest.raises(TypeError, match="no scores in the dict"):
        logits({"scores": scores})
