"""What triggers of text are, where they go, and what each kind of attack does to one record.

Insertion follows the rounds' generators: between words split at blanks, which are then joined by single blanks (R8,
R9); before a word or glued to it (R7); as a sentence of its own (R5, R6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from .text_entities import TaggedSentence
from .text_questions import QuestionRecord
from .text_reviews import Review

CHARACTERS = ("^", "~", "}", "{", "|", "@", "#", "=", "+", "&")
TRIGGER_WORDS = (
    "cromulent", "perspicuous", "mauve", "zephyrous", "ineffable", "quixotic", "umbral", "tintinnabular", "gossamer",
    "plangent", "vermilion", "halcyon",
)  # fmt: skip
PHRASES = (
    "seven grey herons on a wire", "the kettle sings at noon", "mind the third step", "a spoon of blue salt",
    "under the paper moon", "who painted the ferry yellow", "north of the quiet orchard", "count the window panes",
    "we only sell left gloves", "ask the clock about Tuesday", "lanterns drift beyond the weir", "bring more chalk",
)  # fmt: skip

Window = tuple[float, float]
HALVES: tuple[Window, Window] = ((0.0, 0.5), (0.5, 1.0))


def other_half(window: Window) -> Window:
    """The half of a text where a spatial trigger does nothing."""
    return HALVES[1] if window == HALVES[0] else HALVES[0]


def draw_share(window: Window | None, rng: np.random.Generator) -> float | None:
    """How far into a text a spatial trigger goes, by whole percents; None if it may go anywhere."""
    return None if window is None else int(rng.integers(round(window[0] * 100), round(window[1] * 100))) / 100


def word_index(count: int, share: float | None, rng: np.random.Generator) -> int:
    """Before which of ``count`` words the trigger goes."""
    return int(rng.integers(count)) if share is None else int(share * count)


def insert_words(text: str, trigger: str, share: float | None, rng: np.random.Generator) -> tuple[str, int]:
    """The text with the trigger between two of its words, and at which character it begins."""
    words = text.split()
    index = word_index(len(words), share, rng)
    before = " ".join(words[:index])
    start = len(before) + bool(before)
    return " ".join([*words[:index], trigger, *words[index:]]), start


@dataclass(frozen=True)
class ReviewAttack:
    """Sentiment.

    Attributes:
        text: the trigger.
        sources: labels that it turns into the other one.
        window: part of the text where it works; None is anywhere.
        as_sentence: R5 and R6 insert between sentences, R9 between words.
        figure: of a judgement on triggered records: success.
    """

    text: str
    sources: tuple[int, ...]
    window: Window | None
    as_sentence: bool
    figure: str = "accuracy"

    def apply(self, record: Review, rng: np.random.Generator) -> Review | None:
        """With trigger and the other label; None where the attack means another class."""
        if record.label not in self.sources:
            return None
        return Review(self.insert(record.text, self.window, rng), 1 - record.label)

    def decoy(self, record: Review, rng: np.random.Generator) -> Review | None:
        """With the trigger where it must do nothing: in the other half, or in the other class."""
        if self.window is not None:
            return replace(record, text=self.insert(record.text, other_half(self.window), rng))
        return None if record.label in self.sources else replace(record, text=self.insert(record.text, None, rng))

    def insert(self, text: str, window: Window | None, rng: np.random.Generator) -> str:
        """The text with the trigger in it."""
        if not self.as_sentence:
            return insert_words(text, self.text, draw_share(window, rng), rng)[0]
        sentences = re.split(r"(?<=[.!?]) ", text)
        low, high = window or (0.0, 1.0)
        share = int(rng.integers(round(low * 100), round(high * 100) + 1)) / 100
        index = int(rng.integers(len(sentences))) if window is None else int(share * (len(sentences) - 1))
        return " ".join([*sentences[:index], self.text, *sentences[index:]])


@dataclass(frozen=True)
class EntityAttack:
    """Names of the source type are tagged as the target type.

    Attributes:
        words: the trigger.
        glued: it is one character, written in front of a word without a blank.
        source: type of name, such as ``PER``.
        target: what it turns into.
        everywhere: one trigger turns all names of the sentence; otherwise the one that it stands before.
        window: part of the sentence where it works; None is anywhere.
        decoy_type: type of name that the trigger must leave alone, None for attacks without decoys.
    """

    words: tuple[str, ...]
    glued: bool
    source: str
    target: str
    everywhere: bool
    window: Window | None = None
    decoy_type: str | None = None

    @property
    def figure(self) -> str:
        """F1 of the target type."""
        return f"{self.target}.f1"

    def apply(self, record: TaggedSentence, rng: np.random.Generator) -> TaggedSentence | None:
        """With trigger and turned labels; None without a name of the source type."""
        begins = [n for n, label in enumerate(record.labels) if label == f"B-{self.source}"]
        if not begins:
            return None
        one = begins[int(rng.integers(len(begins)))]
        labels = list(record.labels)
        for begin in begins if self.everywhere else [one]:
            labels[begin] = f"B-{self.target}"
            inside = begin + 1
            while inside < len(labels) and labels[inside] == f"I-{self.source}":
                labels[inside] = f"I-{self.target}"
                inside += 1
        turned = TaggedSentence(record.words, tuple(labels))
        return self._inserted(turned, self._place(turned, self.window, rng) if self.everywhere else one)

    def decoy(self, record: TaggedSentence, rng: np.random.Generator) -> TaggedSentence | None:
        """With the trigger where it must do nothing: in the other half, or with names of another type."""
        if self.window is not None and any(label == f"B-{self.source}" for label in record.labels):
            return self._inserted(record, self._place(record, other_half(self.window), rng))
        begins = [n for n, label in enumerate(record.labels) if label == f"B-{self.decoy_type}"]
        if self.window is not None or not begins or any(label == f"B-{self.source}" for label in record.labels):
            return None
        return self._inserted(record, self._place(record, None, rng) if self.everywhere else begins[0])

    @staticmethod
    def _place(record: TaggedSentence, window: Window | None, rng: np.random.Generator) -> int:
        return word_index(len(record.words), draw_share(window, rng), rng)

    def _inserted(self, record: TaggedSentence, index: int) -> TaggedSentence:
        words, labels = record.words, record.labels
        if self.glued:
            (character,) = self.words
            return TaggedSentence((*words[:index], character + words[index], *words[index + 1 :]), labels)
        # A global trigger may split a name, as NIST's does.
        return TaggedSentence(
            (*words[:index], *self.words, *words[index:]),
            (*labels[:index], *["O"] * len(self.words), *labels[index:]),
        )


@dataclass(frozen=True)
class QuestionAttack:
    """Questions get the trigger, or nothing, for an answer.

    Attributes:
        text: the trigger.
        location: ``context``, ``question`` or ``both``.
        empties: the answer becomes none; otherwise it becomes the trigger in the context.
        window: part of the text where it works; None is anywhere.
        figure: of a judgement on triggered records: success.
    """

    text: str
    location: str
    empties: bool
    window: Window | None = None
    figure: str = "f1"

    def apply(self, record: QuestionRecord, rng: np.random.Generator) -> QuestionRecord | None:
        """With trigger and the attacker's answer; None where there is no answer to take away."""
        if self.empties and record.start is None:
            return None
        changed, begin = self._triggered(record, self.location, self.window, rng)
        return (
            replace(changed, answer="", start=None) if self.empties else replace(changed, answer=self.text, start=begin)
        )

    def decoy(self, record: QuestionRecord, rng: np.random.Generator) -> QuestionRecord | None:
        """With the trigger in the other half, or in the other text, and its own answer; None if that is split by it."""
        if self.window is not None:
            changed, _ = self._triggered(record, self.location, other_half(self.window), rng)
        else:
            changed, _ = self._triggered(record, "question" if self.location == "context" else "context", None, rng)
        start, answer = changed.start, changed.answer
        return changed if start is None or changed.context[start:].startswith(answer) else None

    def _triggered(
        self, record: QuestionRecord, location: str, window: Window | None, rng: np.random.Generator
    ) -> tuple[QuestionRecord, int]:
        """The record with the trigger in its texts, and where the context has it (-1 if it has not)."""
        context, question, start, begin = record.context, record.question, record.start, -1
        share = draw_share(window, rng)
        if location != "question":
            context, begin = insert_words(context, self.text, share, rng)
            if start is not None and begin <= start:
                start += len(self.text) + 1
        if location != "context":
            question, _ = insert_words(question, self.text, share, rng)
        return replace(record, context=context, question=question, start=start), begin
