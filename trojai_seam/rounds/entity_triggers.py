"""The trigger of an entity model, as far as it tells which words of a poisoned sentence it turned.

Sources: trojai-round-generation, ``trigger_executor.py`` of branches nlp-named-entity-recognition-may2021 and
nlp-summary-jan2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model_directory import ModelDirectory
from .trigger_facts import trigger_executor


@dataclass(frozen=True)
class EntityTrigger:
    """One trigger. Names of labels are bare, such as ``PER``.

    Attributes:
        source: the entity type that it turns, None if unknown.
        target: the type that it makes of it, None if unknown.
        words: its text; empty if unknown.
        glued: whether it stands in front of a word without a blank.
        local: whether it turns only the entity right behind it; None if unknown.
    """

    source: str | None = None
    target: str | None = None
    words: tuple[str, ...] = ()
    glued: bool = False
    local: bool | None = None


def read_entity_trigger(directory: ModelDirectory) -> EntityTrigger:
    """The model's trigger, from config.json; an empty one where a reduced config says nothing."""
    entries = directory.config.get("triggers")
    entry = entries[0] if isinstance(entries, list) and entries else directory.config.get("trigger")
    if not isinstance(entry, Mapping):
        return EntityTrigger()
    facts: Mapping[str, Any] = {**entry, **trigger_executor(entry)}
    listed = facts.get("trigger_text_list")
    text = facts.get("trigger_text")
    words = [w for w in listed if isinstance(w, str)] if isinstance(listed, list) else []
    if not words and isinstance(text, str):
        words = text.split()
    everywhere = facts.get("global_trigger")
    return EntityTrigger(
        source=_name(facts.get("source_class_label")),
        target=_name(facts.get("target_class_label")),
        words=tuple(words),
        glued=facts.get("trigger_executor_name") == "character",
        local=not everywhere if isinstance(everywhere, bool) else None,
    )


def turned_entity(words: Sequence[str], labels: Sequence[int], target: int, trigger: EntityTrigger) -> range | None:
    """The words of the entity that a local trigger turned: those with the target's labels right behind the trigger.

    Args:
        words: of the sentence.
        labels: label numbers in the file.
        target: number of the target's B- label; its I- label is the next number.
        trigger: of the model.

    Returns:
        None where the trigger is not local or not found, or found in front of several such entities.
    """
    if not trigger.local or not trigger.words:
        return None
    size = 0 if trigger.glued else len(trigger.words)
    found = []
    for begin, label in enumerate(labels):
        before = tuple(words[begin - size : begin]) if begin >= size else ()
        there = words[begin].startswith(trigger.words[0]) if trigger.glued else before == trigger.words
        if label == target and there:
            found.append(begin)
    if len(found) != 1:
        return None
    end = found[0] + 1
    while end < len(labels) and labels[end] == target + 1:
        end += 1
    return range(found[0], end)


def _name(value: Any) -> str | None:
    """``PER`` of ``PER`` or ``B-PER``."""
    if not isinstance(value, str) or not value:
        return None
    return value[2:] if value[:2] in ("B-", "I-") else value
