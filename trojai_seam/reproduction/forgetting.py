"""Attack success over the steps of forgetting, for several things to forget towards, and at the same distance."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import EngineFailure
from ..scoring.attack_trace import StoredStates
from ..tasks import ExampleSet
from ..unlearning import UnlearnConfig, run
from .bench import FLEET, Bench
from .charts import over_distance, over_steps
from .storage import Row, Unit
from .verdicts import Claim, Drawing, Finding, mean_of

SIZES = (*FLEET, "steps")
RANDOM = "random labels"
TARGETS: Mapping[str, Mapping[str, Any]] = {
    RANDOM: {"kind": "train", "labels": "random"},
    "true labels": {"kind": "train", "labels": "true"},
    "uniform outputs": {"kind": "train", "labels": "uniform"},
    "label + 1": {"kind": "train", "labels": "true"},
    "fixed random labels": {"kind": "train", "labels": "random", "fresh_labels": False},
    "gradient ascent": {"kind": "ascend"},
}
"""What a step of training leads towards; all else is that of preset authors-trojai's forgetting, without its stop
rule."""
BATCH, RATE, DECAY = 32, 5e-4, 5e-4
AT = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Steps after which the network is asked, beside the last."""
GRID = 21
"""Points of the common range of distances at which attack success is compared."""


def units(bench: Bench) -> Iterator[Unit]:
    """One per trojaned network."""
    configs = ((target, _config(settings, 1).model_dump_json()) for target, settings in TARGETS.items())
    return bench.units(_measure, str([AT, *configs]))


def _measure(bench: Bench, network: str, kind: str) -> list[Row]:
    subject = bench.subject(network, kind)
    fit = bench.fit(bench.published_share, subject.name)
    start = _weights(subject.model)
    before = bench.ask(subject.model, subject.poisoned)
    same = {"model": subject.name, "network": network, "kind": kind, "clean": len(fit), "asr_before": before.asr}
    rows: list[Row] = []
    for target, settings in TARGETS.items():
        rows.append({**same, "target": target, "step": 0, "acc": before.acc, "asr": before.asr, "distance": 0.0})
        asked = {step - 1 for step in (*AT, bench.scale.steps) if step <= bench.scale.steps}
        with tempfile.TemporaryDirectory() as folder:
            states = StoredStates(Path(folder), asked)
            config, given = _config(settings, bench.scale.steps), _shifted(fit, bench) if target == "label + 1" else fit
            try:
                seed = bench.seed_of("forget", subject.name)
                run(subject.model, bench.task, given, config, seed, states, trace_every=bench.scale.steps)
            except EngineFailure as problem:  # weights that are no numbers any more: what came before was stored
                rows[-1]["error"] = str(problem)
            for _, epoch, model in states.networks(subject.model):
                acc, asr = bench.ask(model, subject.poisoned)
                away = float((_weights(model) - start).norm())
                rows.append({**same, "target": target, "step": epoch + 1, "acc": acc, "asr": asr, "distance": away})
    return rows


def _config(settings: Mapping[str, Any], steps: int) -> UnlearnConfig:
    """One step per epoch, since networks are looked at after epochs."""
    phase = {
        "name": "forget", "max_epochs": steps, "examples_per_epoch": BATCH, "learning_rate": RATE,
        "weight_decay": DECAY, **settings,
    }  # fmt: skip
    return UnlearnConfig.from_document({"batch_size": BATCH, "phases": [phase]})


def _shifted(fit: ExampleSet, bench: Bench) -> ExampleSet:
    return replace(fit, labels=(fit.labels + 1) % bench.data.classes)


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def at_same_distance(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Attack success of one network by target, on equal distances from the network as shipped: ``[GRID]`` from 0 to
    the farthest that all targets reach; NaN for one that failed before its first. Between two steps it is interpolated
    along a straight line."""
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for target in TARGETS:
        points = rows.loc[rows["target"] == target, ["distance", "asr"]].astype(float).dropna().sort_values("distance")
        curves[target] = points["distance"].to_numpy(), points["asr"].to_numpy()
    moved = {target: curve for target, curve in curves.items() if len(curve[0]) > 1}
    grid = np.linspace(0, min((distances[-1] for distances, _ in moved.values()), default=0.0), GRID)
    nowhere = np.full(GRID, np.nan)
    return {target: np.interp(grid, *moved[target]) if target in moved else nowhere for target in TARGETS}


LEAST_FALL = 0.5


def findings(rows: pd.DataFrame, bench: Bench) -> list[Finding]:
    """Of the statement on random labels."""
    models = [part for _, part in rows.groupby(["seed", "model"], sort=False)]
    distances = [at_same_distance(part) for part in models]
    last = rows["step"].max()
    by_target = {target: [part[part["target"] == target] for part in models] for target in TARGETS}
    apart = {target: np.stack([curves[target] for curves in distances]) for target in TARGETS}
    acc, asr = (
        {target: np.array([_at(part, last, name) for part in parts]) for target, parts in by_target.items()}
        for name in ("acc", "asr")
    )
    start = np.array([_at(part, 0, "asr") for part in by_target[RANDOM]])
    before = mean_of(start)
    chance = 2 / bench.data.classes
    lost = {target: [_once_lost(part, chance) for part in parts] for target, parts in by_target.items()}
    # A network that forgetting failed on is as it was shipped: nothing fell.
    fall = np.nan_to_num(start - asr[RANDOM], nan=0.0)
    claims = [Claim("forgetting at all", f"fall of attack success in {last} steps", mean_of(fall), LEAST_FALL)]
    lines = []
    for target in TARGETS:
        line = {
            "target": target,
            "networks": str(len(models)),
            f"ACC after {last} steps": str(mean_of(acc[target])),
            f"ASR after {last} steps": str(mean_of(asr[target])),
            f"ASR once ACC is below {chance:.2f}": _with_count(lost[target]),
            "failed": str(sum(int(part["error"].notna().any()) for part in by_target[target])),
        }
        if target != RANDOM:
            by_steps = mean_of([_less(*parts) for parts in zip(by_target[target], by_target[RANDOM], strict=True)])
            by_distance = mean_of((apart[target] - apart[RANDOM]).mean(axis=1))
            claims.append(Claim(f"more than {target}", "ASR over steps, that target less random", by_steps, 0.0))
            claims.append(Claim(f"more than {target}", "ASR at the same distance, likewise", by_distance, 0.0))
            line |= {"ASR over steps, less that of random": str(by_steps)}
            line |= {"ASR at the same distance, less that of random": str(by_distance)}
        lines.append(line)
    return [
        Finding(
            "Random labels maximise the forgetting of an unknown backdoor, without its trigger",
            f"attack success falls by at least {LEAST_FALL} in {last} steps; and for every other target the mean over "
            "networks of the paired difference of attack success (that target less random labels) has an interval "
            "above 0, over steps that both have and at the same distance in weights",
            claims,
            pd.DataFrame(lines).fillna("-"),
            [
                Drawing(
                    "forgetting-attack",
                    "Attack success over steps of forgetting",
                    f"Mean over {len(models)} trojaned networks with 95 % intervals; before, ASR was {before}. Asked "
                    "of stored states afterwards; no step depends on it.",
                    lambda: over_steps(rows, "asr", "attack success"),
                ),
                Drawing(
                    "forgetting-accuracy",
                    "Accuracy over the same steps",
                    "Accuracy on test pictures, likewise.",
                    lambda: over_steps(rows, "acc", "accuracy"),
                ),
                Drawing(
                    "forgetting-distance",
                    "Attack success at the same distance",
                    "The distance is that of all weights from the network as shipped, up to the farthest that all "
                    "targets reach on that network.",
                    lambda: over_distance(apart),
                ),
            ],
        )
    ]


def _at(part: pd.DataFrame, step: int, measure: str) -> float:
    """``measure`` of one network and target after ``step`` steps; NaN where it failed before."""
    found = part.loc[part["step"] == step, measure]
    return float(found.iloc[0]) if len(found) else math.nan


def _once_lost(part: pd.DataFrame, chance: float) -> float:
    """Attack success when accuracy was below ``chance`` for the first time that it was asked for; NaN without one."""
    below = part[part["acc"] < chance].sort_values("step")
    return float(below["asr"].iloc[0]) if len(below) else math.nan


def _with_count(values: list[float]) -> str:
    found = mean_of(values)
    return f"{found} of {found.n}" if found.n else "never"


def _less(part: pd.DataFrame, random: pd.DataFrame) -> float:
    """Attack success of one network towards a target, less that towards random labels: the mean over the steps from 1
    on that both were asked after, which lie evenly on a logarithmic axis; NaN where there are none.

    What fails early has early steps only, where little is forgotten yet: beside all steps of the other it would look
    worse than it is.
    """
    a, b = (rows[rows["step"] > 0].set_index("step")["asr"].astype(float) for rows in (part, random))
    return float((a - b).mean())
