"""What the adapters of texts share: which examples are wanted, and what is said of them in the row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from ..errors import ExampleProblem, listed, shown
from .config import RoundConfig
from .json_records import Record
from .model_directory import ModelDirectory

Item = TypeVar("Item")


def wanted_poisoned(round_config: RoundConfig) -> bool:
    """Whether poisoned examples are to be read.

    Raises:
        ExampleProblem: they are to be synthesised, which is not done for texts.
    """
    if round_config.poisoned_examples == "synthesised":
        raise ExampleProblem(f"{round_config.name}: poisoned texts cannot be synthesised; use shipped, none or auto")
    return round_config.poisoned_examples != "none"


def no_clean_example(directory: ModelDirectory, round_config: RoundConfig) -> ExampleProblem:
    """Says what was looked for."""
    places = listed(round_config.layout["clean"], most=20)
    return ExampleProblem(f"{directory.path}: no clean example; expected them in {places}")


def usable_text(value: object, record: Record, key: str) -> str:
    """``value`` if it is a text that a tokenizer can read.

    Raises:
        ExampleProblem: it is none, nothing but white space, or holds half a character (JSON can say ``\\ud800``).
    """
    where = f"{record.path}: {record.name}"
    if not isinstance(value, str) or not value.strip():
        raise ExampleProblem(f"{where}: expected a text as {key}, found {shown(repr(value), 60)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ExampleProblem(f"{where}: {key} holds half of a character: {shown(repr(value), 60)}") from None
    return value


def unrepeated(items: Sequence[Item], key: Callable[[Item], Hashable]) -> tuple[list[Item], str | None]:
    """The first of every group of equal items, and a remark about the others.

    R7 picks sentences by entity type, so one with two types may ship twice. Counted twice it could be trained on and
    held out at the same time.
    """
    first: dict[Hashable, Item] = {}
    for item in items:
        first.setdefault(key(item), item)
    count = len(items) - len(first)
    return list(first.values()), f"{count} repeated clean examples are counted once" if count else None


def joined(*notes: str | None) -> str | None:
    """Remarks as one text; None without any."""
    return "; ".join(note for note in notes if note) or None
