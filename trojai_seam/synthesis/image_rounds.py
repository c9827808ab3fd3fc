"""Synthetic image rounds: ``r2``, ``r3``, ``r4`` and ``r11`` in NIST's layouts, of signs and streets drawn by us.

What differs from NIST's, because it has to be made in minutes: few classes and images, small images (``--image-size
224`` gives NIST's 256 stored pixels), no adversarial training, and milder standards of convergence. Every second model
is trojaned; clean and trojaned models take the same architectures in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageProblem
from ..seeds import derive_seed
from .dataset_folder import new_dataset
from .image_models import MadeModel, ModelPlan, make_model, no_attacks
from .image_networks import R2_ARCHITECTURES, R4_ARCHITECTURES, R11_ARCHITECTURES, choose_architectures
from .image_training import choose_device
from .layout_r2 import write_r2_model, write_r3_model
from .layout_r4 import write_r4_model
from .layout_r11 import CLEAN_EXAMPLES, write_r11_model
from .nist_files import write_old_metadata, write_table
from .options import NO_OPTIONS, SynthesisOptions
from .resistance import read_resistance
from .scenes import SceneSettings
from .sign_attacks import LEAST_CLASSES, Attack, Variety, draw_r2, draw_r4, draw_r11
from .signs import MOST_CLASSES

DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS = 64, 32, 512
DEFAULT_CLASSES = 10
MOST_EXAMPLES = 1000
_SHARP_BELOW = 160  # in smaller images a blur over five pixels leaves nothing of a symbol

WriteModel = Callable[[Path, MadeModel, int], Mapping[str, Any]]
WriteMetadata = Callable[[Path, Sequence[Mapping[str, Any]]], None]
DrawTriggers = Callable[[Variety, int, np.random.Generator], tuple[str, tuple[Attack, ...]]]


@dataclass(frozen=True)
class ImageRound:
    """What sets one round apart.

    Attributes:
        name: as NIST names it.
        architectures: config name to torchvision's function.
        examples: clean examples per class, taken in turn; or one total (``cropped`` is off).
        foreground: least and largest share of the image that a sign covers.
        cropped: stored images are an eighth larger than what the network sees.
        models: folder of the model directories.
        draw: the triggers of a poisoned model.
        write: the files of a model.
        write_metadata: METADATA.csv.
    """

    name: str
    architectures: dict[str, str]
    examples: tuple[int, ...]
    foreground: tuple[float, float]
    cropped: bool
    models: str
    draw: DrawTriggers
    write: WriteModel
    write_metadata: WriteMetadata


R2 = ImageRound(
    "image-classification-aug2020", R2_ARCHITECTURES, (10, 20), (0.2, 0.5), True, ".", draw_r2, write_r2_model,
    write_old_metadata,
)  # fmt: skip
R3 = ImageRound(
    "image-classification-dec2020", R2_ARCHITECTURES, (10, 20), (0.2, 0.5), True, ".", draw_r2, write_r3_model,
    write_old_metadata,
)  # fmt: skip
R4 = ImageRound(
    "image-classification-feb2021", R4_ARCHITECTURES, (2, 5), (0.2, 0.4), True, ".", draw_r4, write_r4_model,
    write_old_metadata,
)  # fmt: skip
R11 = ImageRound(
    "image-classification-sep2022", R11_ARCHITECTURES, (CLEAN_EXAMPLES,), (0.15, 0.4), False, "models", draw_r11,
    write_r11_model, write_table,
)  # fmt: skip


def _synthesize(kind: ImageRound, out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
    """Write a dataset folder; see :class:`~trojai_seam.synthesis.Synthesizer`."""
    options.allow_only(
        kind.name, "image_size", "epochs", "architectures", "classes", "examples_per_class", "resist", "device"
    )
    resistance = read_resistance(options.resist)
    pixels = _within("--image-size", options.image_size, DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS)
    classes = _within("--classes", options.classes, DEFAULT_CLASSES, LEAST_CLASSES, MOST_CLASSES)
    epochs = options.epochs
    if epochs is not None:
        epochs = _within("--epochs", epochs, epochs, 1, 10_000)
    examples = kind.examples
    if options.examples_per_class is not None:
        if not kind.cropped:
            raise UsageProblem(f"{kind.name} ships {CLEAN_EXAMPLES} clean examples in all, not some per class")
        given = options.examples_per_class
        examples = (_within("--examples-per-class", given, given, 1, MOST_EXAMPLES),)
    architectures = choose_architectures(options.architectures, kind.architectures, pixels)
    device = choose_device(options.device)
    stored = round(pixels * 8 / 7) if kind.cropped else pixels
    low, high = kind.foreground
    settings = SceneSettings(stored, low, high, blur_max=3 if stored < _SHARP_BELOW else 5)
    with new_dataset(out, models) as folder:
        rows = []
        for number in range(models):
            pair, model_id = number // 2, f"id-{number:08}"
            architecture = architectures[pair % len(architectures)]
            factory = kind.architectures[architecture]
            plan = ModelPlan(architecture, factory, classes, pixels, settings, epochs, device, resistance)
            variety = Variety(pair, pair // len(architectures), stored, low)
            draw = partial(kind.draw, variety) if number % 2 else no_attacks
            made = make_model(plan, derive_seed(seed, kind.name, model_id), draw)
            rows.append(kind.write(folder / kind.models / model_id, made, examples[pair % len(examples)]))
            options.progress(_line(model_id, made))
        kind.write_metadata(folder / "METADATA.csv", rows)


def _within(option: str, value: int | None, default: int, low: int, high: int) -> int:
    value = default if value is None else value
    if not low <= value <= high:
        raise UsageProblem(f"{option} {value}: expected {low} to {high}")
    return value


def _line(model_id: str, made: MadeModel) -> str:
    attack = ", ".join(f"attack {success:.3f}" for success in made.attack_success) or "clean"
    return f"{model_id} {made.plan.architecture}: accuracy {made.accuracy:.3f}, {attack}, {made.seconds:.0f} s"


synthesize_r2 = partial(_synthesize, R2)
synthesize_r3 = partial(_synthesize, R3)
synthesize_r4 = partial(_synthesize, R4)
synthesize_r11 = partial(_synthesize, R11)
