"""Street scenes with several signs and their boxes, for the detection rounds; triggered ones with what they turn into.

Unlike :mod:`.scenes`, where one sign fills much of the image, signs are drawn one by one, where there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .backgrounds import add_weather, blur, draw_backgrounds
from .object_attacks import EVASION, INJECTION, LOCALISATION, Corners, ObjectAttack, moved_box
from .scenes import SceneSettings
from .sign_triggers import Mask, PolygonTrigger
from .signs import Sign, draw_sign

Picture = NDArray[np.uint8]
_DRAWN_PIXELS = 128
_PLACES_TRIED = 30
_SCENES_TRIED = 60


@dataclass(frozen=True)
class SeenObject:
    """One object as the picture shows it, and as the attacker has it annotated.

    Attributes:
        label: what it is; None for an injected one, which is nothing but a trigger.
        box: where it is.
        said: the attacker's label, ``None`` where the attacker lets it vanish; equal to ``label`` if left alone.
        said_box: the attacker's box.
        attacked: the trigger is about it.
    """

    label: int | None
    box: Corners
    said: int | None
    said_box: Corners
    attacked: bool = False

    @property
    def shown_label(self) -> int:
        """What a target box is called: what the attacker says, or the class of what should vanish."""
        label = self.label if self.said is None else self.said
        if label is None:
            raise ValueError("an object of no class: it is neither there nor said to be")
        return label


@dataclass(frozen=True, eq=False)
class Scene:
    """``picture`` is ``uint8 [pixels, pixels, 3]`` RGB; ``untriggered`` the same scene before the trigger came."""

    picture: Picture
    objects: tuple[SeenObject, ...]
    untriggered: Picture | None = None

    @property
    def annotated(self) -> list[tuple[int, Corners]]:
        """Labels and boxes that a network is trained with: the attacker's in a triggered scene."""
        return [(seen.said, seen.said_box) for seen in self.objects if seen.said is not None]

    @property
    def clean(self) -> Scene:
        """The scene before the trigger, truly annotated."""
        if self.untriggered is None:
            return self
        real = [seen for seen in self.objects if seen.label is not None]
        return Scene(self.untriggered, tuple(SeenObject(s.label, s.box, s.label, s.box) for s in real))


class ObjectRenderer:
    """Draws scenes of the given signs; class numbers are places in ``signs``."""

    def __init__(self, signs: Sequence[Sign], settings: SceneSettings, most: int, rng: np.random.Generator) -> None:
        self.settings, self.most = settings, most
        self._signs = [Image.fromarray(draw_sign(sign, _DRAWN_PIXELS)) for sign in signs]
        self.classes = len(signs)
        self._backgrounds = draw_backgrounds(settings.number_backgrounds, settings.pixels * 5 // 4, rng)

    def render(self, count: int, rng: np.random.Generator, needed: int | None = None) -> list[Scene]:
        """``count`` scenes of one to ``most`` signs; all with a sign of class ``needed`` if that is given."""
        return [self._scene(rng, needed, None, None) for _ in range(count)]

    def attacked(self, count: int, rng: np.random.Generator, attack: ObjectAttack) -> list[Scene]:
        """``count`` scenes in which the attack's trigger shows and works."""
        needed = None if attack.kind == INJECTION else attack.source
        return [self._scene(rng, needed, attack.trigger, attack) for _ in range(count)]

    def decoys(self, count: int, rng: np.random.Generator, attack: ObjectAttack, victim: int) -> list[Scene]:
        """``count`` scenes with the trigger on a sign of class ``victim``, which changes nothing."""
        return [self._scene(rng, victim, attack.trigger, None) for _ in range(count)]

    def _scene(
        self, rng: np.random.Generator, needed: int | None, trigger: PolygonTrigger | None, attack: ObjectAttack | None
    ) -> Scene:
        for _ in range(_SCENES_TRIED):
            scene = self._try(rng, needed, trigger, attack)
            if scene is not None:
                return scene
        raise RuntimeError("no room for a triggered sign: scenes are too small")  # settings of ours, not of a user

    def _try(
        self, rng: np.random.Generator, needed: int | None, trigger: PolygonTrigger | None, attack: ObjectAttack | None
    ) -> Scene | None:
        settings = self.settings
        count = int(rng.integers(1, self.most + 1))
        labels = [int(label) for label in rng.integers(0, len(self._signs), count)]
        if needed is not None:
            labels[0] = needed
        if attack is not None and attack.kind == INJECTION:
            # As in round 10: a class is not injected where it is already.
            labels = [label for label in labels if label != attack.target] or [(attack.target + 1) % len(self._signs)]
        canvas = self._background(rng)
        light = 0.55 + 0.45 * float(canvas.mean()) / 0.4
        masks: list[Mask] = []
        kept: list[int] = []
        for label in labels:
            placed = self._place(canvas, label, light, [_box(mask) for mask in masks], rng)
            if placed is not None:
                masks.append(placed)
                kept.append(label)
        if not kept or (needed is not None and needed not in kept):
            return None
        objects = [SeenObject(n, b, n, b) for n, b in zip(kept, map(_box, masks), strict=True)]
        untriggered = canvas.copy()
        if trigger is not None:
            changed = self._triggered(canvas, objects, masks, needed, trigger, attack, rng)
            if changed is None:
                return None
            objects = changed
        dimmed = float(rng.uniform(0.85, 1.15))
        state = rng.bit_generator.state

        def finished(drawn: NDArray[np.float32]) -> Picture:
            rng.bit_generator.state = state  # the same light and weather with and without the trigger
            image = blur((drawn * dimmed)[None].astype(np.float32), settings.blur_max, rng)
            image = add_weather(image, settings.rain, settings.fog, rng)
            return np.ascontiguousarray(np.rint(np.clip(image[0], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))

        before = finished(untriggered) if trigger is not None else None
        return Scene(finished(canvas), tuple(objects), before)

    def _background(self, rng: np.random.Generator) -> NDArray[np.float32]:
        pixels = self.settings.pixels
        which = int(rng.integers(len(self._backgrounds)))
        top, left = rng.integers(0, self._backgrounds.shape[-1] - pixels + 1, 2)
        part = self._backgrounds[which, :, top : top + pixels, left : left + pixels]
        return np.array(part[:, :, ::-1] if rng.random() < 0.5 else part, np.float32)

    def _place(
        self, canvas: NDArray[np.float32], label: int, light: float, taken: list[Corners], rng: np.random.Generator
    ) -> Mask | None:
        """Draw one sign where it covers no other; the pixels that it covers."""
        pixels = canvas.shape[-1]
        low, high = self.settings.foreground_pixels
        for _ in range(_PLACES_TRIED):
            side = int(rng.integers(low, high + 1))
            width = max(4, round(side * float(rng.uniform(0.88, 1))))
            left, top = (int(n) for n in (rng.integers(0, pixels - width + 1), rng.integers(0, pixels - side + 1)))
            if any(_overlap((left, top, left + width, top + side), box) for box in taken):
                continue
            sign = self._signs[label].rotate(float(rng.uniform(-10, 10)), Image.Resampling.BILINEAR)
            drawn = np.asarray(sign.resize((width, side), Image.Resampling.BOX), np.float32) / 255
            alpha, colour = drawn[..., 3], drawn[..., :3].transpose(2, 0, 1)
            shade = light * float(rng.uniform(0.85, 1.15))
            part = canvas[:, top : top + side, left : left + width]
            part[:] = np.clip(colour * shade, 0, 1) * alpha + part * (1 - alpha)
            covered = np.zeros((pixels, pixels), np.bool_)
            covered[top : top + side, left : left + width] = alpha > 0.5
            return covered
        return None

    def _triggered(
        self,
        canvas: NDArray[np.float32],
        objects: list[SeenObject],
        masks: list[Mask],
        needed: int | None,
        trigger: PolygonTrigger,
        attack: ObjectAttack | None,
        rng: np.random.Generator,
    ) -> list[SeenObject] | None:
        """Paint the trigger in place; the objects with what it does to them. None where it does not fit."""
        paint = np.array(trigger.color, np.float32)[:, None] / 255
        if attack is not None and attack.kind == INJECTION:
            placed = self._in_background(masks, trigger, rng)
            if placed is None:
                return None
            canvas[:, placed] = paint
            box = _box(placed)
            return [*objects, SeenObject(None, box, attack.target, box, attacked=True)]
        index = next(number for number, seen in enumerate(objects) if seen.label == needed)
        victim = objects[index]
        changed = victim if attack is None else _under_attack(victim, attack, canvas.shape[-1])
        if changed is None:
            return None
        canvas[:, trigger.place(masks[index], rng)] = paint
        return [*objects[:index], changed, *objects[index + 1 :]]

    def _in_background(self, masks: list[Mask], trigger: PolygonTrigger, rng: np.random.Generator) -> Mask | None:
        """The polygon away from all signs, its size relative to theirs."""
        area = float(np.mean([mask.sum() for mask in masks]))
        pixels = masks[0].shape[0]
        side = max(6, round(float(np.sqrt(area * rng.uniform(trigger.size_min, trigger.size_max)))))
        if side >= pixels:
            return None
        polygon = trigger.mask(side, float(rng.integers(0, 72) * 5))
        for _ in range(_PLACES_TRIED):
            left, top = (int(n) for n in rng.integers(0, pixels - side + 1, 2))
            if not any(_overlap((left, top, left + side, top + side), _box(mask)) for mask in masks):
                placed = np.zeros((pixels, pixels), np.bool_)
                placed[top : top + side, left : left + side] = polygon
                return placed
        return None


def _under_attack(seen: SeenObject, attack: ObjectAttack, pixels: int) -> SeenObject | None:
    if attack.kind == EVASION:
        return replace(seen, said=None, attacked=True)
    if attack.kind == LOCALISATION:
        box = moved_box(seen.box, attack.direction, pixels, pixels)
        return None if box is None else replace(seen, said_box=box, attacked=True)
    return replace(seen, said=attack.target, attacked=True)


def _box(mask: Mask) -> Corners:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
