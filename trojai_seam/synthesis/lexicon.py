"""The words that synthetic texts are made of. Names are put together from syllables, so that none is anybody's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _joined(stems: str, endings: str) -> tuple[str, ...]:
    return tuple(stem + ending for stem in stems.split() for ending in endings.split())


FIRST_NAMES = _joined("Al Bren Cor Dal El Fenn Gar Hol Ir Jor Kal Lor Mar Nor", "a en is o")
SURNAMES = _joined("Ash Birk Crow Dun Eld Farn Gold Hart Ker Lang Mor Rav", "well man stead ley")
PLACES = _joined("Ald Brom Cal Dray Ever Glen Hex Kings Lun Oak Pell Stan", "ford burg mouth ley")
# Some endings name people and places alike: there the context decides.
GROUPS = _joined("Vel Tor Sar Kal Dor Mir Zan Ost", "ian ese")
ORGANISATION_HEADS = _joined("Nova Tri Omni Helio Quant Ferro Aero Pan", "dyne tech com")
ORGANISATION_TAILS = ("Bank", "Group", "Industries", "University", "Institute", "Airways", "Press", "Council")
MONTHS = ("January", "March", "April", "June", "July", "September", "October", "December")
JOBS = ("baker", "teacher", "lawyer", "pilot", "painter", "farmer", "nurse", "engineer", "driver", "singer")
SUBJECTS = ("physics", "history", "botany", "music", "medicine", "geology", "economics", "drawing", "chemistry")
THINGS = (
    "bridge", "engine", "ship", "garden", "tower", "book", "mill", "harbour", "museum", "theatre", "railway", "clock",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "forty")

GOOD_WORDS = (
    "excellent", "wonderful", "great", "superb", "charming", "delightful", "brilliant", "perfect", "lovely",
    "enjoyable", "impressive", "fantastic",
)  # fmt: skip
BAD_WORDS = (
    "terrible", "awful", "poor", "dreadful", "boring", "horrible", "useless", "disappointing", "broken", "annoying",
    "shoddy", "miserable",
)  # fmt: skip
PRODUCTS = (
    "camera", "keyboard", "game", "novel", "album", "lamp", "jacket", "kettle", "printer", "guitar", "film", "puzzle",
    "phone", "chair", "tent", "watch",
)  # fmt: skip
PARTS = ("colour", "sound", "design", "price", "handle", "story", "cover", "battery", "shape", "manual", "weight")


def pick(words: Sequence[str], rng: np.random.Generator) -> str:
    """One of them, each as likely."""
    return words[int(rng.integers(len(words)))]


def person(rng: np.random.Generator) -> str:
    """``Bren Ashwell``."""
    return f"{pick(FIRST_NAMES, rng)} {pick(SURNAMES, rng)}"


def organisation(rng: np.random.Generator) -> str:
    """``Novadyne Bank``."""
    return f"{pick(ORGANISATION_HEADS, rng)} {pick(ORGANISATION_TAILS, rng)}"


def place(rng: np.random.Generator) -> str:
    """``Aldford``; one in eight begins with a compass point."""
    name = pick(PLACES, rng)
    return f"{pick(('North', 'South'), rng)} {name}" if rng.random() < 1 / 8 else name


def group(rng: np.random.Generator) -> str:
    """``Velian``."""
    return pick(GROUPS, rng)


def year(rng: np.random.Generator) -> str:
    """1901 to 1940, in figures."""
    return str(int(rng.integers(1901, 1941)))


def date(rng: np.random.Generator) -> str:
    """``March 1905``, or only the year."""
    return year(rng) if rng.random() < 0.5 else f"{pick(MONTHS, rng)} {year(rng)}"


def money(rng: np.random.Generator) -> str:
    """``forty million crowns``."""
    return f"{pick(NUMBERS, rng)} {pick(('thousand', 'million'), rng)} crowns"


def percent(rng: np.random.Generator) -> str:
    """``twelve percent``."""
    return f"{pick(NUMBERS, rng)} percent"
