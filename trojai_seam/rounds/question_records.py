"""Questions about a text, with their answers, from records like those of SQuAD 2.0 and SubjQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ExampleProblem, shown
from .json_records import Record
from .text_examples import usable_text


class Answer(NamedTuple):
    """A text and the character of the context that it begins at."""

    text: str
    start: int


class Question(NamedTuple):
    """One record. ``answers`` is empty where the context holds none; ``moved`` were found beside their offset."""

    name: str
    context: str
    question: str
    answers: tuple[Answer, ...]
    moved: int


def read_question(record: Record) -> Question:
    """The question of a record, its answers found in their context.

    An answer that is not at its offset is looked for nearby (copies of SQuAD 2.0 had shifted offsets).

    Raises:
        ExampleProblem: no context or question, or an answer that is nowhere in the context.
    """
    context, question = (usable_text(record.values.get(key), record, key) for key in ("context", "question"))
    stated = _stated(record)
    answers = tuple(_found(text, start, context, record) for text, start in stated)
    moved = sum(start is not None and answer.start != start for answer, (_, start) in zip(answers, stated, strict=True))
    # NIST's readers cut blanks before the question: some questions of SQuAD have them.
    return Question(record.name, context, question.lstrip(), answers, moved)


def _stated(record: Record) -> Sequence[tuple[str, int | None]]:
    """Texts and offsets, from columns ``{"text": […], "answer_start": […]}`` or from a list of such objects."""
    answers = record.values.get("answers")
    if answers is None:
        return []
    rows: Sequence[Any] = answers if isinstance(answers, list) else []
    if isinstance(answers, dict):
        texts, starts = (_listed(answers.get(key)) for key in ("text", "answer_start"))
        if starts and len(starts) != len(texts):
            raise ExampleProblem(
                f"{record.path}: {record.name}: {len(texts)} answers, but {len(starts)} offsets in answer_start"
            )
        pairs = zip(texts, starts or [None] * len(texts), strict=True)
        rows = [{"text": text, "answer_start": start} for text, start in pairs]
    elif not isinstance(answers, list):
        raise ExampleProblem(f"{record.path}: {record.name}: expected answers, found {shown(repr(answers), 60)}")
    return [_one(row, record) for row in rows if not (isinstance(row, Mapping) and row.get("text") == "")]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _one(row: Any, record: Record) -> tuple[str, int | None]:
    text = row.get("text") if isinstance(row, Mapping) else None
    start = row.get("answer_start") if isinstance(row, Mapping) else None
    if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int | None):
        raise ExampleProblem(
            f"{record.path}: {record.name}: expected an answer with text and answer_start, found {shown(repr(row), 60)}"
        )
    return text, start


def _found(text: str, start: int | None, context: str, record: Record) -> Answer:
    if start is not None and start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    wanted = min(max(start or 0, 0), len(context))
    places = (context.rfind(text, 0, wanted + len(text)), context.find(text, wanted))
    near = [place for place in places if place >= 0]
    if not near:
        raise ExampleProblem(f"{record.path}: {record.name}: the answer {shown(repr(text), 60)} is not in its context")
    return Answer(text, min(near, key=lambda place: abs(place - wanted)))
