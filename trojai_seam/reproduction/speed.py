"""Training a network from scratch against unlearning it: processor seconds, on one thread, of the same process."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import nn

from ..synthesis.picture_attacks import Recipe, fit, poisoned, triggered
from ..synthesis.picture_triggers import patch
from ..unlearning import resolve
from .bench import NETWORKS, Bench, Subject
from .storage import Row, Unit

PRESETS = ("authors-cifar", "images-refit")
WATCHES = 8
"""Times per epoch that accuracy is asked for, outside the clock: when did training have what unlearning keeps?"""
KIND = "patch"


def units(bench: Bench) -> Iterator[Unit]:
    """One per network and repeat."""
    for number in range(bench.scale.repeats):
        for network in NETWORKS:
            yield Unit(f"{network}-{number}", lambda network=network, number=number: _measure(bench, network, number))  # type: ignore[misc]


def _measure(bench: Bench, network: str, number: int) -> list[Row]:
    name = f"speed-{network}-{number}"
    model, target, trigger = bench.new_network(network, name), bench.target(name), patch()
    recipe = Recipe(bench.scale.full_epochs)
    pictures = bench.training_pictures(None, name)
    mixed = poisoned(pictures, trigger, target, recipe.share, bench.generator("poison", name))
    curve, away = [], 0.0
    test = bench.test_of(target)
    attacks = bench.attacked(triggered(trigger, test.images), target, test.labels)
    began = time.process_time()

    def watch(step: int, now: nn.Module) -> None:
        nonlocal away
        stopped = time.process_time()
        curve.append((stopped - began - away, bench.ask(now, attacks).acc))
        away += time.process_time() - stopped

    fit(model, mixed, recipe, bench.generator("order", name), watch=watch, watches=WATCHES)
    seconds = time.process_time() - began - away
    subject, rows = Subject(name, network, KIND, model, attacks), []
    clean = bench.fit(bench.published_share, name)
    for preset in PRESETS:
        row = bench.unlearned(subject, preset, resolve(preset), clean)
        reached = next((spent for spent, acc in curve if acc >= row["acc_after"]), seconds)
        row |= {"repeat": number, "training_seconds": seconds, "training_pictures": len(pictures)}
        row |= {"ratio": seconds / row["seconds"], "seconds_to_same_acc": reached}
        rows.append(row | {"ratio_to_same_acc": reached / row["seconds"]})
    return rows
