"""Training a network from scratch against unlearning it: processor seconds, on one thread, of the same process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pandas as pd
from torch import nn

from ..synthesis.picture_attacks import Recipe, fit, poisoned, triggered
from ..synthesis.picture_triggers import patch
from ..unlearning import resolve
from .bench import Bench, Subject, methods_of
from .charts import points_with_means
from .storage import Row, Unit
from .verdicts import Claim, Drawing, Finding, mean_of, ratio_of

SIZES = ("pool", "full_epochs", "measured", "repeats")
PRESETS = ("authors-cifar", "authors-trojai", "images-refit")
WATCHES = 8
"""Times per epoch that accuracy is asked for, outside the clock: when did training have what unlearning keeps?"""
KIND = "patch"


def units(bench: Bench) -> Iterator[Unit]:
    """One per network and repeat."""
    methods = methods_of(PRESETS)
    for number in range(bench.scale.repeats):
        for network in bench.scale.networks:
            yield Unit(f"{network}-{number}", partial(_measure, bench, network, number), methods)


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


ABOUT_THIRTY, LEAST_FIDELITY = 20.0, 0.8


def findings(rows: pd.DataFrame, bench: Bench) -> list[Finding]:
    """Of the statement on time."""
    claims, lines = [], []
    groups, means = {}, {}
    for (network, preset), part in rows.groupby(["network", "preset"], sort=False):
        done = part[part["error"].isna()]  # what fails at once would be fastest of all
        about, ratio, fidelity = f"{network} with {preset}", ratio_of(done["ratio"]), mean_of(part["fidelity"])
        groups[about], means[about] = done["ratio"].tolist(), ratio
        claims += [
            Claim(about, "seconds of training / seconds of unlearning", ratio, ABOUT_THIRTY),
            Claim(about, "fidelity", fidelity, LEAST_FIDELITY),
        ]
        lines.append(
            {
                "network": network,
                "preset": preset,
                "networks": str(len(part)),
                "training, s": f"{part['training_seconds'].mean():.1f}",
                "unlearning, s": f"{done['seconds'].mean():.2f}" if len(done) else "-",
                "ratio": str(ratio),
                "ratio to the same ACC": str(ratio_of(done["ratio_to_same_acc"])),
                "ACC": f"{part['acc_before'].mean():.3f} → {part['acc_after'].mean():.3f}",
                "ASR": f"{part['asr_before'].mean():.3f} → {part['asr_after'].mean():.3f}",
                "fidelity": str(fidelity),
                "failed": str(len(part) - len(done)),
            }
        )
    return [
        Finding(
            "Unlearning is about 30 times faster than training a model from scratch on MNIST",
            f"the interval of the ratio of processor seconds lies at or above {ABOUT_THIRTY:.0f}, and that of mean "
            f"fidelity at or above {LEAST_FIDELITY}",
            claims,
            pd.DataFrame(lines),
            [
                Drawing(
                    "speed",
                    "Training against unlearning",
                    "Processor seconds of training from scratch, divided by those of unlearning on 0.1 % of the "
                    "pictures: every network (grey), geometric mean with 95 % interval (blue). The line is 30.",
                    lambda: points_with_means(groups, means, "times faster", 30, logarithmic=True),
                )
            ],
        )
    ]
