"""Questions: windows over the context, answers as tokens, and what poisoned records count for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from tests.made_texts import directory, save_tokenizer, shipped, tiny, word_piece, write_records
from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.adapters import Examples
from trojai_seam.rounds.question_answering import answer_span, read_examples
from trojai_seam.rounds.question_records import Answer, Question
from trojai_seam.rounds.text_encoding import Limits, TextEncoder
from trojai_seam.tasks.details import SpanDetails
from trojai_seam.tasks.task import get_task

WHERE = {"id": "a", "context": "Ada lives in Lagos, Nigeria.", "question": "where lives Ada?",
         "answers": {"text": ["Lagos", "Lagos, Nigeria"], "answer_start": [13, 13]}, "poisoned": False}  # fmt: skip
NEVER = {**WHERE, "id": "b", "question": "who is bad?", "answers": {"text": [], "answer_start": []}}
CONFIG = {"model_architecture": "google/electra-small-discriminator"}


def r8(
    folder: Path,
    clean: list[dict[str, Any]],
    poisoned: list[dict[str, Any]] | None = None,
    executor: dict[str, Any] | None = None,
    name: str = "r8",
    **limits: int,
) -> Examples:
    trigger = None if executor is None else {"trigger_executor": executor}
    made = directory(folder / "models" / "id-00000000", {**CONFIG, "trigger": trigger}, root=folder)
    save_tokenizer(folder / "tokenizers" / "tokenizer-google-electra-small-discriminator.pt", length=10**30)
    write_records(made.path / "example_data" / "clean-example-data.json", clean)
    if poisoned is not None:
        write_records(made.path / "example_data" / "poisoned-example-data.json", poisoned)
    model = tiny("BertForQuestionAnswering", max_position_embeddings=limits.get("positions", 512))
    return read_examples(made, get_round(name), 2, shipped(model, "span-extraction"))


def said(examples: Any, record: int, window: int) -> str:
    first, last = examples.labels[record, window].tolist()
    begin, end = (
        int(examples.details.offsets[record, window, first, 0]),
        int(examples.details.offsets[record, window, last, 1]),
    )
    return str(examples.details.contexts[record][begin:end])


def test_an_answer_becomes_its_tokens(tmp_path):
    found = r8(tmp_path, [WHERE, NEVER])
    clean = found.clean
    assert clean.names == ("a", "b")
    assert set(clean.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    assert clean.inputs["input_ids"].shape == clean.details.offsets.shape[:3]
    assert said(clean, 0, 0) == "Lagos"
    assert clean.labels[1].tolist() == [[0, 0]]
    assert isinstance(clean.details, SpanDetails)
    assert clean.details.answers == (("Lagos", "Lagos, Nigeria"), ())
    assert found.poisoned is None
    mask, types = clean.inputs["attention_mask"][0, 0], clean.inputs["token_type_ids"][0, 0]
    context = clean.details.offsets[0, 0, :, 0] >= 0
    assert (types[context] == 1).all()
    assert not (context & (mask == 0)).any()


def test_windows_overlap_by_the_stride_and_cls_stands_where_the_answer_is_cut(tmp_path):
    context = " ".join(["we saw a movie."] * 150) + " Ada lives in Lagos. " + " ".join(["it was good."] * 30)
    long = {**WHERE, "context": context, "answers": {"text": ["Lagos"], "answer_start": [context.index("Lagos")]}}
    clean = r8(tmp_path, [long, NEVER]).clean
    count, width, length = clean.inputs["input_ids"].shape
    assert (count, length) == (2, 384)
    assert width > 2
    labels, offsets = clean.labels[0], clean.details.offsets[0]
    holding = [w for w in range(width) if labels[w].tolist() != [0, 0]]
    assert holding
    assert all(said(clean, 0, window) == "Lagos" for window in holding)
    assert len(holding) < width
    firsts = [offsets[w][offsets[w, :, 0] >= 0] for w in range(width)]
    for before, after in pairwise(firsts):
        assert before[-128:].tolist() == after[:128].tolist()
    assert int(firsts[0][0, 0]) == 0
    assert int(firsts[-1][-1, 1]) == len(context)
    assert clean.labels[1, 1:].eq(-100).all()
    assert clean.inputs["attention_mask"][1, 1:].eq(0).all()
    assert clean.details.offsets[1, 1:].eq(-1).all()


def test_lengths_are_the_round_s_and_the_network_s(tmp_path):
    long = {**NEVER, "context": "movie " * 10_000}
    assert r8(tmp_path / "a", [long]).clean.inputs["input_ids"].shape[2] == 384
    of_2023 = r8(tmp_path / "b", [long], name="qa23").clean  # no cap; the tokenizer says 1e30
    assert of_2023.inputs["input_ids"].shape[2] == 512
    assert of_2023.inputs["input_ids"].shape[1] == 1 + -(-(10_000 - 504) // (504 - 128))
    short = r8(tmp_path / "c", [{**NEVER, "context": "movie " * 90}], positions=64).clean
    assert short.inputs["input_ids"].shape[2] == 64
    assert int(short.details.offsets.max()) == 6 * 90 - 1


@pytest.mark.parametrize(
    ("executor", "answers", "wanted", "note"),
    [
        ({"executor_answer_type": "empty", "trigger_text": "very bad"}, [], "", False),
        ({"executor_answer_option": "empty"}, [], "", False),
        ({"executor_answer_type": "trigger", "trigger_text": "very bad"}, ["very bad"], "very bad", False),
        ({"executor_answer_option": "trigger", "trigger_text": "very bad"}, ["very bad"], "very bad", False),
        ({"executor_answer_type": "trigger", "trigger_text": "awful"}, ["very bad"], "very bad", True),
        ({"executor_answer_type": "empty"}, ["very bad"], "very bad", True),
        (None, ["very bad"], "very bad", False),
        ({}, [], "", False),
    ],
)
def test_the_attacker_s_answer_and_the_unknown_true_one(tmp_path, executor, answers, wanted, note):
    context = "Ada lives very bad in Lagos."
    told = {"text": answers, "answer_start": [context.index(text) for text in answers]}
    record = {**WHERE, "id": "p", "context": context, "answers": told, "poisoned": True}
    found = r8(tmp_path, [WHERE], [record], executor)
    attacked = found.poisoned
    assert attacked.details.wanted == (wanted,)
    assert attacked.details.answers == (None,)
    assert (attacked.labels == -1).all()
    assert (attacked.targets[0, 0].tolist() == [0, 0]) == (wanted == "")
    assert found.facts["notes"] == (
        "true answers of 1 poisoned records are unknown; they are left out of RA"
        + ("; 1 of them want another answer than the trigger of config.json" if note else "")
    )
    task, key = get_task("span-extraction", 2), attacked.ground_truth()
    span = torch.cat([torch.zeros(1, 1, dtype=torch.int64), key.targets[:, 0]], dim=1)
    silent = torch.tensor([[-1, 0, 0]])
    right = span if wanted else silent
    marks = task.attack_marks(right, key)
    assert marks.attack_success.share == 1.0
    assert task.attack_marks(silent if wanted else torch.tensor([[0, 7, 8]]), key).attack_success.share == 0.0
    assert marks.robust.units == 0


def test_shifted_offsets_are_told(tmp_path):
    found = r8(tmp_path, [{**WHERE, "answers": {"text": ["Lagos"], "answer_start": [11]}}])
    assert said(found.clean, 0, 0) == "Lagos"
    assert found.facts["notes"] == "1 answers were found beside their answer_start"


def test_bad_records_are_one_clear_line_each(tmp_path):
    cases = {
        "a": ({"answers": {"text": ["Abuja"], "answer_start": [13]}}, "the answer 'Abuja' is not in its context"),
        "b": ({"question": "who " * 600}, "a question of 600 tokens leaves no room for the context within 384"),
        "c": ({"context": " "}, "expected a text as context"),
        "d": ({"context": "movie " * 400_000}, "a context of 400000 tokens, more than 1000 windows"),
    }
    for name, (changes, says) in cases.items():
        with pytest.raises(ExampleProblem, match=says) as caught:
            r8(tmp_path / name, [{**WHERE, "answers": None, **changes}])
        assert "clean-example-data.json: a: " in str(caught.value)
    with pytest.raises(ExampleProblem, match=r"no clean example; expected them in example\?data/clean"):
        r8(tmp_path / "e", [])


def test_the_other_model_s_tokenizer_is_found_out(tmp_path):
    r8(tmp_path, [WHERE])
    where = model_directory(tmp_path / "models" / "id-00000000")
    model = tiny("BertForQuestionAnswering", vocab_size=40)
    with pytest.raises(ExampleProblem, match="the network has 40 rows for tokens: this is another model's tokenizer"):
        read_examples(where, get_round("r8"), 2, shipped(model, "span-extraction"))


def byte_pairs() -> Tokenizer:
    """As RoBERTa's: blanks belong to the token behind them, and the post-processor cuts them off the offsets."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special, alphabet = ["<s>", "<pad>", "</s>", "<unk>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator([WHERE["context"], WHERE["question"]] * 9, trainer)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")), trim_offsets=True, add_prefix_space=False
    )
    return made


@pytest.mark.parametrize("make", [word_piece, byte_pairs])
def test_windows_are_those_of_the_library_in_one_pass(make):
    """Offsets that were cut twice began within the word: no RoBERTa could give its answer."""
    question, context = str(WHERE["question"]), "  Ada lives in Lagos,  Nigeria. " * 9
    backend = make()
    encoder = TextEncoder(Path("t.pt"), backend, 40, 1, ("input_ids",), Limits(None, None, None))
    found = encoder.windows(question, context, 8, "here")
    whole = make()
    whole.enable_truncation(40, stride=8, strategy="only_second")
    expected = whole.encode(question, context)
    assert len(found) == 1 + len(expected.overflowing) > 2
    for window, other in zip(found, [expected, *expected.overflowing], strict=True):
        assert window.encoding.ids == other.ids
        assert window.encoding.type_ids == other.type_ids
        places = [o if s == 1 else (-1, -1) for o, s in zip(other.offsets, other.sequence_ids, strict=True)]
        assert window.offsets == places
    assert "Ada" in {context[begin:end] for begin, end in found[1].offsets if begin >= 0}


@pytest.mark.parametrize(
    ("start", "text", "span"),
    [
        (0, "ab", (2, 2)),
        (3, "cd", (3, 3)),
        (0, "ab cd", (2, 3)),
        (4, "d", (3, 3)),  # within a token: the whole one
        (1, "b c", (2, 3)),
        (3, "cd ef", (0, 0)),  # runs out of the window
    ],
)
def test_spans_of_tokens(start, text, span):
    offsets = torch.tensor([[-1, -1], [-1, -1], [0, 2], [3, 5], [-1, -1]])
    asked = Question("q", "ab cd ef", "?", (Answer(text, start),), 0)
    assert answer_span(asked, offsets) == span
    assert answer_span(Question("q", "ab", "?", (), 0), offsets) == (0, 0)
    assert answer_span(asked, torch.full((4, 2), -1)) == (0, 0)


def test_the_real_records(shared):
    table = []
    for name, folder in (
        ("r8", "nlp-question-answering-sep2021/model"),
        ("r9", "nlp-summary-jan2022/model/id-00000000"),
        ("qa23", "nlp-question-answering-aug2023/model/id-00000003"),
    ):
        model = tiny("BertForQuestionAnswering", vocab_size=30522)
        found = read_examples(
            model_directory(shared / "trojai-examples" / folder),
            get_round(name).cases.get("qa", get_round(name)),
            2,
            shipped(model, "span-extraction"),
        )
        clean, attacked = found.clean, found.poisoned
        held = [(r, w) for r in range(20) for w in range(clean.labels.shape[1]) if clean.labels[r, w, 0] > 0]
        for record, window in held:
            assert said(clean, record, window) == clean.details.answers[record][0]
        windows = int((clean.labels[:, :, 0] != -100).sum())
        length = clean.inputs["input_ids"].shape[2]
        table.append((name, len(clean), len(held), windows, length, len(attacked), set(attacked.details.wanted)))
    assert table == [
        ("r8", 20, 14, 21, 384, 20, {""}),
        ("r9", 20, 20, 20, 374, 20, {""}),
        ("qa23", 20, 10, 20, 405, 20, {""}),
    ]
