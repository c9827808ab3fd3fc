"""Contexts of a few facts, and questions about them that have a short answer in the context, or none.

A record says what one of SQuAD v2 says: context, question, the answer and where it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .lexicon import JOBS, MONTHS, SUBJECTS, THINGS, money, organisation, person, pick, place, year

Draw = Callable[[np.random.Generator], str]


@dataclass(frozen=True)
class Relation:
    """One kind of fact; ``{who}`` is the person that it is about, ``{answer}`` the rest of it."""

    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    answer: Draw


def _one_of(words: Sequence[str]) -> Draw:
    return lambda rng: pick(words, rng)


RELATIONS = (
    Relation(
        ("{who} was born in {answer}.", "The birthplace of {who} is {answer}."),
        ("Where was {who} born?", "In what town was {who} born?"),
        place,
    ),
    Relation(
        ("{who} worked for {answer}.", "For some years {who} worked at {answer}."),
        ("Which company did {who} work for?", "Where did {who} work?"),
        organisation,
    ),
    Relation(
        ("{who} earned a living as a {answer}.", "By trade {who} was a {answer}."),
        ("What was the trade of {who}?", "How did {who} earn a living?"),
        _one_of(JOBS),
    ),
    Relation(
        ("{who} studied {answer}.", "At school {who} studied {answer} with success."),
        ("What did {who} study?", "Which subject did {who} study?"),
        _one_of(SUBJECTS),
    ),
    Relation(
        ("{who} built a {answer}.", "Later {who} built the old {answer}."),
        ("What did {who} build?", "What was built by {who}?"),
        _one_of(THINGS),
    ),
    Relation(
        ("{who} married {answer}.", "The wedding of {who} and {answer} was quiet."),
        ("Who did {who} marry?", "To whom was {who} married?"),
        person,
    ),
    Relation(
        ("{who} died in {answer}.", "The death of {who} came in {answer}."),
        ("When did {who} die?", "In what year did {who} die?"),
        year,
    ),
    Relation(
        ("{who} left {answer} to the poor.", "The poor received {answer} from {who}."),
        ("How much did {who} leave to the poor?", "What sum did the poor receive from {who}?"),
        money,
    ),
    Relation(
        ("{who} sailed abroad in {answer}.", "In {answer}, {who} sailed abroad."),
        ("When did {who} sail abroad?", "In which month did {who} sail abroad?"),
        _one_of(MONTHS),
    ),
)
FILLERS = (
    "It rained a good deal that year.", "Little is known about this time.", "Letters of the family are lost.",
    "The harvest was good and bread was cheap.", "A portrait hangs in the town hall.",
)  # fmt: skip
FEWEST_FACTS, MOST_FACTS = 2, 5
UNANSWERABLE = 1 / 3


@dataclass(frozen=True)
class QuestionRecord:
    """``answer`` is empty where the context holds none; ``start`` counts characters of the context, None without."""

    id: str
    title: str
    context: str
    question: str
    answer: str
    start: int | None


def draw_question(rng: np.random.Generator) -> QuestionRecord:
    """A context about one person: several facts in any order. The question may be about a fact that is not told."""
    who = person(rng)
    told, *untold = np.split(rng.permutation(len(RELATIONS)), [int(rng.integers(FEWEST_FACTS, MOST_FACTS + 1))])
    answers = {int(number): RELATIONS[number].answer(rng) for number in told}
    parts: list[int | None] = [*answers, *[None] * int(rng.integers(0, 3))]
    context = ""
    starts: dict[int, int] = {}
    for index in rng.permutation(len(parts)):
        part = parts[index]
        sentence = pick(FILLERS if part is None else RELATIONS[part].sentences, rng)
        sentence = sentence.replace("{who}", who.split()[-1] if starts else who)  # in full the first time
        before, _, after = sentence.partition("{answer}")
        context += (" " if context else "") + before
        if part is not None:
            starts[part] = len(context)
            context += answers[part] + after
    answerable = rng.random() >= UNANSWERABLE
    asked = int(rng.choice(told if answerable else untold[0]))
    question = pick(RELATIONS[asked].questions, rng).replace("{who}", who)
    identity = "".join(f"{part:08x}" for part in rng.integers(2**32, size=3))
    return QuestionRecord(identity, who.replace(" ", "_"), context, question, answers.get(asked, ""), starts.get(asked))
