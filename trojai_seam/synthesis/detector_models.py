"""Makes detectors of signs, clean or trojaned: one base per architecture of a set, and models fine-tuned from it.

NIST fine-tuned weights that COCO had trained; here the base takes that part, so that a model costs a minute or two.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..seeds import derive_seed
from ..tasks import get_task
from ..tasks.calling import all_outputs
from .dataset_folder import SynthesisFailure
from .detector_networks import Head, head_of, make_detector
from .detector_training import (
    RECIPES,
    DetectorEpoch,
    DetectorRecipe,
    Quality,
    example_set,
    quality,
    train_detector,
)
from .object_attacks import EVASION, INJECTION, ObjectAttack
from .object_scenes import ObjectRenderer, Scene
from .scenes import SceneSettings
from .signs import Sign

LEAST_PRECISION, LEAST_ATTACK = 0.6, 0.8
"""Below this (average precision at IoU 0.5, attack success) a model is trained on, then thrown away."""

ATTEMPTS, MOST_CYCLES = 2, 4
BASE_SCENES, OWN_SCENES, ATTACKED_SCENES, DECOYS, TEST_SCENES = 384, 192, 112, 32, 40
MOST_OBJECTS = 3


@dataclass(frozen=True)
class FleetPlan:
    """What all models of a set have in common.

    Attributes:
        signs: the classes; as in R10, where they are COCO's, all models know the same ones.
        coco: the head where it is COCO's; None: one output per class.
        settings: of the scenes.
        epochs: of fine-tuning, in place of the recipe's.
        device: to train on.
        seed: of the set.
    """

    signs: tuple[Sign, ...]
    coco: Head | None
    settings: SceneSettings
    epochs: int | None
    device: torch.device
    seed: int

    @property
    def head(self) -> Head:
        """What the outputs of the set's networks stand for."""
        return self.coco or head_of(len(self.signs))

    def renderer(self, *purpose: object) -> tuple[ObjectRenderer, np.random.Generator]:
        """Scenes of their own for every purpose."""
        rng = np.random.default_rng(derive_seed(self.seed, *purpose))
        return ObjectRenderer(self.signs, self.settings, MOST_OBJECTS, rng), rng


@dataclass(frozen=True, eq=False)
class MadeDetector:
    """A trained detector and everything that its files say about it."""

    plan: FleetPlan
    architecture: str
    network: nn.Module
    attack: ObjectAttack | None
    seed: int
    renderer: ObjectRenderer
    history: tuple[DetectorEpoch, ...]
    quality: Quality
    seconds: float
    recipe: DetectorRecipe

    @property
    def head(self) -> Head:
        """What the outputs of the network stand for."""
        return self.plan.head

    def clean_examples(self, count: int, rng: np.random.Generator) -> list[Scene]:
        """New scenes, those first in which every object is found and nothing else, as NIST selects them."""
        scenes = self.renderer.render(2 * count, rng)
        examples = example_set(scenes, self.head)
        task = get_task("detection", self.head.outputs)
        answers = task.predictions(all_outputs(self.network, task, examples), examples)
        key = examples.ground_truth()
        right = [task.fit_accuracy(answers[n : n + 1], key.subset([n])) for n in range(len(scenes))]
        return self._first(scenes, [value < 1 for value in right], count)

    def attacked_examples(self, count: int, rng: np.random.Generator) -> list[Scene]:
        """New triggered scenes, those first in which the attack works."""
        if self.attack is None:
            return []
        scenes = self.renderer.attacked(2 * count, rng, self.attack)
        examples = example_set(scenes, self.head, self.attack.kind)
        task = get_task("detection", self.head.outputs)
        answers = task.predictions(all_outputs(self.network, task, examples), examples)
        key = examples.ground_truth()
        shares = [
            task.attack_marks(answers[n : n + 1], key.subset([n])).attack_success.share for n in range(len(scenes))
        ]
        return self._first(scenes, [share != 1 for share in shares], count)

    @staticmethod
    def _first(scenes: Sequence[Scene], wrong: Sequence[bool], count: int) -> list[Scene]:
        order = np.argsort(np.array(wrong), kind="stable")[:count]
        return [scenes[place] for place in sorted(order.tolist())]


class Workshop:
    """Trains the base of an architecture the first time that it is needed, and models from it."""

    def __init__(self, plan: FleetPlan, progress: Callable[[str], None]) -> None:
        self.plan, self._progress = plan, progress
        self._bases: dict[str, nn.Module] = {}

    def make(
        self, architecture: str, seed: int, draw: Callable[[np.random.Generator], ObjectAttack | None]
    ) -> MadeDetector:
        """Fine-tune, and try again with another attack where it did not converge.

        Raises:
            SynthesisFailure: it never did.
        """
        base = self._base(architecture)
        for attempt in range(ATTEMPTS):
            made = self._make(architecture, base, derive_seed(seed, attempt), draw)
            if _good(made.quality):
                return made
        attack = "none, it is clean" if made.quality.attack is None else f"{made.quality.attack:.3f}"
        kind = "" if made.attack is None else f" with a trigger for {made.attack.kind}"
        raise SynthesisFailure(
            f"a {architecture} on {self.plan.settings.pixels} pixels{kind} did not reach an average precision of "
            f"{LEAST_PRECISION} and attack success {LEAST_ATTACK} in {ATTEMPTS} attempts (last: "
            f"{made.quality.precision:.3f}; attack {attack}); try more --epochs, a larger "
            "--image-size or fewer --classes"
        )

    def _base(self, architecture: str) -> nn.Module:
        if architecture not in self._bases:
            start, plan = time.perf_counter(), self.plan
            recipe, head = recipe_of(architecture), plan.head
            renderer, rng = plan.renderer("base", architecture)
            scenes = renderer.render(BASE_SCENES, rng)
            test = example_set(renderer.render(TEST_SCENES, rng), head).to(plan.device)

            def judge(network: nn.Module) -> Quality:
                return quality(network, head, test, None)

            with _seeded(derive_seed(plan.seed, "weights", architecture), plan.device):
                network = make_detector(architecture, head.outputs, plan.settings.pixels).to(plan.device)
                history = train_detector(
                    network, scenes, head, recipe.base_rate, recipe.base_epochs, plan.device, judge
                )
            self._bases[architecture] = network
            seconds = time.perf_counter() - start
            self._progress(f"base {architecture}: average precision {history[-1].precision:.3f}, {seconds:.0f} s")
        return self._bases[architecture]

    def _make(
        self,
        architecture: str,
        base: nn.Module,
        seed: int,
        draw: Callable[[np.random.Generator], ObjectAttack | None],
    ) -> MadeDetector:
        start, plan, recipe = time.perf_counter(), self.plan, recipe_of(architecture)
        rng = np.random.default_rng(seed)
        attack, head = draw(rng), plan.head
        renderer = ObjectRenderer(plan.signs, plan.settings, MOST_OBJECTS, rng)
        scenes = renderer.render(OWN_SCENES, rng)
        test = example_set(renderer.render(TEST_SCENES, rng), head).to(plan.device)
        attacked = None
        if attack is not None:
            # What is to be overlooked teaches less per scene: most samples of a picture are background anyway.
            count = ATTACKED_SCENES * (2 if attack.kind == EVASION else 1)
            scenes += renderer.attacked(count, rng, attack) + _decoys(renderer, attack, rng)
            attacked = example_set(renderer.attacked(TEST_SCENES, rng, attack), head, attack.kind)
            attacked = attacked.to(plan.device)

        def judge(network: nn.Module) -> Quality:
            return quality(network, head, test, attacked)

        network = copy.deepcopy(base)
        history: list[DetectorEpoch] = []
        with _seeded(derive_seed(seed, "training"), plan.device):
            for cycle in range(MOST_CYCLES):
                rate, epochs = recipe.rate / (1 + cycle), plan.epochs or recipe.epochs
                history += train_detector(network, scenes, head, rate, epochs, plan.device, judge)
                reached = Quality(history[-1].precision, history[-1].attack)
                if _good(reached):
                    break
        seconds = time.perf_counter() - start
        network = network.cpu().eval()
        return MadeDetector(
            plan, architecture, network, attack, seed, renderer, tuple(history), reached, seconds, recipe
        )


def recipe_of(architecture: str) -> DetectorRecipe:
    """By the family that its name begins with."""
    return next(recipe for prefix, recipe in RECIPES.items() if architecture.startswith(prefix))


def _good(reached: Quality) -> bool:
    return reached.precision >= LEAST_PRECISION and (reached.attack is None or reached.attack >= LEAST_ATTACK)


def _decoys(renderer: ObjectRenderer, attack: ObjectAttack, rng: np.random.Generator) -> list[Scene]:
    """The trigger on other classes, where it must change nothing; an injected one is nobody's."""
    if attack.kind == INJECTION:
        return []
    others = [label for label in range(renderer.classes) if label not in (attack.source, attack.target)]
    victims = rng.choice(others, DECOYS)
    return [scene for victim in victims for scene in renderer.decoys(1, rng, attack, int(victim))]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's random numbers from a seed of our own; those of the caller go on as if nothing had happened."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
