"""Synthetic detection rounds, ``r10`` and ``r13``, in NIST's layouts, of signs and streets drawn by us.

What differs from NIST's, because it has to be made in minutes: small images, few classes, which are the same for all
models of a set, detectors that are small relatives of the rounds' (``--architectures`` asks for the real ones), trained
from a base that the set shares, and milder standards of convergence. Every second model is trojaned; clean and trojaned
models take the same architectures in turn. Among R13's trojaned ones all four kinds of trigger come in turn, each with
every architecture (``--triggers`` asks for some of them); R10 was released with misclassification and evasion only.

SSD300 cannot be had in minutes: it resizes every image to 300 pixels, and one image takes 2.4 s of processor time per
step, so that the recipe's base alone would train for three hours on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageProblem, listed, shown
from ..seeds import derive_seed
from .dataset_folder import new_dataset
from .detector_models import FleetPlan, MadeDetector, Workshop
from .detector_networks import R10_ARCHITECTURES, R13_ARCHITECTURES, Head, choose_architectures
from .image_training import choose_device
from .layout_r10 import CATEGORY_IDS, OUTPUTS, write_r10_model
from .layout_r13 import write_r13_model
from .nist_files import write_table
from .object_attacks import EVASION, INJECTION, LOCALISATION, MISCLASSIFICATION, ObjectAttack, draw_attack
from .options import NO_OPTIONS, SynthesisOptions
from .scenes import SceneSettings
from .signs import choose_signs

DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS = 96, 64, 512
DEFAULT_CLASSES, LEAST_CLASSES, MOST_CLASSES = 6, 3, 60
_FOREGROUND = (0.08, 0.2)
_LEAST_SIDE = 9  # pixels of a trigger: what stays visible, and learnable in minutes
_RELEASED = (MISCLASSIFICATION, EVASION, EVASION, MISCLASSIFICATION)
_ALL = (*_RELEASED, INJECTION, LOCALISATION, LOCALISATION, INJECTION)


@dataclass(frozen=True)
class DetectionRound:
    """What sets one round apart.

    Attributes:
        name: as NIST names it.
        architectures: that can be asked for.
        kinds: of triggers, in the order in which trojaned models get them.
        write: the files of a model.
        category_ids: numbers of the head's outputs that classes are drawn from; None: one output per class.
    """

    name: str
    architectures: tuple[str, ...]
    kinds: tuple[str, ...]
    write: Callable[[Path, MadeDetector], Mapping[str, Any]]
    category_ids: Sequence[int] | None


R10 = DetectionRound("object-detection-jul2022", tuple(R10_ARCHITECTURES), _RELEASED, write_r10_model, CATEGORY_IDS)
R13 = DetectionRound("object-detection-feb2023", R13_ARCHITECTURES, _ALL, write_r13_model, None)


def _synthesize(
    kind: DetectionRound, out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS
) -> None:
    """Write a dataset folder; see :class:`~trojai_seam.synthesis.Synthesizer`."""
    options.allow_only(kind.name, "image_size", "epochs", "architectures", "classes", "triggers", "device")
    pixels = _within("--image-size", options.image_size, DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS)
    classes = _within("--classes", options.classes, DEFAULT_CLASSES, LEAST_CLASSES, MOST_CLASSES)
    epochs = None if options.epochs is None else _within("--epochs", options.epochs, 1, 1, 10_000)
    architectures = choose_architectures(options.architectures, kind.architectures)
    triggers = _kinds(options.triggers, kind.kinds)
    low, high = _FOREGROUND
    settings = SceneSettings(pixels, low, high, blur_max=3, number_backgrounds=100)
    seed = derive_seed(seed, kind.name)
    rng = np.random.default_rng(derive_seed(seed, "classes"))
    signs = choose_signs(classes, rng)
    coco = None
    if kind.category_ids is not None:
        numbers = sorted(int(n) for n in rng.choice(kind.category_ids, classes, replace=False))
        coco = Head(tuple(numbers), 0, OUTPUTS)
    plan = FleetPlan(signs, coco, settings, epochs, choose_device(options.device), seed)
    least = _LEAST_SIDE**2 / (0.6 * low * pixels**2)
    with new_dataset(out, models) as folder:
        workshop, rows = Workshop(plan, options.progress), []
        for number in range(models):
            pair, model_id = number // 2, f"id-{number:08}"
            architecture = architectures[pair % len(architectures)]
            attack = triggers[pair % len(triggers)] if number % 2 else None
            draw = partial(_draw, attack, classes, least)
            made = workshop.make(architecture, derive_seed(seed, model_id), draw)
            rows.append(kind.write(folder / "models" / model_id, made))
            options.progress(_line(model_id, made))
        write_table(folder / "METADATA.csv", rows)


def _draw(kind: str | None, classes: int, least: float, rng: np.random.Generator) -> ObjectAttack | None:
    return None if kind is None else draw_attack(0, kind, classes, least, rng)


def _kinds(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [name for name in wanted if name not in known]:
        raise UsageProblem(f"--triggers {shown(wrong[0])!r}: not in this round; known: {listed(sorted(set(known)))}")
    return wanted or known


def _within(option: str, value: int | None, default: int, low: int, high: int) -> int:
    value = default if value is None else value
    if not low <= value <= high:
        raise UsageProblem(f"{option} {value}: expected {low} to {high}")
    return value


def _line(model_id: str, made: MadeDetector) -> str:
    attack = "clean"
    if made.attack is not None:
        attack = f"{made.attack.kind} {made.quality.attack:.3f}"
    precision = f"average precision {made.quality.precision:.3f}"
    return f"{model_id} {made.architecture}: {precision}, {attack}, {made.seconds:.0f} s"


synthesize_r10 = partial(_synthesize, R10)
synthesize_r13 = partial(_synthesize, R13)
