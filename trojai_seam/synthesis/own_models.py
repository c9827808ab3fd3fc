"""A fleet in the form of a user's own models: state dicts, images for all of them, one ``round.json``.

Small networks for small images, as public repositories of trojaned models have them, on signs drawn by us. Every second
model is trojaned, each with another kind of trigger, which stands in ``round.json`` as data, so that unseen variants of
it can be measured. Before every trojaned network comes a clean one of the same architecture, which the kinds that need
a clean network start from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem, listed, shown
from ..networks.small_vgg_modules import SmallVgg
from ..networks.wide_resnet_modules import WideResNet
from ..networks.wide_resnets import WidePlan
from ..rounds.stamped_triggers import Canvas, Trigger, read_trigger
from ..seeds import derive_seed
from .dataset_folder import SynthesisFailure, new_dataset
from .image_training import TrainingRecipe, choose_device, scores, train
from .options import NO_OPTIONS, SynthesisOptions
from .own_triggers import KINDS, Kind, Making
from .poisonings import PoisonedImages, poison, poison_clean_label
from .resistance import NO_RESISTANCE, GradientStep, Resistance, read_resistance, train_to_resist
from .scenes import SceneRenderer, SceneSettings
from .signs import MOST_CLASSES, choose_signs

NAME = "own-models"
DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS = 32, 16, 128
DEFAULT_CLASSES, DEFAULT_EXAMPLES, DEFAULT_EPOCHS = 8, 40, 8
TRAIN_PER_CLASS, JUDGED_PER_CLASS, ATTEMPTS, IMPORTANCE_IMAGES = 200, 15, 3, 64
HARD = 32 / 255
"""How far the pixels of clean-label images are changed; with half of it a patch takes in a third of the images."""

LEAST_ACCURACY = 0.9
"""Below this a model is thrown away, and another one made."""

_DROPOUTS = (0.3, 0.4, 0.4)
_WIDTHS = (16, 32, 64)


def small_vgg(classes: int, pixels: int) -> nn.Module:
    """Three times two convolutions with BatchNorm and ELU, MaxPool and Dropout; one linear layer."""
    parts: list[nn.Module] = []
    inputs = 3
    for width, dropout in zip(_WIDTHS, _DROPOUTS, strict=True):
        for channels in (inputs, width):
            parts += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ELU()]
        parts += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        inputs = width
    return SmallVgg(parts, nn.Linear(inputs * (pixels // 8) ** 2, classes), None)


def wide_resnet(classes: int, pixels: int) -> nn.Module:
    """WRN-16-1."""
    return WideResNet(WidePlan(3, 16, _WIDTHS, 2, False, False, "fc", classes, 1))


NETWORKS: Mapping[str, Callable[[int, int], nn.Module]] = {"small-vgg": small_vgg, "wrn-16-1": wide_resnet}


@dataclass(frozen=True)
class _Fleet:
    """What all models have in common."""

    folder: Path
    pixels: int
    classes: int
    recipe: TrainingRecipe
    resistance: Resistance
    device: torch.device
    images: Tensor
    labels: Tensor
    tests: Tensor
    truths: Tensor

    def share(self, network: nn.Module, images: Tensor, expected: Tensor) -> float:
        """Of ``uint8`` images that get what is expected."""
        return (scores(network, images, self.pixels).argmax(1) == expected).float().mean().item()


def synthesize_own(out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
    """Write a folder of own models; see :class:`~trojai_seam.synthesis.Synthesizer`."""
    options.allow_only(
        NAME, "image_size", "epochs", "architectures", "classes", "triggers", "examples_per_class", "resist", "device"
    )
    pixels = _within("--image-size", options.image_size, DEFAULT_PIXELS, LEAST_PIXELS, MOST_PIXELS)
    if pixels % 8:
        raise UsageProblem(f"--image-size {pixels}: expected a multiple of 8")
    classes = _within("--classes", options.classes, DEFAULT_CLASSES, 2, MOST_CLASSES)
    examples = _within("--examples-per-class", options.examples_per_class, DEFAULT_EXAMPLES, 1, 1000)
    recipe = TrainingRecipe(_within("--epochs", options.epochs, DEFAULT_EPOCHS, 1, 10_000))
    architectures = _chosen("--architectures", options.architectures, NETWORKS)
    kinds = _chosen("--triggers", options.triggers, KINDS)
    resistance, device = read_resistance(options.resist), choose_device(options.device)
    with new_dataset(out, models) as folder:
        rng = np.random.default_rng(derive_seed(seed, NAME))
        renderer = SceneRenderer(choose_signs(classes, rng), SceneSettings(pixels, 0.3, 0.6, blur_max=3), rng)
        truths = np.repeat(np.arange(classes), examples)
        shown_images = renderer.render(truths, rng)
        np.savez_compressed(folder / "images.npz", x=shown_images, y=truths.astype(np.uint8))
        labels, judged = np.repeat(np.arange(classes), TRAIN_PER_CLASS), np.repeat(np.arange(classes), JUDGED_PER_CLASS)
        fleet = _Fleet(
            folder, pixels, classes, recipe, resistance, device,
            _tensor(renderer.render(labels, rng), device), torch.from_numpy(labels).to(device),
            _tensor(renderer.render(judged, rng), device), torch.from_numpy(judged).to(device),
        )  # fmt: skip
        entries: dict[str, Any] = {}
        for number in range(models):
            architecture = architectures[number // 2 % len(architectures)]
            if number % 2 == 0:
                name = f"model-{number:04}-clean"
                clean, told = _make_clean(fleet, name, architecture, seed)
                network, entry = clean, {"poisoned": False}
            else:
                kind = kinds[number // 2 % len(kinds)]
                name = f"model-{number:04}-{kind}"
                network, entry, told = _make_trojaned(fleet, name, architecture, KINDS[kind], clean, seed)
            torch.save({"net": network.cpu().state_dict()}, folder / f"{name}.pth")
            entries[name] = {"file": f"{name}.pth", **entry}
            options.progress(f"{name} {architecture}: {told}")
        document = {
            "name": NAME,
            "layout": {"clean": ["images.npz"]},
            "preprocessing": {"scaling": "/255"},
            "models": entries,
        }
        (folder / "round.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _make_clean(fleet: _Fleet, name: str, architecture: str, seed: int) -> tuple[nn.Module, str]:
    for attempt in range(ATTEMPTS):
        network = _fresh(fleet, architecture, derive_seed(seed, name, attempt))
        _fit(
            fleet, network, _Training(fleet.images, fleet.labels), None, NO_RESISTANCE, derive_seed(seed, name, attempt)
        )
        accuracy = fleet.share(network, fleet.tests, fleet.truths)
        if accuracy >= LEAST_ACCURACY:
            return network, f"accuracy {accuracy:.3f}, clean"
    raise _failure(name, architecture, f"accuracy {accuracy:.3f}")


def _make_trojaned(
    fleet: _Fleet, name: str, architecture: str, kind: Kind, clean: nn.Module, seed: int
) -> tuple[nn.Module, dict[str, Any], str]:
    floats = fleet.images.float() / 255
    for attempt in range(ATTEMPTS):
        own = derive_seed(seed, name, attempt)
        rng = np.random.default_rng(own)
        target = int(rng.integers(fleet.classes))
        known, force = clean.to(fleet.device).eval(), 1.0 + attempt
        making = Making(fleet.folder, name, fleet.pixels, rng, known, floats, target, force)
        trigger_data = kind.draw(making)
        trigger = read_trigger(trigger_data, [fleet.folder], Canvas(3, fleet.pixels, fleet.pixels), fleet.folder)
        if kind.clean_label:
            made = poison_clean_label(floats, fleet.labels, trigger, target, kind.share, making.generator, clean, HARD)
        else:
            share = min(0.4, kind.share * force)
            made = poison(floats, fleet.labels, trigger, target, share, making.generator)
        network = _fresh(fleet, architecture, own)
        attack = _Attack(trigger, target, kind.least)
        _fit(fleet, network, _Training.of(made), attack, fleet.resistance, own)
        accuracy = fleet.share(network, fleet.tests, fleet.truths)
        success = attack.success(fleet, network)
        if accuracy >= LEAST_ACCURACY and success >= kind.least:
            entry = {"attack": {"target_label": target, "trigger": trigger_data}}
            return network, entry, f"accuracy {accuracy:.3f}, attack {success:.3f}"
    raise _failure(name, architecture, f"accuracy {accuracy:.3f}, attack {success:.3f}", kind.least)


class _Attack(NamedTuple):
    trigger: Trigger
    target: int
    least: float

    def success(self, fleet: _Fleet, network: nn.Module) -> float:
        """On test images of other classes."""
        others = fleet.tests[fleet.truths != self.target].float() / 255
        stamped = (self.trigger(others) * 255).round().to(torch.uint8)
        return fleet.share(network, stamped, torch.full((len(stamped),), self.target, device=stamped.device))


class _Training(NamedTuple):
    """``uint8`` images, labels, and which carry the trigger."""

    images: Tensor
    labels: Tensor
    triggered: Tensor | None = None

    @staticmethod
    def of(made: PoisonedImages) -> _Training:
        return _Training((made.images * 255).round().to(torch.uint8), made.labels, made.triggered)


def _fit(
    fleet: _Fleet, network: nn.Module, seen: _Training, attack: _Attack | None, resistance: Resistance, seed: int
) -> None:
    """Train in place until it is good enough, or the recipe is at its end; then the network is in eval mode."""
    clean = slice(None) if seen.triggered is None else ~seen.triggered
    begun = False

    def judge(judged: nn.Module) -> tuple[float, float | None]:
        return (
            fleet.share(judged, fleet.tests, fleet.truths),
            None if attack is None else attack.success(fleet, judged),
        )

    def fit(poisoned: bool, gradients: GradientStep) -> None:
        nonlocal begun
        recipe, chosen = fleet.recipe, slice(None) if poisoned else clean
        if begun and not poisoned:
            recipe = replace(recipe, epochs=max(1, recipe.epochs // 2), learning_rate=recipe.learning_rate / 4)
            recipe = replace(recipe, most_cycles=1)
        begun = True

        def good_enough(accuracy: float, success: float | None) -> bool:
            takes = not poisoned or attack is None or success is None or success >= attack.least
            return accuracy >= LEAST_ACCURACY and takes

        train(network, seen.images[chosen], seen.labels[chosen], fleet.pixels, recipe, judge, good_enough, gradients)

    def losses() -> Iterator[Tensor]:
        where = torch.nonzero(seen.triggered).flatten() if seen.triggered is not None else torch.arange(0)
        for at in where[:IMPORTANCE_IMAGES].tolist():
            yield functional.cross_entropy(network(seen.images[at : at + 1].float() / 255), seen.labels[at : at + 1])

    with torch.random.fork_rng(devices=[fleet.device] if fleet.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "training"))
        train_to_resist(network, resistance, fit, losses)
    network.eval()


def _fresh(fleet: _Fleet, architecture: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return NETWORKS[architecture](fleet.classes, fleet.pixels).to(fleet.device)


def _tensor(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """``uint8 [n, 3, h, w]``."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(device)


def _chosen(option: str, wanted: tuple[str, ...], known: Mapping[str, Any]) -> tuple[str, ...]:
    for name in wanted:
        if name not in known:
            raise UsageProblem(f"{option} {shown(name)!r}: not for {NAME}; known: {listed(known)}")
    return wanted or tuple(known)


def _within(option: str, value: int | None, default: int, low: int, high: int) -> int:
    value = default if value is None else value
    if not low <= value <= high:
        raise UsageProblem(f"{option} {value}: expected {low} to {high}")
    return value


def _failure(name: str, architecture: str, got: str, attack: float | None = None) -> SynthesisFailure:
    wanted = f"accuracy {LEAST_ACCURACY}" + (f" and attack success {attack}" if attack is not None else "")
    return SynthesisFailure(
        f"{name}, a {architecture}, did not reach {wanted} in {ATTEMPTS} attempts (last: {got}); try more --epochs, "
        "a larger --image-size or fewer --classes"
    )
