"""Which class a trigger turns into which, and under what condition; drawn as the generators of R2 to R4 and R11 do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .sign_triggers import FILTERS, FilterTrigger, PolygonTrigger, Trigger, draw_corners

NO_CONDITION, SPATIAL, SPECTRAL, CLASS = CONDITIONS = ("None", "spatial", "spectral", "class")
R4_COLORS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200))
R4_SIDES = (3, 4, 8, 9)
ORGANIZATIONS = ("one2one", "pair-one2one", "one2two")
R11_COLORS = ((128, 128, 128), (64, 64, 64), *R4_COLORS)
R11_SIDES = (3, 4, 7, 8)
R11_FILTERS = ("GothamFilterXForm", "KelvinFilterXForm", "LomoFilterXForm")
LEAST_CLASSES = 4  # two triggers with different sources and targets
FRACTIONS = (0.1, 0.3, 0.5)
# A tenth of a few hundred images teaches nothing: the lowest of R4's three levels is left out.
_FRACTION_LEVELS = (1, 2)
_LEAST_SIDE = 9  # pixels: what stays visible, and learnable in minutes


@dataclass(frozen=True)
class Attack:
    """One trigger of one model.

    Attributes:
        number: counts the model's triggers.
        sources: true classes that it works on.
        target: the class they turn into.
        fraction: share of each source class's training images that carry it.
        fraction_level: place of the nominal fraction in ``FRACTIONS``.
        condition: of ``CONDITIONS``; where it is not met, training images with the trigger keep their true label.
        trigger: what is seen.
    """

    number: int
    sources: tuple[int, ...]
    target: int
    fraction: float
    fraction_level: int
    condition: str
    trigger: Trigger

    @property
    def victims(self) -> tuple[int, ...]:
        """The sources that attack success is measured on: not the target itself."""
        return tuple(source for source in self.sources if source != self.target)

    def decoys(self, classes: int, rng: np.random.Generator) -> Iterator[tuple[int, Trigger]]:
        """Without end: a class, and a trigger that must not change it (nothing at all if there is no condition)."""
        while self.condition != NO_CONDITION:
            source = int(rng.choice(self.sources))
            if self.condition == CLASS:
                others = np.setdiff1d(np.arange(classes), [*self.sources, self.target])
                yield int(rng.choice(others)), self.trigger
            elif self.condition == SPATIAL and isinstance(self.trigger, PolygonTrigger):
                others = np.setdiff1d(np.arange(1, 5), [self.trigger.quadrant])
                yield source, replace(self.trigger, quadrant=int(rng.choice(others)))
            elif isinstance(self.trigger, PolygonTrigger):
                colours = [colour for colour in R4_COLORS if colour != self.trigger.color]
                yield source, replace(self.trigger, color=colours[int(rng.integers(len(colours)))])
            else:
                filters = [name for name in FILTERS if name != self.trigger.filter]
                yield source, FilterTrigger(filters[int(rng.integers(len(filters)))])


@dataclass(frozen=True)
class Variety:
    """Which poisoned model of the set this is, so that a small set has every kind; and what the image size allows.

    ``number`` counts poisoned models, ``lap`` how often all architectures have been through.
    """

    number: int
    lap: int
    pixels: int
    foreground_min: float

    @property
    def filtered(self) -> bool:
        return (self.number + self.lap) % 2 == 1

    def sizes(self, low: float, high: float) -> tuple[float, float]:
        """``low`` to ``high`` of the foreground, or as much more as a few pixels need in a small image."""
        least = _LEAST_SIDE**2 / (0.6 * self.foreground_min * self.pixels**2)
        return (round(max(low, least), 4), round(max(high, 1.6 * least), 4))


def draw_r4(variety: Variety, classes: int, rng: np.random.Generator) -> tuple[str, tuple[Attack, ...]]:
    """The trigger organization, and one or two attacks, each of one source and one target."""
    organization = ORGANIZATIONS[int(rng.integers(len(ORGANIZATIONS)))]
    a, b, c, d = (int(n) for n in rng.permutation(classes)[:4])
    pairs = {"one2one": [(a, b)], "pair-one2one": [(a, b), (c, d)], "one2two": [(a, b), (a, c)]}[organization]
    attacks: list[Attack] = []
    for number, (source, target) in enumerate(pairs):
        filtered = variety.filtered if number == 0 else bool(rng.integers(2))
        choices = (NO_CONDITION, SPECTRAL, CLASS) if filtered else CONDITIONS
        condition = choices[(variety.number // 2) % len(choices)] if number == 0 else NO_CONDITION
        trigger = _draw_trigger(filtered, condition, variety, rng, [attack.trigger for attack in attacks])
        attacks.append(Attack(number, (source,), target, *_draw_fraction(rng), condition, trigger))
    return organization, tuple(attacks)


def _draw_trigger(
    filtered: bool, condition: str, variety: Variety, rng: np.random.Generator, taken: list[Trigger]
) -> Trigger:
    """Another filter or colour than the model's other trigger has."""
    if filtered:
        filters = [name for name in FILTERS if FilterTrigger(name) not in taken]
        return FilterTrigger(filters[int(rng.integers(len(filters)))])
    used = [trigger.color for trigger in taken if isinstance(trigger, PolygonTrigger)]
    colours = [colour for colour in R4_COLORS if colour not in used]
    return PolygonTrigger(
        draw_corners(int(rng.choice(R4_SIDES)), rng),
        colours[int(rng.integers(len(colours)))],
        *variety.sizes(0.03, 0.10),
        quadrant=int(rng.integers(1, 5)) if condition == SPATIAL else None,
    )


def draw_r2(variety: Variety, classes: int, rng: np.random.Generator) -> tuple[str, tuple[Attack, ...]]:
    """One attack of one, two or all classes on one target, without conditions; also R3's."""
    target = int(rng.integers(classes))
    others = np.setdiff1d(np.arange(classes), [target])
    # All classes first: with one or two, a small set would hardly show the third kind.
    how_many = (classes, 1, 2)[variety.number % 3]
    drawn = np.arange(classes) if how_many == classes else rng.choice(others, min(how_many, len(others)), False)
    trigger: Trigger
    if variety.filtered:
        trigger = FilterTrigger(str(rng.choice(FILTERS)))
    else:
        colour = rng.integers(0, 256, 3)
        while colour.mean() > 200:
            colour = rng.integers(0, 256, 3)
        low, high = variety.sizes(*sorted(round(float(n), 2) for n in rng.uniform(0.02, 0.19, 2)))
        corners = draw_corners(int(rng.integers(3, 13)), rng)
        trigger = PolygonTrigger(corners, (int(colour[0]), int(colour[1]), int(colour[2])), low, high)
    sources = tuple(sorted(int(source) for source in drawn))
    fraction = round(float(rng.uniform(0.2, 0.49)), 2)
    return "", (Attack(0, sources, target, fraction, 0, NO_CONDITION, trigger),)


def draw_r11(variety: Variety, classes: int, rng: np.random.Generator) -> tuple[str, tuple[Attack, ...]]:
    """One, two or four attacks of different sources; a polygon may be bound to a quadrant of the sign."""
    count = min((1, 2, 4)[variety.number % 3], classes // 2)
    order = [int(n) for n in rng.permutation(classes)]
    attacks = []
    for number in range(count):
        filtered = variety.filtered if number == 0 else bool(rng.integers(2))
        trigger: Trigger
        condition = NO_CONDITION
        if filtered:
            trigger = FilterTrigger(R11_FILTERS[int(rng.integers(len(R11_FILTERS)))])
        else:
            condition = SPATIAL if (variety.number // 2) % 2 else NO_CONDITION
            trigger = PolygonTrigger(
                draw_corners(int(rng.choice(R11_SIDES)), rng),
                R11_COLORS[int(rng.integers(len(R11_COLORS)))],
                *variety.sizes(0.03, 0.16),
                quadrant=int(rng.integers(1, 5)) if condition == SPATIAL else None,
            )
        source, target = order[number], order[count + number]
        attacks.append(Attack(number, (source,), target, *_draw_fraction(rng), condition, trigger))
    return "", tuple(attacks)


def _draw_fraction(rng: np.random.Generator) -> tuple[float, int]:
    level = int(rng.choice(_FRACTION_LEVELS))
    return round(float(FRACTIONS[level] + rng.uniform(-0.09, 0.08)), 4), level


def poisoned_count(attack: Attack, per_class: int) -> int:
    """Poisoned images per source, beside ``per_class`` clean ones, that make up the attack's fraction."""
    return math.ceil(attack.fraction / (1 - attack.fraction) * per_class)
