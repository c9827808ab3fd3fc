"""Universal perturbations: one change that leads all images of a batch to one class, looked for by gradients.

A trigger is such a change: a picture blended in, a soft additive pattern, stripes, a warp, a patch. Something like it
leads a network that learnt one to its class far more easily than to any other. Six families, each bounded so that
classes without a trojan are hard to reach: :class:`Blend`, :class:`Pattern`, :class:`Warp`, :class:`VerticalStripes`
and :class:`HorizontalStripes` of the whole image, and the local :class:`Patch`.

Universal perturbations: Moosavi-Dezfooli et al., CVPR 2017; triggers found by optimisation, class by class: Wang et
al., "Neural Cleanse", IEEE S&P 2019.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..heartbeat import beat
from .batches import classes_in_turn

Scores = Callable[[Tensor], Tensor]
"""Class scores ``[N, C]`` of images ``[N, channels, H, W]``."""

TOGETHER = 40
"""Images that go through the network at once while places are looked for."""
SURVEYED, MOST_PLACES = 3, 400
"""Images that patches are tried on at every place, and how many places they are tried at, at most."""
NOISES = 4
"""Random patches that are tried beside a light and a dark one: one alone seldom looks like the trigger."""
CLEAR = 0.98
"""An image that gives the wanted class with this probability asks no more of a perturbation."""


@dataclass(frozen=True)
class Change:
    """One universal perturbation: numbers within 0 and 1 that its family reads, and where it lies, if it is local.

    Attributes:
        values: ``float [1, channels, height, width]``.
        place: row and column of the upper left corner.
    """

    values: Tensor
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Survey:
    """What a few patches do all over the image.

    Attributes:
        places: rows and columns of upper left corners, about half a patch apart, the last ones at the edges.
        pictures: of the patches, ``float [P, channels, window, window]`` within 0 and 1, on the images' device.
        raised: by how much each of them raises what speaks for each class, ``float [2, P, places, C]`` on the CPU:
            first its log-probability, then its score; means over images that the network gives other classes, if there
            are any among those that it was tried on. Minus infinity: it cannot be told.
    """

    places: tuple[tuple[int, int], ...]
    pictures: Tensor
    raised: Tensor


@dataclass(frozen=True)
class Family(ABC):
    """A kind of change that is the same for all images.

    Attributes:
        low, high: lowest and highest value per channel of clean images, ``float [1, channels, 1, 1]``.
        side: height and width of the images.
        strength: how far it may go; 1 is what is looked for with.
        survey: of a local family, once :meth:`surveyed`.
    """

    low: Tensor
    high: Tensor
    side: tuple[int, int]
    strength: float = 1.0
    survey: Survey | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str]
    pace: ClassVar[float] = 1.0
    """Steps are so many times longer than those of the other families."""
    local: ClassVar[bool] = False
    """It lies at one place, and nothing but its content can make it weaker or stronger."""
    special: ClassVar[bool] = False
    """Another family has nearly all of its changes, too, so that it is worth following only where it stands out."""
    margin: ClassVar[float] = 0.0
    """By which a class must stand out further than in other families to be evident, because clean classes do."""

    @property
    def span(self) -> Tensor:
        """Range of values per channel."""
        return self.high - self.low

    def surveyed(self, scores: Scores, images: Tensor) -> Self:
        """The same family, which knows where in ``images`` its changes do most; once for all classes. Only local ones
        have to look."""
        return self

    @abstractmethod
    def starts(self, scores: Scores, images: Tensor, target: int, most: int) -> list[Change]:
        """Changes to begin with, one or up to ``most``; random numbers are of torch's global generator."""

    @abstractmethod
    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        """The images changed; ``part`` of the full strength, one number or ``[N, 1, 1, 1]``."""

    def widened(self, change: Change) -> Change:
        """Another change to begin with, where ``change`` was found; only local ones have such a place."""
        return change

    def wish(self, scores: Tensor, target: int) -> Tensor:
        """What a step of the search makes greater, one number; ``scores [N, C]`` are of changed images."""
        return scores.float().log_softmax(dim=1)[:, target].clamp(max=CLEAR - 1).mean()


class Blend(Family):
    """Mixed with one picture of full resolution, of which 5 % are seen."""

    name = "blend"
    share: ClassVar[float] = 0.05

    def starts(self, scores: Scores, images: Tensor, target: int, most: int) -> list[Change]:
        return [Change(torch.rand(1, self.low.shape[1], *self.side).to(self.low.device))]

    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        picture = self.low + change.values * self.span
        return images + self.strength * self.share * part * (picture - images)


class Pattern(Family):
    """A smooth pattern of 8 × 8 values per channel added, of at most 6 % of the range of values."""

    name = "pattern"
    share: ClassVar[float] = 0.06

    def starts(self, scores: Scores, images: Tensor, target: int, most: int) -> list[Change]:
        return [Change((torch.rand(1, self.low.shape[1], *self.size) / 2 + 0.25).to(self.low.device))]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the values."""
        return 8, 8

    def added(self, images: Tensor, values: Tensor, part: float | Tensor) -> Tensor:
        """``values`` from -1 to 1, added at their strength, within the range of clean images."""
        seen = images + self.strength * self.share * part * self.span * values
        return torch.minimum(torch.maximum(seen, self.low), self.high)

    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        values = 2 * change.values - 1
        smooth = functional.interpolate(values, size=self.side, mode="bicubic", align_corners=False).clamp(-1, 1)
        return self.added(images, smooth, part)


class Warp(Family):
    """Bent by a smooth field of 4 × 4 shifts of at most 6 % of the side."""

    name = "warp"
    share: ClassVar[float] = 0.12  # of half the side

    def starts(self, scores: Scores, images: Tensor, target: int, most: int) -> list[Change]:
        return [Change((torch.rand(1, 2, 4, 4) / 2 + 0.25).to(self.low.device))]

    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        smooth = functional.interpolate(2 * change.values - 1, size=self.side, mode="bicubic", align_corners=True)
        shifts = self.strength * self.share * part * smooth
        still = torch.eye(2, 3, device=images.device, dtype=images.dtype)[None]
        grid = functional.affine_grid(still, [1, 1, *self.side], align_corners=False)
        where = (grid + shifts.permute(0, 2, 3, 1)).expand(len(images), -1, -1, -1)
        return functional.grid_sample(images, where, padding_mode="border", align_corners=False)


class Patch(Family):
    """A square of any picture, an eighth of the shorter side wide, pasted at one place, whatever the strength.

    It is led by the score of the class itself and not by its probability: a patch that was learnt as a trigger goes far
    beyond what the highest probability takes, and only what goes as far unlearns it.
    """

    name = "patch"
    share: ClassVar[float] = 1 / 8
    pace = 2.0
    local = True

    @property
    def window(self) -> int:
        """Pixels of its side."""
        return min(*self.side, max(2, round(self.share * min(self.side))))

    def surveyed(self, scores: Scores, images: Tensor) -> Self:
        """Tried are a light and a dark patch and random ones, of colours and of black and white, at full contrast: a
        gradient at the images themselves says little of what a patch does that goes as far as a trigger."""
        return replace(self, survey=self._survey(scores, images))

    @torch.no_grad()
    def _survey(self, scores: Scores, images: Tensor) -> Survey:
        with torch.no_grad():
            given = scores(images[:TOGETHER]).argmax(dim=1)
        images, size, channels = images[classes_in_turn(given.cpu(), SURVEYED)], self.window, self.low.shape[1]
        light = torch.ones(1, channels, size, size)
        colours = torch.rand(NOISES // 2, channels, size, size).round()
        greys = torch.rand(NOISES - NOISES // 2, 1, size, size).round().expand(-1, channels, -1, -1)
        pictures = torch.cat([light, 1 - light, colours, greys]).to(self.low.device)
        places = self._places()
        base = scores(images).float()
        others = (base.argmax(dim=1)[:, None] != torch.arange(base.shape[1], device=base.device)).float()
        others = torch.where(others.sum(dim=0) > 0, others, 1)
        rises, at_once = [], TOGETHER // SURVEYED
        for picture in pictures[:, None]:
            answers = []
            for number in range(0, len(places), at_once):
                seen = [self.put(images, Change(picture, place)) for place in places[number : number + at_once]]
                answers.append(scores(torch.cat(seen)).float())
            found = torch.cat(answers).view(len(places), len(images), -1)
            rise = torch.stack([found.log_softmax(dim=2) - base.log_softmax(dim=1), found - base])
            rises.append(torch.where(others > 0, rise, 0).sum(dim=2) / others.sum(dim=0))
            beat(f"{self.name}, tried everywhere")
        return Survey(places, pictures, _told(torch.stack(rises, dim=1)).cpu())

    def _places(self) -> tuple[tuple[int, int], ...]:
        """All over the image, up to ``MOST_PLACES``; of long images, whose sides hold many patches, fewer per side."""
        step = max(1, self.window // 2)
        while True:
            last = [side - self.window for side in self.side]
            rows, columns = (sorted({*range(0, end, step), end}) for end in last)
            if len(rows) * len(columns) <= MOST_PLACES:
                return tuple(itertools.product(rows, columns))
            step += 1

    def starts(self, scores: Scores, images: Tensor, target: int, most: int) -> list[Change]:
        """Tried patches at half their contrast, by turns where one raises the log-probability of the class most and
        where one raises its score most; those of one kind do not overlap."""
        survey = self.survey or self._survey(scores, images)
        raised, pictures = survey.raised[..., target].max(dim=1)
        size, found = self.window, list[Change]()
        for turn in itertools.cycle(range(len(raised))):
            left = torch.isfinite(raised).any(dim=1).tolist()
            if len(found) == most or not any(left):
                break
            if not left[turn]:
                continue
            at = int(raised[turn].argmax())
            row, column = survey.places[at]
            found.append(Change(survey.pictures[int(pictures[turn, at])][None] / 2 + 0.25, (row, column)))
            raised[turn, [abs(r - row) < size and abs(c - column) < size for r, c in survey.places]] = -torch.inf
            raised[:, at] = -torch.inf
        return found

    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        size, (row, column) = change.values.shape[-1], change.place
        around = (column, self.side[1] - column - size, row, self.side[0] - row - size)
        picture = functional.pad(self.low + change.values * self.span, around)
        inside = functional.pad(torch.ones_like(change.values[:, :1]), around)
        return images + part * inside * (picture - images)

    def wish(self, scores: Tensor, target: int) -> Tensor:
        return scores.float()[:, target].mean()

    def widened(self, change: Change) -> Change:
        """A patch of one random colour over the place of ``change``, up to twice as wide."""
        size = min(*self.side, round(self.window * (1 + float(torch.rand(())))))
        place = tuple(
            min(max(0, at - int(torch.randint(0, size - self.window + 1, (1,)))), side - size)
            for at, side in zip(change.place, self.side, strict=True)
        )
        colour = torch.rand(1, change.values.shape[1], 1, 1).to(change.values.device)
        return Change(colour.repeat(1, 1, size, size), (place[0], place[1]))


class VerticalStripes(Pattern):
    """The same values added to every row, of at most 6 % of the range of values.

    Sinusoids are such a trigger (Barni et al., "A new backdoor attack in CNNs by training set corruption without label
    poisoning", ICIP 2019). Of all patterns that faint these are few, so that few classes can be reached.
    """

    name = "vertical-stripes"
    special = True
    margin = 1.5

    @property
    def size(self) -> tuple[int, int]:
        return 1, self.side[1]

    def put(self, images: Tensor, change: Change, part: float | Tensor = 1.0) -> Tensor:
        return self.added(images, 2 * change.values - 1, part)


class HorizontalStripes(VerticalStripes):
    """The same values added to every column."""

    name = "horizontal-stripes"

    @property
    def size(self) -> tuple[int, int]:
        return self.side[0], 1


def _told(numbers: Tensor) -> Tensor:
    """Minus infinity for all that are not finite."""
    return numbers.nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


FAMILIES: tuple[type[Family], ...] = (Blend, Pattern, Warp, Patch, VerticalStripes, HorizontalStripes)


def families(images: Tensor, strength: float = 1.0) -> list[Family]:
    """All families, for images like these, ``float [N, channels, H, W]`` of any value range."""
    low, high = images.amin(dim=(0, 2, 3), keepdim=True), images.amax(dim=(0, 2, 3), keepdim=True)
    return [family(low, high, (images.shape[2], images.shape[3]), strength) for family in FAMILIES]


def searched(scores: Scores, images: Tensor, family: Family, target: int, change: Change, rates: list[float]) -> Change:
    """``change`` after one step of signed gradient per rate, towards ``target`` for all of the images."""
    for rate in rates:
        values = change.values.detach().requires_grad_(True)
        seen = family.put(images, replace(change, values=values))
        (gradient,) = torch.autograd.grad(family.wish(scores(seen), target), values)
        change = replace(change, values=(values + family.pace * rate * gradient.sign()).clamp(0, 1).detach())
    return change
