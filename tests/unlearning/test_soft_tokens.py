"""Soft tokens: where they go, what moves with them, how far they are moved, and what is learnt in spite of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from tests.made_text import SEP, judge, reader, records, sentences, tagger
from trojai_seam.errors import EngineFailure
from trojai_seam.tasks import NOT_COUNTED, ExampleSet, TokenDetails, get_task
from trojai_seam.unlearning import UnlearnConfig, run
from trojai_seam.unlearning.context import Context
from trojai_seam.unlearning.crossed_texts import crossed, teacher_labels
from trojai_seam.unlearning.phases.soft_tokens import SoftTokenSettings
from trojai_seam.unlearning.phases.soft_tokens_work import SoftTokenTraining, disagreement, without_answers
from trojai_seam.unlearning.soft_tokens import draw_places, extra_rows, gaps_of, longest_input, splice
from trojai_seam.unlearning.training import Batch
from trojai_seam.unlearning.trigger_wishes import Wish, draw_wish

NEW = torch.tensor([100, 101])


def of(**settings: object) -> SoftTokenSettings:
    return SoftTokenSettings.model_validate(settings)


def phase_of(model: nn.Module, task: Any, fit: ExampleSet, seed: int = 0, **settings: object) -> SoftTokenTraining:
    phase = SoftTokenTraining(Context(model, model, task, fit, UnlearnConfig(), seed, None), of(**settings))
    phase.begin()
    return phase


def batch_of(fit: ExampleSet) -> tuple[dict[str, Tensor], Batch]:
    order = torch.arange(len(fit))
    return fit.rows(order, order), Batch(order, order, fit.labels)


def question(*ids: int, types: tuple[int, ...] = ()) -> dict[str, Tensor]:
    row = torch.tensor([[ids]])
    return {
        "input_ids": row,
        "attention_mask": (row != 0).long(),
        "token_type_ids": torch.tensor([[types or (0,) * len(ids)]]),
    }


def test_tokens_in_a_context_push_what_is_behind_them() -> None:
    #                CLS q SEP  c   c   c  SEP pad;  the answer is tokens 4 to 5
    inputs = question(1, 9, 2, 21, 22, 23, 2, 0, types=(0, 0, 0, 1, 1, 1, 1, 0))
    made = splice(inputs, torch.tensor([[[4, 5]]]), torch.tensor([[[4]]]), NEW)
    assert made.inputs["input_ids"].tolist() == [[[1, 9, 2, 21, 100, 101, 22, 23, 2, 0]]]
    assert made.inputs["attention_mask"].tolist() == [[[1] * 9 + [0]]]
    assert made.inputs["token_type_ids"].tolist() == [[[0, 0, 0, 1, 1, 1, 1, 1, 1, 0]]]
    assert made.labels.tolist() == [[[6, 7]]]
    assert made.blocks.tolist() == [[[[4, 5]]]]
    behind = splice(inputs, torch.tensor([[[4, 5]]]), torch.tensor([[[6]]]), NEW)
    assert behind.inputs["input_ids"].tolist() == [[[1, 9, 2, 21, 22, 23, 100, 101, 2, 0]]]
    assert behind.labels.tolist() == [[[4, 5]]]


def test_the_same_tokens_go_into_context_and_question() -> None:
    inputs = question(1, 9, 2, 21, 22, 2, types=(0, 0, 0, 1, 1, 1))
    made = splice(inputs, torch.tensor([[[0, 0]]]), torch.tensor([[[4, 1]]]), NEW)
    assert made.inputs["input_ids"].tolist() == [[[1, 100, 101, 9, 2, 21, 100, 101, 22, 2]]]
    assert made.inputs["token_type_ids"].tolist() == [[[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]]]
    assert made.labels.tolist() == [[[0, 0]]]
    assert made.blocks.tolist() == [[[[6, 7], [1, 2]]]]


def test_what_does_not_fit_is_cut_off_in_front_of_the_separator() -> None:
    inputs = question(1, 9, 2, 21, 22, 23, 2)
    made = splice(inputs, torch.tensor([[[3, 4]]]), torch.tensor([[[3]]]), NEW, longest=8)
    assert made.inputs["input_ids"].tolist() == [[[1, 9, 2, 100, 101, 21, 22, 2]]]
    assert made.labels.tolist() == [[[5, 6]]]
    lost = splice(inputs, torch.tensor([[[4, 5]]]), torch.tensor([[[3]]]), NEW, longest=8)
    assert lost.labels.tolist() == [[[0, 0]]]


def test_windows_that_only_pad_stay_so() -> None:
    fit = records(6, seed=3)
    inputs, batch = batch_of(fit)
    places = draw_places(gaps_of(fit).text[:, : inputs["input_ids"].shape[1]], torch.Generator().manual_seed(0), None)
    made = splice(inputs, batch.labels, places, NEW)
    assert torch.equal(made.inputs["attention_mask"].any(dim=2), inputs["attention_mask"].any(dim=2))
    assert not inputs["attention_mask"].any(dim=2).all()
    blank = ~inputs["attention_mask"].any(dim=2)
    assert (made.labels[blank] == NOT_COUNTED).all()
    added = made.inputs["attention_mask"].sum(dim=2) - inputs["attention_mask"].sum(dim=2)
    assert added.tolist() == torch.where(blank, 0, 2).tolist()
    # The tokens of the answers are the same ones as before.
    for record, window in (~blank).nonzero().tolist():
        first, last = batch.labels[record, window].tolist()
        begin, end = made.labels[record, window].tolist()
        before = inputs["input_ids"][record, window, first : last + 1]
        assert torch.equal(made.inputs["input_ids"][record, window, begin : end + 1], before)


def test_labels_of_tokens_move_with_them_and_inserted_ones_have_none() -> None:
    ids = torch.tensor([[1, 21, 22, 2, 0], [1, 21, 2, 0, 0]])
    labels = torch.tensor([[-100, 3, -100, -100, -100], [-100, 4, -100, -100, -100]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    made = splice(inputs, labels, torch.tensor([[1], [2]]), NEW)
    assert made.inputs["input_ids"].tolist() == [[1, 100, 101, 21, 22, 2, 0], [1, 21, 100, 101, 2, 0, 0]]
    assert made.labels.tolist() == [[-100, -100, -100, 3, -100, -100, -100], [-100, 4, -100, -100, -100, -100, -100]]


def test_gaps_are_between_special_tokens_before_words_and_not_inside_of_answers() -> None:
    fit = records(1, seed=0)
    gaps = gaps_of(fit)
    context = (fit.details.offsets[0, 0, :, 0] >= 0).nonzero().flatten().tolist()
    assert gaps.text[0, 0].nonzero().flatten().tolist() == [*context, context[-1] + 1]
    first = context[0]
    inside = without_answers(gaps.text[:1], torch.tensor([[[first, first + 2], [-100, -100]]]))
    assert inside[0, 0].nonzero().flatten().tolist() == [first, *context[3:], context[-1] + 1]
    # CLS, a word, SEP, SEP, context: before the word, or behind it.
    assert fit.inputs["input_ids"][0, 0, 2:4].tolist() == [SEP, SEP]
    assert gaps.question[0, 0].nonzero().flatten().tolist() == [1, 2]
    ids = torch.tensor([[1, 21, 22, 23, 2], [1, 24, 25, 2, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    words = torch.tensor([[-100, 0, -100, 0, -100], [-100, 0, 0, -100, -100]])
    tagged = gaps_of(ExampleSet(inputs, words, ("a", "b"), details=TokenDetails(("O",), 2)))
    assert [row.nonzero().flatten().tolist() for row in tagged.text] == [[1, 3, 4], [1, 2, 3]]
    texts = gaps_of(ExampleSet(inputs, torch.tensor([0, 1]), ("a", "b")))
    assert [row.nonzero().flatten().tolist() for row in texts.text] == [[1, 2, 3, 4], [1, 2, 3]]
    assert texts.question is None


def small(prefix: str, suffix: str = "ForQuestionAnswering") -> nn.Module:
    torch.manual_seed(0)
    sizes: Mapping[str, Any] = {
        "DistilBert": {"dim": 32, "hidden_dim": 32, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 40},
        "GPT2": {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 40, "pad_token_id": 0},
    }.get(
        prefix,
        {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
         "max_position_embeddings": 42 if prefix == "Roberta" else 40},
    )  # fmt: skip
    more = {
        "Electra": {"embedding_size": 16},
        "MobileBert": {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
        "Roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    }.get(prefix, {})
    config = getattr(transformers, f"{prefix}Config")(vocab_size=50, num_labels=2, **sizes, **more)
    model: nn.Module = getattr(transformers, prefix + suffix)(config)
    return model.eval()


@pytest.mark.parametrize("prefix", ["Bert", "DistilBert", "Roberta", "Electra", "MobileBert", "GPT2"])
def test_a_soft_token_that_is_a_word_does_what_the_word_does(prefix: str) -> None:
    model = small(prefix)
    table = model.get_input_embeddings()
    pad = 1 if prefix == "Roberta" else 0
    words = torch.tensor([[5, 30, 6, 7, pad, pad], [5, 8, 30, 9, 10, 7]])
    soft = torch.where(words == 30, table.num_embeddings, words)
    mask = (words != pad).long()
    rows = table.weight[30:31].detach().clone().requires_grad_()
    plain = model(input_ids=words, attention_mask=mask).start_logits
    with extra_rows(table, rows):
        found = model(input_ids=soft, attention_mask=mask).start_logits
    assert torch.equal(found, plain)
    (slope,) = torch.autograd.grad(found[mask == 1].square().sum(), rows)
    assert slope.abs().sum() > 0
    assert torch.equal(model(input_ids=words, attention_mask=mask).start_logits, plain)
    assert longest_input(model) == 40


class Bag(nn.Module):
    """The mean of the words' vectors, times a matrix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(20, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None].float()
        return self.head((self.words(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))


def bags(count: int = 6) -> ExampleSet:
    ids = torch.randint(1, 20, (count, 5), generator=torch.Generator().manual_seed(0))
    ids[1, 4] = 0
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    return ExampleSet(inputs, torch.zeros(count, dtype=torch.int64), tuple(map(str, range(count))))


def test_an_inner_step_goes_against_the_truth_as_far_as_it_should_and_no_further_than_the_bound() -> None:
    fit, task, model = bags(), get_task("classification", 2), Bag()
    phase = phase_of(model, task, fit, bank=1, lengths=[3], inner_steps=1, step_size=0.25, crossed=0, norm=0.9)
    assert phase.bound == pytest.approx(0.9 * float(model.words.weight.detach().norm(dim=1).max()))
    start = phase.bank[0]
    inputs, batch = batch_of(fit)
    phase.before_step(inputs, batch)
    moved = phase.bank[0]
    # All vectors have the same gradient, along the row of the wrong class less the row of the true one.
    away = (model.head.weight[1] - model.head.weight[0]).detach()
    expected = start.vectors + 0.25 * phase.bound * away / away.norm()
    expected *= (phase.bound / expected.norm(dim=1, keepdim=True)).clamp(max=1)
    assert torch.allclose(moved.vectors, expected, atol=1e-5)
    inserted = phase.insert(phase.texts, 3)
    with torch.no_grad():
        assert float(phase.gain(moved, inserted)) > float(phase.gain(start, inserted)) + 0.02
    for _ in range(30):
        phase.before_step(inputs, batch)
    lengths = phase.bank[0].vectors.norm(dim=1)
    assert torch.allclose(lengths, torch.full((3,), phase.bound), rtol=1e-4)


def test_the_loss_of_a_step_by_hand() -> None:
    fit, task, model = bags(), get_task("classification", 2), Bag()
    weights = {"soft_weight": 2.0, "clean_weight": 0.5, "teacher_weight": 3.0}
    phase = phase_of(model, task, fit, bank=1, lengths=[2], inner_steps=0, crossed=0, **weights)
    inputs, batch = batch_of(fit)
    phase.before_step(inputs, batch)
    with torch.no_grad():
        loss = float(phase.loss(inputs, batch))
        mask = inputs["attention_mask"][..., None].float()
        total = (model.words(inputs["input_ids"]) * mask).sum(dim=1)
        soft = (total + phase.bank[0].vectors.sum(dim=0)) / (mask.sum(dim=1) + 2)
        plain, disturbed = (-model.head(bag).log_softmax(1)[:, 0].mean() for bag in (total / mask.sum(dim=1), soft))
    # The teacher is the network itself: it agrees.
    assert loss == pytest.approx(float(2 * disturbed + 0.5 * plain), abs=1e-5)


def test_without_inner_steps_the_result_is_another_one() -> None:
    fit, task = records(6, seed=5), get_task("span-extraction", 2)
    still = run(reader(), task, fit, UnlearnConfig(phases=(of(max_epochs=1, inner_steps=0),)), 1)
    moved = run(reader(), task, fit, UnlearnConfig(phases=(of(max_epochs=1, inner_steps=2),)), 1)
    again = run(reader(), task, fit, UnlearnConfig(phases=(of(max_epochs=1, inner_steps=2),)), 1)
    key = "qa_outputs.weight"
    assert not torch.equal(still.model.state_dict()[key], moved.model.state_dict()[key])
    assert torch.equal(moved.model.state_dict()[key], again.model.state_dict()[key])
    assert "raised" in moved.phases[0].figures
    assert not still.phases[0].figures
    assert "forward" not in vars(moved.model.get_input_embeddings())


def test_wishes_are_the_answers_of_trojans() -> None:
    inputs = question(1, 9, 2, 21, 22, 2)
    made = splice(inputs, torch.tensor([[[4, 4]]]), torch.tensor([[[3]]]), NEW)
    assert Wish(True).of(made, in_text=True).tolist() == [[[3, 4]]]
    assert Wish(True).of(made, in_text=False) is None
    assert Wish(False, ((-1, 0),)).of(made, in_text=True).tolist() == [[[0, 0]]]
    fit = sentences(8)
    wish = draw_wish(0, get_task("token-classification", 5), fit.ground_truth(), torch.Generator().manual_seed(0))
    assert wish.labels in (((1, 3), (2, 4)), ((3, 1), (4, 2)))
    ids = torch.tensor([[1, 5, 6, 2]])
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    tagged = splice(tokens, torch.tensor([[-100, 1, 2, 0]]), torch.tensor([[1]]), NEW)
    wanted = Wish(False, ((1, 3), (2, 4))).of(tagged, in_text=True)
    assert wanted.tolist() == [[-100, -100, -100, 3, 4, 0]]


def test_disagreement_by_hand() -> None:
    scores, taught = torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2)
    taught[0, 0, 0] = torch.log(torch.tensor(3.0))  # 3/4 and 1/4 of two attended tokens, against a half each
    attended = torch.tensor([[[True, True, False]]])
    expected = 0.75 * torch.log(torch.tensor(1.5)) + 0.25 * torch.log(torch.tensor(0.5))
    assert disagreement(scores, taught, attended) == pytest.approx(float(expected), abs=1e-6)
    assert float(disagreement(taught, taught, attended)) == pytest.approx(0, abs=1e-6)


def test_crossed_texts_are_made_of_pieces_between_gaps() -> None:
    fit = records(6, seed=3)
    ids = fit.inputs["input_ids"].flatten(0, 1)
    sizes = (fit.inputs["attention_mask"].flatten(0, 1)).sum(dim=1)
    gaps, chosen = gaps_of(fit).text.flatten(0, 1), torch.arange(len(ids)) % 4 != 1
    pieces = crossed(sizes, gaps, chosen, 16, torch.Generator().manual_seed(1))
    changed = 0
    for row, columns in enumerate(zip(pieces.row.tolist(), pieces.column.tolist(), strict=True)):
        found = [(r, c) for r, c in zip(*columns, strict=True) if c >= 0]
        assert len(found) <= 16
        own = [c for r, c in found if r == row]
        foreign = [(r, c) for r, c in found if r != row]
        assert own == sorted(own)
        assert len({r for r, _ in foreign}) <= 1
        if not chosen[row] or not sizes[row]:
            assert own == list(range(int(sizes[row])))
        else:
            assert own[0] == 0
            assert own[-1] == sizes[row] - 1
        changed += bool(foreign)
        if foreign:
            giver, first = foreign[0]
            assert [c for _, c in foreign] == list(range(first, first + len(foreign)))
            assert gaps[giver, first]
            assert gaps[row, found.index(foreign[0])]
    assert changed > 3
    made = pieces.of(ids, 0)
    assert torch.equal(made[1, : int(sizes[1])], ids[1, : int(sizes[1])])
    assert pieces.of(gaps, False).shape == made.shape


def test_what_the_teacher_says_becomes_a_label() -> None:
    scores = torch.zeros(1, 2, 4, 2)
    scores[0, 0, 1, 0] = scores[0, 0, 2, 1] = 5
    scores[0, 0, 3] = 9  # padding
    attended = torch.tensor([[[True, True, True, False], [False] * 4]])
    assert teacher_labels(scores, attended, attended).tolist() == [[[1, 2], [-100, -100]]]
    scores[0, 0, 2, 0] = 6
    scores[0, 0, 1, 1] = 6
    assert teacher_labels(scores, attended, attended).tolist() == [[[0, 0], [-100, -100]]]
    tags = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    counted = torch.tensor([[True, False]])
    assert teacher_labels(tags, counted, counted).tolist() == [[1, -100]]
    assert teacher_labels(tags[0], counted, counted).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["span-extraction", "token-classification", "classification"])
def test_every_task_on_texts_goes_through_the_engine(name: str) -> None:
    fit, model = {
        "span-extraction": (records(7, seed=5), reader()),
        "token-classification": (sentences(9), tagger()),
        "classification": (sentences(9), judge()),
    }[name]
    if name == "classification":
        fit = ExampleSet(fit.inputs, (fit.labels == 3).any(dim=1).long(), fit.names)
    task = get_task(name, 5 if name == "token-classification" else 2)
    settings = of(max_epochs=1, objective="both", lengths=[1, 3], restart=0.5, candidates=2, clean_weight=0.5)
    outcome = run(model, task, fit, UnlearnConfig(batch_size=5, phases=(settings,)), 1)
    assert outcome.phases[0].status == "no-rule"
    assert all(epoch.loss > 0 for epoch in outcome.trace)


def test_a_network_without_words_is_refused() -> None:
    task, fit = get_task("classification", 2), sentences(4)
    fit = ExampleSet(fit.inputs, torch.tensor([0, 1, 0, 1]), fit.names)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.head(input_ids[:, :4].float())

    with pytest.raises(EngineFailure, match="looks up no words"):
        run(Plain(), task, fit, UnlearnConfig(phases=(of(max_epochs=1),)), 1)
