"""What all parts measure on: pictures for every purpose, trojaned networks, and one way to ask a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import EngineFailure
from ..scoring import predict, predict_attacks
from ..seeds import derive_seed
from ..synthesis.picture_attacks import PICTURE_ATTACKS, Pictures, Recipe, Work, as_floats, triggered
from ..synthesis.picture_networks import PICTURE_NETWORKS
from ..tasks import ExampleSet
from ..tasks.classification import Classification
from ..unlearning import UnlearnConfig, resolve, run
from ..unlearning.batches import classes_in_turn
from .datasets import ImageData
from .storage import Row, Store, Unit

FLEET = ("pool", "train", "seen", "measured")
"""Of a scale, what decides the networks of the fleet and the pictures that measure them."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Not every part depends on all of it: each part says in ``SIZES`` what decides its results.

    Attributes:
        pool: training pictures that are kept for unlearning and never trained on.
        train: of the others, how many a network of the fleet is trained on, at most.
        seen: how many it sees, the same one several times: these give the number of its epochs.
        full_epochs: of the networks of part speed, which see all training pictures but the pool.
        measured: test pictures that measure.
        repeats: networks of each kind in part speed.
        sizes: numbers of clean pictures in part data; 0 stands for 0.1 % of the training data as published.
        steps: of part forgetting.
        kernel: pictures on either side of the kernels of part ntk.
        kernel_steps: of gradient descent there.
        networks: of the fleet, and of part speed.
        kinds: attacks of the fleet.
        data_kinds: of these, the attacks of part data.
    """

    pool: int = 2000
    train: int = 20_000
    seen: int = 80_000
    full_epochs: int = 3
    measured: int = 1000
    repeats: int = 5
    sizes: tuple[int, ...] = (2, 5, 10, 20, 0, 200, 1000)
    steps: int = 400
    kernel: int = 40
    kernel_steps: int = 50
    networks: tuple[str, ...] = tuple(PICTURE_NETWORKS)
    kinds: tuple[str, ...] = tuple(PICTURE_ATTACKS)
    data_kinds: tuple[str, ...] = ("patch", "warp", "optimised-trigger")


SCALES = {"mnist": Scale(), "cifar10": Scale(seen=160_000, full_epochs=6)}
"""By data set: as the documentation's results."""


class Subject(NamedTuple):
    """A trojaned network with the pictures that measure it."""

    name: str
    network: str
    kind: str
    model: nn.Module
    poisoned: ExampleSet

    @property
    def family(self) -> str:
        """``poisoned data`` or ``manipulated training``."""
        return PICTURE_ATTACKS[self.kind].family


class Figures(NamedTuple):
    """Of one network."""

    acc: float
    asr: float


class Bench:
    """Data, seed and scale of one reproduction; makes trojaned networks when they are first asked for.

    Attributes:
        data: the data set.
        seed: of everything.
        scale: how much is measured.
        store: of this seed.
        task: classification.
        clean: test pictures that measure.
    """

    def __init__(self, data: ImageData, seed: int, scale: Scale, store: Store) -> None:
        self.data, self.seed, self.scale, self.store = data, seed, scale, store
        self.task = Classification(data.classes)
        order = torch.randperm(len(data.train), generator=self.generator("pictures"))
        pool = min(scale.pool, len(order) // 5)
        self._pool, self._train = order[:pool], order[pool:]
        some = torch.randperm(len(data.test), generator=self.generator("test"))[: scale.measured].sort().values
        self._test = Pictures(data.test.images[some], data.test.labels[some])
        self.clean = examples(self._test.images, self._test.labels)

    def generator(self, *purpose: object) -> torch.Generator:
        """Draws that depend on the seed and ``purpose`` alone."""
        return torch.Generator().manual_seed(self.seed_of(*purpose))

    def seed_of(self, *purpose: object) -> int:
        return derive_seed(self.seed, self.data.name, *purpose)

    @property
    def published_share(self) -> int:
        """0.1 % of the training data as published."""
        return self.data.published // 1000

    def fit(self, count: int, *purpose: object) -> ExampleSet:
        """``count`` clean pictures to unlearn with, the classes in turn; larger sets hold the smaller ones."""
        order = torch.randperm(len(self._pool), generator=self.generator("fit", *purpose))
        labels = self.data.train.labels[self._pool[order]]
        chosen = self._pool[order][classes_in_turn(labels, min(count, len(order)))]
        return examples(self.data.train.images[chosen], self.data.train.labels[chosen])

    def training_pictures(self, count: int | None, *purpose: object) -> Pictures:
        """``count`` of those that are not kept for unlearning, or all of them."""
        order = torch.randperm(len(self._train), generator=self.generator("train", *purpose))
        where = self._train[order[:count]]
        return Pictures(self.data.train.images[where], self.data.train.labels[where])

    def target(self, *purpose: object) -> int:
        return self.seed_of("target", *purpose) % self.data.classes

    def new_network(self, network: str, *purpose: object) -> nn.Module:
        """An untrained one."""
        channels, pixels = self.data.train.images.shape[1:3]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_of("weights", network, *purpose))
            return PICTURE_NETWORKS[network](channels, pixels, self.data.classes)

    def attacked(self, trigger_of: Tensor, target: int, labels: Tensor) -> ExampleSet:
        """Triggered test pictures (``uint8``) with the attacker's label, as examples that measure."""
        return examples(trigger_of, labels, target)

    def test_of(self, target: int) -> Pictures:
        """Test pictures of all classes but the target."""
        other = self._test.labels != target
        return Pictures(self._test.images[other], self._test.labels[other])

    def subject(self, network: str, kind: str, number: int = 0) -> Subject:
        """A trojaned network of the fleet, trained when first asked for."""
        name = f"{network}-{kind}-{number}"
        target = self.target(name)
        test = self.test_of(target)

        def make() -> Mapping[str, Tensor]:
            model = self.new_network(network, name)
            pictures = self.training_pictures(self.scale.train, name)
            recipe = Recipe(math.ceil(self.scale.seen / len(pictures)))
            work = Work(model, pictures, target, recipe, self.generator("attack", name))
            trigger = PICTURE_ATTACKS[kind].make(work)
            return {**model.state_dict(), "triggered": triggered(trigger, test.images)}

        tensors = self.store.tensors(name, sizes_of(self.scale, FLEET), make)
        poisoned = self.attacked(tensors.pop("triggered"), target, test.labels)
        model = self.new_network(network, name)
        model.load_state_dict(tensors)
        return Subject(name, network, kind, model.eval(), poisoned)

    def fleet(self, kinds: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Networks and kinds of attack of all subjects, or of those with ``kinds``."""
        return [(network, kind) for kind in kinds or self.scale.kinds for network in self.scale.networks]

    def units(self, measure: Callable[[Bench, str, str], list[Row]], methods: str) -> Iterator[Unit]:
        """One per trojaned network, measured by ``measure`` of this, the network's name and the kind of its attack."""
        for network, kind in self.fleet():
            yield Unit(f"{network}-{kind}", partial(measure, self, network, kind), methods)

    def preset_units(
        self,
        measure: Callable[[Bench, str, str, str], list[Row]],
        presets: Sequence[str],
        kinds: Sequence[str] | None = None,
    ) -> Iterator[Unit]:
        """One per trojaned network and preset: a changed preset has no other's rows measured again."""
        methods = {preset: methods_of([preset]) for preset in presets}
        for network, kind in self.fleet(kinds):
            for preset in presets:
                made = partial(measure, self, network, kind, preset)
                yield Unit(f"{network}-{kind}-{preset}", made, methods[preset])

    def ask(self, model: nn.Module, poisoned: ExampleSet) -> Figures:
        """Accuracy and attack success."""
        acc = predict(model, self.task, self.clean).accuracy.share
        asr = predict_attacks(model, self.task, poisoned).attack_success.share
        return Figures(acc or 0.0, asr or 0.0)

    def unlearned(self, subject: Subject, preset: str, config: UnlearnConfig, fit: ExampleSet, *purpose: object) -> Row:
        """Unlearn, then measure. A method that fails leaves the network as it was, and its row says why."""
        before = self.ask(subject.model, subject.poisoned)
        began, error = time.process_time(), None
        try:
            model = run(subject.model, self.task, fit, config, self.seed_of("unlearn", subject.name, *purpose)).model
        except EngineFailure as problem:
            model, error = subject.model, str(problem)
        seconds = time.process_time() - began
        after = self.ask(model, subject.poisoned)
        return {
            "model": subject.name,
            "network": subject.network,
            "kind": subject.kind,
            "family": subject.family,
            "preset": preset,
            "clean": len(fit),
            "acc_before": before.acc,
            "asr_before": before.asr,
            "acc_after": after.acc,
            "asr_after": after.asr,
            "fidelity": (after.acc - after.asr) / before.acc if before.acc else None,
            "seconds": seconds,
            "error": error,
        }


def examples(images: Tensor, labels: Tensor, target: int | None = None) -> ExampleSet:
    """``uint8`` pictures as examples, with the attacker's label where ``target`` is given."""
    return ExampleSet(
        inputs={"x": as_floats(images)},
        labels=labels,
        names=tuple(str(number) for number in range(len(labels))),
        targets=None if target is None else torch.full_like(labels, target),
    )


def methods_of(presets: Sequence[str]) -> str:
    """All settings of these presets, as a text."""
    return str([(name, resolve(name).model_dump_json()) for name in presets])


def sizes_of(scale: Scale, names: Sequence[str]) -> str:
    """The values of a scale by these names, as a text."""
    values = asdict(scale)
    return str([(name, values[name]) for name in sorted(names)])
