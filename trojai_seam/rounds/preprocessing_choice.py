"""Finding out how a network's images were prepared, where NIST's page, example and generator disagree.

Only clean examples are looked at. Where logits ship, they say how NIST fed the images, and no label is needed. Where
the accuracy has to decide, it is taken on half of the images of every class, and these are never held out afterwards
(``decided_on``): what measures has chosen nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .adapters import Outputs
from .config import RoundConfig
from .image_files import Picture
from .image_preprocessing import Preprocessing, candidates
from .model_directory import ModelDirectory
from .shipped_logits import read_logits

TOLERANCE = 0.02  # NIST computed logits in half precision
MOST_ASKED = 200


class Choice(NamedTuple):
    """What was taken, why (None where there was nothing to choose), and the examples whose labels decided."""

    preprocessing: Preprocessing
    evidence: str | None
    decided_on: tuple[int, ...] = ()


def choose_preprocessing(
    directory: ModelDirectory,
    round_config: RoundConfig,
    images: Sequence[Picture],
    names: Sequence[str],
    labels: Sequence[int],
    num_classes: int,
    outputs: Outputs | None,
    channels: int = 3,
) -> Choice:
    """The candidate that reproduces the shipped logits; failing those, the one that is most accurate on ``deciders``.

    Logits are reproduced if the median over examples of the largest error, relative to the largest logit, is at most
    ``TOLERANCE``. Equals are settled by the order of the candidates in the round's config.

    Args:
        directory: the model directory, for the logits.
        round_config: the round, for the candidates.
        images: clean examples, cropped.
        names: their file names.
        labels: their true classes.
        num_classes: outputs of the network.
        outputs: asks the network; without it the first candidate is taken.
        channels: of the images that the network takes.
    """
    ways = candidates(directory, round_config, channels)
    if len(ways) == 1 or outputs is None:
        return Choice(ways[0], None)

    def answers(asked: Sequence[int]) -> dict[Preprocessing, NDArray[np.float64]]:
        some = [images[i] for i in asked]
        return {way: outputs({"x": way.apply(some)}).numpy().astype(np.float64) for way in ways}

    told = ""
    shipped = _shipped(directory, round_config, num_classes)
    known = _spread([i for i, name in enumerate(names) if name in shipped])
    if known:
        expected = np.stack([shipped[names[i]] for i in known])
        errors = {way: _error(found, expected) for way, found in answers(known).items()}
        told = f"error against {len(known)} shipped logits: {_listing(errors)}"
        best = min(ways, key=errors.__getitem__)
        if errors[best] <= TOLERANCE:
            return Choice(best, told)
    asked = _spread(deciders(labels))
    truth = np.array(labels)[asked]
    right = {way: float((found.argmax(1) == truth).mean()) for way, found in answers(asked).items()}
    best = max(ways, key=right.__getitem__)
    accuracies = f"accuracy on {len(asked)} clean examples, never held out: {_listing(right)}"
    return Choice(best, f"{told} (none fits); {accuracies}" if told else accuracies, tuple(asked))


def deciders(labels: Sequence[int]) -> list[int]:
    """The first half of every class (at least one of it), as many as no split needs to hold out."""
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    return sorted(place for members in places.values() for place in members[: max(1, len(members) // 2)])


def _spread(places: Sequence[int]) -> list[int]:
    """At most ``MOST_ASKED`` of them, evenly."""
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), MOST_ASKED)).round().astype(int))
    return [places[i] for i in chosen]


def _shipped(
    directory: ModelDirectory, round_config: RoundConfig, num_classes: int
) -> Mapping[str, NDArray[np.float64]]:
    path = directory.first_file(round_config.preprocessing.get("logits", ()))
    return {} if path is None else read_logits(path, num_classes)


def _error(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    scale = np.abs(expected).max(axis=1).clip(min=1e-12)
    relative = np.abs(found - expected).max(axis=1) / scale
    return float(np.median(np.nan_to_num(relative, nan=np.inf)))


def _listing(values: Mapping[Preprocessing, float]) -> str:
    return ", ".join(f"{way.channel_order} {way.scaling} {value:.4g}" for way, value in values.items())
