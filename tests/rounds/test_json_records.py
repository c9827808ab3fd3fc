"""JSON examples in every nesting that was seen or is likely, and questions whose answers must be in their context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds.json_records import Record, read_records, record_files, records_in
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.rounds.question_records import Answer, read_question

LAYOUT = {"clean": ["example?data/clean*.json", "clean*.json"], "poisoned": ["example?data/poisoned*.json"]}
ANSWERED = {"text": ["Nigeria"], "answer_start": [3]}
ONE = {"id": "a", "context": "In Nigeria.", "question": "Where?", "answers": ANSWERED}
TWO = {"id": "b", "context": "In Nigeria.", "question": "When?", "answers": {"text": [], "answer_start": []}}


def written(folder: Path, document: Any, name: str = "clean-example-data.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def directory(folder: Path) -> ModelDirectory:
    return ModelDirectory(path=folder, model_id=folder.name, root=folder.parent)


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Nigeria",
            "paragraphs": [
                {
                    "context": "In Nigeria.",
                    "qas": [
                        {"id": "a", "question": "Where?", "answers": [{"text": "Nigeria", "answer_start": 3}]},
                        {"id": "b", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}
LAYOUTS = {
    "data": {"data": [ONE, TWO]},
    "flat": [ONE, TWO],
    "by split": {"data": {"validation": {"data": [ONE, TWO]}}},
    "by id": {key: {k: v for k, v in record.items() if k != "id"} for key, record in (("a", ONE), ("b", TWO))},
    "columns": {key: [ONE[key], TWO[key]] for key in ONE},
    "columns under data": {"data": {key: [ONE[key], TWO[key]] for key in ONE}},
    "squad": SQUAD,
    "articles": SQUAD["data"],
    "paragraphs": SQUAD["data"][0]["paragraphs"],
    "lists of lists": [[ONE], [[TWO]]],
}


@pytest.mark.parametrize("document", LAYOUTS.values(), ids=LAYOUTS)
def test_every_nesting_gives_the_same_questions(tmp_path, document):
    found = records_in(written(tmp_path, document))
    questions = [read_question(Record(str(values["id"]), values, tmp_path)) for values in found]
    assert [(q.name, q.context, q.question, q.answers) for q in questions] == [
        ("a", "In Nigeria.", "Where?", (Answer("Nigeria", 3),)),
        ("b", "In Nigeria.", "When?", ()),
    ]


def test_a_single_record_sentences_and_reviews(tmp_path):
    assert records_in(written(tmp_path, ONE)) == [ONE]
    sentence = {"id": "1", "tokens": ["In", "Nigeria"], "ner_tags": [0, 7], "ner_labels": ["O", "B-LOC"]}
    assert records_in(written(tmp_path, {"data": [sentence]})) == [sentence]
    assert records_in(written(tmp_path, {"tokens": [["In"], ["Lagos"]], "ner_tags": [[0], [7]]})) == [
        {"tokens": ["In"], "ner_tags": [0]},
        {"tokens": ["Lagos"], "ner_tags": [7]},
    ]
    review = {"data": "A good film.", "label": 1, "poisoned": False}
    assert records_in(written(tmp_path, {"data": [review]})) == [review]
    assert records_in(written(tmp_path, {"data": ["Good.", "Bad."], "label": [1, 0]})) == [
        {"data": "Good.", "label": 1},
        {"data": "Bad.", "label": 0},
    ]
    assert records_in(written(tmp_path, {"data": []})) == []


@pytest.mark.parametrize(
    "document",
    ["{", '{"data": ', "[1, 2]", '"text"', "null", '{"data": "text"}', '{"a": 1}', '{"paragraphs": [1]}',
     '{"paragraphs": [{"qas": [3]}]}', '{"question": ["a"], "context": ["b", "c"]}', "[" * 5000 + "]" * 5000,
     '{"a":' * 900 + "1" + "}" * 900],
)  # fmt: skip
def test_what_is_no_record_is_one_clear_line(tmp_path, document):
    path = written(tmp_path, document)
    with pytest.raises(ExampleProblem) as caught:
        records_in(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf_8(tmp_path):
    (tmp_path / "clean.json").write_bytes(b'[{"data": "Tr\xe8s", "label": 1}]')
    with pytest.raises(ExampleProblem, match="neither UTF-8 nor"):
        records_in(tmp_path / "clean.json")


def test_the_first_pattern_with_files_is_used_and_hidden_files_are_none(tmp_path):
    inner = written(tmp_path, [ONE], "example_data/clean-example-data.json")
    written(tmp_path, [ONE], "example_data/._clean-example-data.json")
    outer = written(tmp_path, [ONE], "clean-example-data.json")
    assert record_files(directory(tmp_path), LAYOUT["clean"]) == [inner]
    inner.unlink()
    assert record_files(directory(tmp_path), LAYOUT["clean"]) == [outer]
    assert record_files(directory(tmp_path), ["absent/*.json"]) == []
    assert record_files(directory(tmp_path / "elsewhere"), [str(tmp_path)]) == [outer]
    assert record_files(directory(tmp_path / "elsewhere"), [f"{tmp_path}/clean*.json"]) == [outer]
    assert record_files(directory(tmp_path), ["."]) == [outer]


def test_a_folder_of_both_kinds_is_told_apart_by_the_files_names(tmp_path):
    written(tmp_path, [ONE], "given/clean-example-data.json")
    written(tmp_path, [TWO], "given/poisoned-example-data.json")
    clean, poisoned = read_records(directory(tmp_path), {"clean": [str(tmp_path / "given")], "poisoned": []})
    assert ([record.name for record in clean], [record.name for record in poisoned]) == (["a"], ["b"])


def test_a_record_s_own_mark_outranks_its_file(tmp_path):
    mixed = [ONE, {**TWO, "poisoned": True}, {**ONE, "id": "c", "poisoned": False}]
    written(tmp_path, mixed, "example-data/clean-example-data.json")
    written(tmp_path, [{**ONE, "poisoned": False}, {**ONE, "id": "d"}], "example-data/poisoned-example-data.json")
    clean, poisoned = read_records(directory(tmp_path), LAYOUT)
    assert [record.name for record in clean] == ["a", "c", "a #2"]
    assert [record.name for record in poisoned] == ["b", "d"]


def test_names_are_unique_and_made_up_where_there_is_none(tmp_path):
    written(
        tmp_path, [ONE, ONE, {**ONE, "id": ""}, {key: ONE[key] for key in ("context", "question")}, {**ONE, "id": 7}]
    )
    clean, poisoned = read_records(directory(tmp_path), LAYOUT)
    assert [record.name for record in clean] == ["a", "a #1", "record 2", "record 3", "7"]
    assert poisoned == []


# questions ------------------------------------------------------------------------------------------------------------


def question(**changes: Any) -> Any:
    return read_question(Record("q", {**ONE, **changes}, Path("here.json")))


def test_answers_in_every_form():
    assert question(answers=[{"text": "Nigeria", "answer_start": 3}]).answers == (Answer("Nigeria", 3),)
    assert question(answers={"text": "Nigeria", "answer_start": 3}).answers == (Answer("Nigeria", 3),)
    assert question(answers={"text": ["Nigeria", "Nigeria."], "answer_start": [3, 3]}).answers == (
        Answer("Nigeria", 3),
        Answer("Nigeria.", 3),
    )
    for nothing in (None, [], {}, {"text": [], "answer_start": []}, {"text": [""], "answer_start": [0]}):
        assert question(answers=nothing).answers == ()


def test_an_answer_beside_its_offset_is_found_at_the_nearest_place():
    context = "Lagos is in Nigeria; Abuja is in Nigeria."
    moved = question(context=context, answers={"text": ["Nigeria"], "answer_start": [30]})
    assert (moved.answers, moved.moved) == ((Answer("Nigeria", 33),), 1)
    assert question(context=context, answers={"text": ["Nigeria"], "answer_start": [15]}).answers[0].start == 12
    assert question(context=context, answers={"text": ["Nigeria"], "answer_start": [-4]}).answers[0].start == 12
    assert question(context=context, answers={"text": ["Nigeria"], "answer_start": [9999]}).answers[0].start == 33
    unplaced = question(context=context, answers={"text": ["Nigeria"]})
    assert (unplaced.answers, unplaced.moved) == ((Answer("Nigeria", 12),), 0)


def test_blanks_before_a_question_are_cut_as_nist_does():
    assert question(question="  Where is it? ").question == "Where is it? "


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answers": {"text": ["Ghana"], "answer_start": [3]}}, "the answer 'Ghana' is not in its context"),
        ({"answers": {"text": ["Nigeria"], "answer_start": [3, 4]}}, "1 answers, but 2 offsets"),
        ({"answers": {"text": [None], "answer_start": [3]}}, "expected an answer with text and answer_start"),
        ({"answers": {"text": ["Nigeria"], "answer_start": ["3"]}}, "expected an answer"),
        ({"answers": {"text": ["Nigeria"], "answer_start": [True]}}, "expected an answer"),
        ({"answers": ["Nigeria"]}, "expected an answer"),
        ({"answers": "Nigeria"}, "expected answers"),
        ({"context": ""}, "expected a text as context"),
        ({"context": " \n"}, "expected a text as context"),
        ({"context": None}, "expected a text as context"),
        ({"context": "In Nigeria. \ud800"}, "context holds half of a character"),
        ({"question": 3}, "expected a text as question"),
        ({"question": ""}, "expected a text as question"),
    ],
)
def test_a_bad_question_is_one_clear_line(changes, says):
    with pytest.raises(ExampleProblem, match=says) as caught:
        question(**changes)
    assert str(caught.value).startswith("here.json: q: ")


def test_the_real_answers_are_where_they_say(shared):
    table = []
    for name, folder in (
        ("r8", "nlp-question-answering-sep2021/model"),
        ("r9", "nlp-summary-jan2022/model/id-00000000"),
        ("qa23", "nlp-question-answering-aug2023/model/id-00000003"),
    ):
        for side in ("clean", "poisoned"):
            path = shared / "trojai-examples" / folder / "example_data" / f"{side}-example-data.json"
            asked = [read_question(Record(str(v["id"]), v, path)) for v in records_in(path)]
            answers = [answer for one in asked for answer in one.answers]
            table.append((name, side, len(asked), sum(not one.answers for one in asked), len(answers)))
            assert sum(one.moved for one in asked) == 0
            assert len({one.name for one in asked}) == 20
    assert table == [
        ("r8", "clean", 20, 6, 19),
        ("r8", "poisoned", 20, 20, 0),
        ("r9", "clean", 20, 0, 20),
        ("r9", "poisoned", 20, 20, 0),
        ("qa23", "clean", 20, 10, 32),
        ("qa23", "poisoned", 20, 20, 0),
    ]
