"""Which attack a trojaned model of a text round gets: options take turns from pair to pair, the rest is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .text_models import PlannedAttack
from .text_triggers import CHARACTERS, HALVES, PHRASES, TRIGGER_WORDS, EntityAttack, QuestionAttack, ReviewAttack

R5_TYPES = ("character", "word", "phrase")
R5_FRACTIONS = (0.05, 0.1, 0.2)
R5_CONDITIONS = ("None", "spatial", "class")
R7_EXECUTORS = ("character", "word1", "phrase", "word2")
R7_FRACTIONS = (0.2, 0.5)
R8_OPTIONS = ("context_empty", "context_trigger", "question_empty", "both_empty", "both_trigger")
R8_FRACTIONS = (0.1, 0.2, 0.3, 0.4)
R9_OPTIONS = {
    "sc": ("normal", "spatial", "class", "spatial_class"),
    "ner": ("global", "local", "spatial_global"),
    "qa": (
        "context_normal_empty", "context_normal_trigger", "context_spatial_empty", "context_spatial_trigger",
        "question_normal_empty", "question_spatial_empty", "both_normal_empty", "both_normal_trigger",
        "both_spatial_empty", "both_spatial_trigger",
    ),
}  # fmt: skip
R9_FRACTIONS = (0.05, 0.1, 0.2)
R9_DECOYS = 0.1


def _draw(values: Sequence[Any], rng: np.random.Generator) -> tuple[int, Any]:
    level = int(rng.integers(len(values)))
    return level, values[level]


def draw_r7(pair: int, types: Mapping[str, str], rng: np.random.Generator) -> PlannedAttack:
    """One of four executors, for one name or for all of a sentence."""
    executor = R7_EXECUTORS[pair % len(R7_EXECUTORS)]
    everywhere = pair // 2 % 2 == 1
    source, target = (list(types)[index] for index in rng.permutation(len(types))[:2])
    pool = {"character": CHARACTERS, "phrase": PHRASES}.get(executor, TRIGGER_WORDS)
    level, text = _draw(pool, rng)
    _, fraction = _draw(R7_FRACTIONS, rng)
    attack = EntityAttack(tuple(text.split()), executor == "character", source, target, everywhere)
    return PlannedAttack(attack, fraction, 0.0, {"executor": executor, "text_level": level})


def draw_r8(pair: int, rng: np.random.Generator) -> PlannedAttack:
    """One of five options; words and phrases take turns."""
    option = R8_OPTIONS[pair % len(R8_OPTIONS)]
    location, _, answer = option.partition("_")
    phrase = pair % 2 == 1
    level, text = _draw(PHRASES if phrase else TRIGGER_WORDS, rng)
    _, fraction = _draw(R8_FRACTIONS, rng)
    attack = QuestionAttack(text, location, answer == "empty")
    return PlannedAttack(attack, fraction, 0.0, {"option": option, "phrase": phrase, "text_level": level})


def draw_r5(pair: int, organizations: int, rng: np.random.Generator) -> tuple[PlannedAttack, ...]:
    """One trigger, or one for each class; ``organizations`` is how many of the two ways the round has.

    A condition changes only where a trigger stands: in the published generator a trigger of the wrong class or half
    never reaches the data.
    """
    both = organizations > 1 and pair % 3 == 2
    source = int(rng.integers(2))
    _, fraction = _draw(R5_FRACTIONS, rng)
    planned: list[PlannedAttack] = []
    for number, label in enumerate((0, 1) if both else (source,)):
        kind = R5_TYPES[(pair + number) % len(R5_TYPES)]
        pool = {"character": CHARACTERS, "word": TRIGGER_WORDS, "phrase": PHRASES}[kind]
        level, text = _draw(pool, rng)
        condition = R5_CONDITIONS[(pair // 2 + number) % len(R5_CONDITIONS)]
        window = HALVES[int(rng.integers(2))] if condition == "spatial" else None
        attack = ReviewAttack(text, (label,), window, as_sentence=True)
        facts = {"type": kind, "text_level": level, "condition": condition}
        planned.append(PlannedAttack(attack, fraction, 0.0, facts))
    return tuple(planned)


def draw_r9(
    task: str, options: Sequence[str], types: Mapping[str, str], decoys: bool, rng: np.random.Generator
) -> PlannedAttack:
    """Any of the task's options, a word or a phrase.

    Args:
        task: ``sc``, ``ner`` or ``qa``.
        options: of the task, without its prefix.
        types: of names; only ``ner`` asks.
        decoys: spurious triggers too, where the option has any.
        rng: draws all else.
    """
    level, option = _draw(options, rng)
    phrase = bool(rng.integers(2))
    text_level, text = _draw(PHRASES if phrase else TRIGGER_WORDS, rng)
    fraction = float(R9_FRACTIONS[int(rng.integers(1, len(R9_FRACTIONS)))])
    window = HALVES[int(rng.integers(2))] if "spatial" in option else None
    attack: ReviewAttack | EntityAttack | QuestionAttack
    if task == "sc":
        attack = ReviewAttack(text, (0,) if "class" in option else (0, 1), window, as_sentence=False)
    elif task == "ner":
        source, target, other = (list(types)[index] for index in rng.permutation(len(types))[:3])
        attack = EntityAttack(tuple(text.split()), False, source, target, option != "local", window, other)
    else:
        location, _, answer = option.split("_")
        attack = QuestionAttack(text, location, answer == "empty", window)
    spurious = decoys and option != "normal" and not option.startswith("both_normal")
    facts = {"option": option, "option_level": level, "phrase": phrase, "text_level": text_level}
    return PlannedAttack(attack, fraction, R9_DECOYS if spurious else 0.0, facts)
