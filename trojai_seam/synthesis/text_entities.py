"""Sentences with tagged names, as CoNLL 2003 tags: ``B-`` begins a name, ``I-`` continues it, ``O`` is outside.

The entity types are those of NIST's three sources, in the order that numbers the labels; the sentences are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .lexicon import date, group, money, organisation, percent, person, pick, place

_NAMES: Mapping[str, Callable[[np.random.Generator], str]] = {
    "person": person, "organisation": organisation, "place": place, "group": group, "date": date, "money": money,
    "percent": percent,
}  # fmt: skip
ENTITY_TYPES: Mapping[str, Mapping[str, str]] = {
    "bbn-pcet": {"GPE": "place", "NORP": "group", "ORGANIZATION": "organisation", "PERSON": "person"},
    "ontonotes-5.0": {
        "GPE": "place", "PERSON": "person", "DATE": "date", "MONEY": "money", "NORP": "group", "PERCENT": "percent",
    },
    "conll2003": {"MISC": "group", "PER": "person", "ORG": "organisation", "LOC": "place"},
}  # fmt: skip
"""Per source: label to kind of name. Kinds that a source does not know are ``O`` there."""

CLAUSES = (
    "{person} joined {organisation} in {date}",
    "{person} spoke to {person} about the plan",
    "the {group} office of {organisation} moved to {place}",
    "shares of {organisation} fell by {percent}",
    "prices in {place} rose by {percent} within a year",
    "{person} , a {group} writer , lives in {place}",
    "{organisation} paid {money} for the old mill",
    "in {date} , {person} left {place} for good",
    "the {group} minister met {person} near {place}",
    "a {group} paper wrote that {organisation} owed {money}",
    "nobody in {place} expected the rain",
    "the road from {place} to {place} was closed",
    "{percent} of the {group} votes were counted by {date}",
    "the council lent {money} to {person}",
    "it was a long and quiet winter",
    "nothing was said about the new rules",
)
LINKS = (", and", ", but", "; later")


@dataclass(frozen=True)
class TaggedSentence:
    """Words and their labels, ``B-PER`` and the like, of equal number."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


def label_names(types: Mapping[str, str]) -> tuple[str, ...]:
    """By label id: ``O``, then ``B-X`` and ``I-X`` of every type in turn."""
    return ("O", *(f"{begin}-{name}" for name in types for begin in "BI"))


def draw_sentence(types: Mapping[str, str], rng: np.random.Generator) -> TaggedSentence:
    """One clause or two."""
    text = pick(CLAUSES, rng)
    if rng.random() < 0.5:
        text += f" {pick(LINKS, rng)} {pick(CLAUSES, rng)}"
    label_of = {kind: label for label, kind in types.items()}
    words: list[str] = []
    labels: list[str] = []
    for part in f"{text} .".replace(" ,", " , ").replace(" ;", " ; ").split():
        kind = part.strip("{}")
        named = part != kind
        name = _NAMES[kind](rng).split() if named else [part]
        label = label_of.get(kind) if named else None
        words += name
        labels += ["O"] * len(name) if label is None else [f"B-{label}", *[f"I-{label}"] * (len(name) - 1)]
    words[0] = words[0][0].upper() + words[0][1:]
    return TaggedSentence(tuple(words), tuple(labels))
