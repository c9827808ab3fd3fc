"""Example texts in files: reviews (rounds 5 and 6) and sentences of labelled words (round 7)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ExampleProblem, shown
from .regular_files import decoded, read_bounded

MOST_BYTES = 16 * 2**20


class Text(NamedTuple):
    """``utf8`` is false where the file was read as Latin-1 instead, in which every byte is a character."""

    text: str
    utf8: bool


class Sentence(NamedTuple):
    """Words of one sentence with the number and the name of each one's label, as ``B-PER``."""

    words: tuple[str, ...]
    numbers: tuple[int, ...]
    names: tuple[str, ...]


def read_text(path: Path) -> Text:
    """A text file.

    Raises:
        ExampleProblem: unreadable, too large, or nothing but white space in it.
    """
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as problem:
        raise ExampleProblem(f"{path}: cannot be read: {problem.strerror}") from None
    try:
        text = Text(decoded(content), True)
    except UnicodeDecodeError:
        text = Text(content.decode("latin-1"), False)
    if not text.text.strip():
        raise ExampleProblem(f"{path}: holds no text")
    return text


def not_utf8(texts: Sequence[Text]) -> str | None:
    """A remark for the row about texts that had to be read as Latin-1, None if there is none."""
    count = sum(not text.utf8 for text in texts)
    return f"{count} texts are not UTF-8 and were read as Latin-1" if count else None


def read_sentence(text: Text, path: Path) -> Sentence:
    """A sentence of round 7: per line a word, its label and the label's number, separated by tabs.

    Words may hold quotes and any blank but the tab, so this is no CSV.

    Raises:
        ExampleProblem: a line with other columns, an empty word, or a label number that is none.
    """
    words, numbers, names = [], [], []
    for count, line in enumerate(text.text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 3:
            raise ExampleProblem(
                f"{path}: line {count}: expected word, label and label number with tabs between, found {len(columns)} "
                f"columns in {shown(repr(line), 60)}"
            )
        word, name, number = columns[0], columns[1].strip(), columns[2].strip()
        if not word.strip():
            raise ExampleProblem(f"{path}: line {count}: holds a label, but no word")
        if not re.fullmatch(r"[0-9]{1,6}", number):
            raise ExampleProblem(f"{path}: line {count}: expected a label number, found {shown(repr(number), 40)}")
        words.append(word)
        names.append(name)
        numbers.append(int(number))
    return Sentence(tuple(words), tuple(numbers), tuple(names))


_NAME = re.compile(r"(?:class|source_class)_([0-9]{1,9})(?:_target_class_([0-9]{1,9}))?_example_([0-9]{1,9})")


def classes_in_name(path: Path) -> Mapping[str, int] | None:
    """``class_1_example_20.txt`` is ``{"class": 1}``; ``source_class_0_target_class_1_example_2.txt`` has a target too.

    None for a name of neither form: NIST's own example folder of round 5 holds an ``example_0.txt``.
    """
    found = _NAME.fullmatch(path.stem)
    if found is None or (found[2] is not None) != path.stem.startswith("source"):
        return None
    return {"class": int(found[1])} if found[2] is None else {"class": int(found[1]), "target": int(found[2])}
