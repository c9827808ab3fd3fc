"""Text rounds behind NIST's command lines: tokenizer, embedding and examples are given by path, nothing is beside."""

from __future__ import annotations

from tests.made_texts import (
    directory,
    save_model,
    save_tokenizer,
    sentence,
    tiny,
    write_records,
    write_texts,
)
from trojai_seam.container.subjects import given_model, open_given, with_examples, with_text_parts
from trojai_seam.rounds import get_round

RECORD = {"id": "a", "context": "Ada lives in Lagos.", "question": "where?", "poisoned": False,
          "answers": {"text": ["Lagos"], "answer_start": [13]}}  # fmt: skip


def test_questions_from_a_folder_of_both_kinds_and_a_tokenizer_by_path(tmp_path):
    model = save_model(tmp_path / "active" / "model.pt", tiny("BertForQuestionAnswering"))
    examples = tmp_path / "examples"
    write_records(examples / "clean-example-data.json", [RECORD])
    write_records(examples / "poisoned-example-data.json", [{**RECORD, "id": "p", "poisoned": True}])
    tokenizer = save_tokenizer(tmp_path / "elsewhere" / "t.pt")
    for name in ("r8", "qa23"):
        reading = with_text_parts(with_examples(get_round(name), examples, None), tokenizer, None)
        subject, _ = open_given(given_model(model, examples, None), reading, "cpu")
        assert (len(subject.clean), subject.poisoned) == (1, None)


def test_the_model_s_own_folder_as_that_of_the_examples(tmp_path):
    model = save_model(tmp_path / "id-0" / "model.pt", tiny("BertForQuestionAnswering"))
    directory(model.parent, {"task_type": "qa"})
    write_records(model.parent / "clean-example-data.json", [RECORD])
    tokenizer = save_tokenizer(tmp_path / "t.pt")
    reading = with_text_parts(with_examples(get_round("r9"), model.parent, None), tokenizer, None)
    subject, _ = open_given(given_model(model, model.parent, None), reading, "cpu")
    assert (subject.task.name, len(subject.clean)) == ("span-extraction", 1)


def test_sentences_and_rounds_without_a_tokenizer(tmp_path):
    model = save_model(tmp_path / "id-0" / "model.pt", tiny("BertForTokenClassification", num_labels=9))
    examples = write_texts(tmp_path / "example_data", {"class_3_example_0.txt": sentence("Ada/B-PER/3 lives")})
    tokenizer = save_tokenizer(tmp_path / "t.pt")
    reading = with_text_parts(with_examples(get_round("r7"), examples, None), tokenizer, tokenizer)
    subject, _ = open_given(given_model(model, examples, None), reading, "cpu")
    assert (subject.task.name, len(subject.clean)) == ("token-classification", 1)
    assert with_text_parts(get_round("r12"), tokenizer, tokenizer).document == get_round("r12").document
