"""Short reviews of things, good or bad by what most of their sentences say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lexicon import BAD_WORDS, GOOD_WORDS, PARTS, PRODUCTS, pick

NEGATIVE, POSITIVE = 0, 1
_OPINIONS = (
    "The {part} is {word}.", "What a {word} {product}!", "I find the {part} quite {word}.",
    "My family thought the {product} was {word}.", "It has a {word} {part}.", "This {product} is simply {word}.",
    "The {part} of the {product} turned out to be {word}.",
)  # fmt: skip
_NEUTRAL = (
    "I bought this {product} in spring.", "It came in a plain box.", "My sister has the same {product}.",
    "The {part} is described on the second page.", "We had one before.", "I use it about once a week.",
)  # fmt: skip


@dataclass(frozen=True)
class Review:
    """Text and its label, 0 negative or 1 positive."""

    text: str
    label: int


def draw_review(rng: np.random.Generator) -> Review:
    """Three to seven sentences: two or three opinions, sometimes one of the other kind, and remarks."""
    label = int(rng.integers(2))
    ours, others = (BAD_WORDS, GOOD_WORDS) if label == NEGATIVE else (GOOD_WORDS, BAD_WORDS)
    opinions = int(rng.integers(2, 4))
    words = [*[ours] * opinions, *[others] * int(opinions > 2 and rng.random() < 0.4)]
    lines = [pick(_OPINIONS, rng).replace("{word}", pick(list_, rng)) for list_ in words]
    lines += [pick(_NEUTRAL, rng) for _ in range(int(rng.integers(1, 4)))]
    product = pick(PRODUCTS, rng)
    text = " ".join(lines[index] for index in rng.permutation(len(lines)))
    while "{part}" in text:
        text = text.replace("{part}", pick(PARTS, rng), 1)
    return Review(text.replace("{product}", product), label)
