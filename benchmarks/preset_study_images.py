"""Presets on fleets of trojaned image classifiers: held-out accuracy, attack success, fidelity, seconds.

    python benchmarks/preset_study_images.py WORK [--fleet confirm] [--presets images,no-op] [--per-class 20,5,2]
                                                  [--seeds 2] [--set KEY=VALUE ...] [--table]

Makes a fleet under ``WORK/fleets`` (32 pixels, 8 classes; of each architecture one model whose first trigger is a
polygon and one whose first is a filter, by the recipe of ``trojai-seam synthesize r4``, conditions included), unlearns
every model with every preset on 20, 5 and 2 clean images per class, and prints a Markdown table. Every run is one line
of ``WORK/runs.jsonl``; the same command again continues. ``--table`` only prints what is there.

The fleet ``choose`` is what the presets were chosen on; ``confirm`` has other architectures, signs, triggers and
weights, and is burnt by now: what it said was read before the next choice. Nothing was chosen on ``unseen``, but
what it said has been read too; ``later`` has not been measured. Behind the table of figures
stands one of differences between presets on the same models, seeds and images, less the first of ``--presets``: models
differ more from each other than presets do, so that pairs tell.

Held-out are 20 clean images per class that no run is fitted on, and all poisoned ones (40 per trigger).
Seconds are CPU seconds of one core, so that a busy machine does not show in them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trojai_seam.batch.reproducible import reproducible
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.opening import open_directory
from trojai_seam.scoring import predict, predict_attacks
from trojai_seam.seeds import derive_seed
from trojai_seam.synthesis.dataset_folder import SynthesisFailure
from trojai_seam.synthesis.image_models import DrawAttacks, MadeModel, ModelPlan, make_model
from trojai_seam.synthesis.image_rounds import R4
from trojai_seam.synthesis.scenes import SceneSettings
from trojai_seam.synthesis.sign_attacks import Variety
from trojai_seam.tasks import ExampleSet, Subject
from trojai_seam.unlearning import UnlearnConfig, resolve, run

FLEETS = {
    "choose": (5, ("squeezenetv1_1", "shufflenet1_0", "mobilenetv2", "resnet18")),
    "confirm": (23, ("squeezenetv1_0", "shufflenet1_5", "mobilenetv2", "resnet34", "densenet121", "googlenet")),
    "unseen": (41, ("squeezenetv1_0", "shufflenet1_5", "googlenet")),
    "later": (67, ("shufflenet1_0", "mobilenetv2", "resnet18", "shufflenet2_0")),
}
PRESETS = ("images", "images-finetune", "authors-trojai", "no-op")
PIXELS, CLASSES, FIT_POOL, HELD_OUT = 32, 8, 20, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--fleet", choices=sorted(FLEETS), default="confirm")
    parser.add_argument("--architectures", default="", help="only these of the fleet")
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--per-class", default="20,5,2", help="clean images per class to fit on; 0: one in all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the presets, to try")
    parser.add_argument("--table", action="store_true", help="print the table of what has run")
    given = parser.parse_args()
    seed, architectures = FLEETS[given.fleet]
    architectures = tuple(given.architectures.split(",")) if given.architectures else architectures
    runs = given.work / "runs.jsonl"
    with reproducible(threads=1):
        if not given.table:
            folders = [
                make_member(given.work / "fleets" / given.fleet, seed, architecture, number)
                for architecture in architectures
                for number in (0, 1)
            ]
            options = dict(option.split("=", 1) for option in given.set)
            for at in range(given.seeds):
                for per_class in map(int, given.per_class.split(",")):
                    for preset in given.presets.split(","):
                        for folder in folders:
                            run_once(runs, folder, resolve(preset, options), options, per_class, at)
    found = read_runs(runs, given.fleet)
    print_table(found)
    print_differences(found, given.presets.split(",")[0])


def make_member(fleet: Path, seed: int, architecture: str, number: int) -> Path:
    """One trojaned model directory of round 4; ``number`` 1: its first trigger is a filter."""
    folder = fleet / f"{architecture}-{number}"
    if folder.is_dir():
        return folder
    low, high = R4.foreground
    stored = round(PIXELS * 8 / 7)
    settings = SceneSettings(stored, low, high, blur_max=3)
    plan = ModelPlan(architecture, R4.architectures[architecture], CLASSES, PIXELS, settings, None, torch.device("cpu"))
    place = list(R4.architectures).index(architecture)
    draw = partial(R4.draw, Variety(2 * place + number, 0, stored, low))
    made = _first_that_trains(plan, [derive_seed(seed, architecture, number, *more) for more in ((), (1,), (2,))], draw)
    fleet.mkdir(parents=True, exist_ok=True)
    making = fleet / f".{folder.name}"
    R4.write(making, made, FIT_POOL + HELD_OUT)
    making.rename(folder)
    print(f"{folder.name}: {made.accuracy:.3f}, attack {made.attack_success}, {made.seconds:.0f} s", flush=True)
    return folder


def _first_that_trains(plan: ModelPlan, seeds: Sequence[int], draw: DrawAttacks) -> MadeModel:
    """Some signs and triggers are too hard for a network of 32 pixels; others are drawn then."""
    for seed in seeds[:-1]:
        try:
            return make_model(plan, seed, draw)
        except SynthesisFailure as failure:
            print(f"{plan.architecture}: other signs, because {failure}", flush=True)
    return make_model(plan, seeds[-1], draw)


@cache
def _open(folder: Path) -> tuple[Subject, ExampleSet, tuple[str, ...]]:
    """The subject, its poisoned images, and the kind of trigger on each of them."""
    directory = model_directory(folder)
    subject = open_directory(directory, get_round("r4"))
    if subject.poisoned is None:
        raise SystemExit(f"{folder}: no poisoned images")
    kinds = [trigger["type"] for trigger in directory.config["triggers"]]
    return subject, subject.poisoned, tuple(kinds[int(name.split("_")[3])] for name in subject.poisoned.names)


def run_once(
    runs: Path, folder: Path, config: UnlearnConfig, options: Mapping[str, str], per_class: int, seed: int
) -> None:
    """Unlearn and measure, unless that line is there already."""
    key = {
        "fleet": folder.parent.name,
        "model": folder.name,
        "preset": config.preset,
        "config": hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode()).hexdigest()[:12],
        "options": " ".join(f"{name}={value}" for name, value in sorted(options.items())),
        "per_class": per_class,
        "seed": seed,
    }
    if runs.is_file() and any(all(line[name] == key[name] for name in key) for line in _lines(runs)):
        return
    subject, poisoned, kinds = _open(folder)
    fit, held_out = _split(subject, per_class, seed)
    began = time.process_time()
    outcome = run(
        subject.model, subject.task, subject.clean.subset(fit), config, derive_seed(seed, folder.name, per_class)
    )
    seconds = time.process_time() - began
    clean, models = subject.clean.subset(held_out), (subject.model, outcome.model)
    before, after = (predict(model, subject.task, clean).accuracy for model in models)
    hits_before, hits_after = (predict_attacks(model, subject.task, poisoned).attack_success for model in models)
    forget = outcome.phase("forget")
    line: dict[str, Any] = {
        **key,
        "architecture": subject.facts["architecture"],
        "acc_before": before.share,
        "acc": after.share,
        "asr_before": hits_before.share,
        "asr": hits_after.share,
        "forget": "off" if forget is None else forget.status,
        "forget_epochs": 0 if forget is None else forget.epochs,
        "seconds": seconds,
    }
    for kind in ("polygon", "instagram"):
        of_kind = np.array([k == kind for k in kinds])
        line[f"asr_{kind}"] = float(hits_after.points[of_kind].mean()) if of_kind.any() else None
    line["fidelity"] = (line["acc"] - line["asr"]) / line["acc_before"]
    with runs.open("a") as file:
        file.write(json.dumps(line) + "\n")
    figures = " ".join(f"{name} {line[name]:.3f}" for name in ("acc", "asr", "fidelity"))
    forgot = f"{line['forget']} {line['forget_epochs']}"
    print(f"{folder.name} {per_class} {config.preset} {key['options']}: {figures} {forgot} {seconds:.1f} s", flush=True)


def _split(subject: Subject, per_class: int, seed: int) -> tuple[list[int], list[int]]:
    """``per_class`` of the first images of every class, drawn (0: one image in all); and all of the last ones, the same
    for every run."""
    labels = subject.clean.labels.numpy()
    rng = np.random.default_rng(derive_seed(seed, subject.model_id, "fit", per_class))
    fit: list[int] = []
    held_out: list[int] = []
    for label in range(CLASSES):
        members = np.flatnonzero(labels == label)
        fit += rng.permutation(members[:FIT_POOL])[:per_class].tolist()
        held_out += members[FIT_POOL:].tolist()
    if per_class == 0:
        fit = [int(rng.choice(np.setdiff1d(np.arange(len(labels)), held_out)))]
    return sorted(fit), held_out


def _lines(runs: Path) -> Iterator[dict[str, Any]]:
    with runs.open() as file:
        yield from map(json.loads, file)


def read_runs(runs: Path, fleet: str) -> pd.DataFrame:
    frame = pd.DataFrame(_lines(runs))
    return frame[frame["fleet"] == fleet]


def print_table(runs: pd.DataFrame) -> None:
    """Means over models and seeds, with intervals bootstrapped over models."""
    print("\n| images per class | preset | network | fidelity [95 %] | ACC | ASR | polygon | filter | CPU s | runs |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (per_class, preset, options), rows in runs.groupby(["per_class", "preset", "options"], sort=False):
        name = f"`{preset}`" + (f" {options}" if options else "")
        for network, of_network in [("all", rows), *rows.groupby("architecture")]:
            print(f"| {per_class} | {name} | {network} | {_figures(of_network)} |")


def print_differences(runs: pd.DataFrame, baseline: str) -> None:
    """Means over pairs of runs on the same model, seed and images, with intervals bootstrapped over models."""
    print(f"\n| images per class | less `{baseline}` | fidelity [95 %] | ACC [95 %] | ASR [95 %] | pairs | models |")
    print("|---|---|---|---|---|---|---|")
    same = ["per_class", "model", "seed"]
    figures = ["fidelity", "acc", "asr"]
    first = runs[(runs["preset"] == baseline) & (runs["options"] == "")].set_index(same)[figures]
    for (per_class, preset, options), rows in runs.groupby(["per_class", "preset", "options"], sort=False):
        other = rows.set_index(same)[figures]
        differences = (other - first).dropna()
        if (preset, options) == (baseline, "") or differences.empty:
            continue
        cells = []
        for figure in figures:
            low, high = _interval([of_model.to_numpy() for _, of_model in differences[figure].groupby("model")])
            cells.append(f"{differences[figure].mean():+.3f} [{low:+.2f}, {high:+.2f}]")
        name = f"`{preset}`" + (f" {options}" if options else "")
        models = differences.index.get_level_values("model").nunique()
        print(f"| {per_class} | {name} | {' | '.join(cells)} | {len(differences)} | {models} |")


def _figures(rows: pd.DataFrame) -> str:
    low, high = _interval([group["fidelity"].to_numpy() for _, group in rows.groupby("model")])
    return " | ".join(
        [
            f"{rows['fidelity'].mean():.3f} [{low:.2f}, {high:.2f}]",
            *(f"{rows[column].mean():.3f}" for column in ("acc", "asr", "asr_polygon", "asr_instagram")),
            f"{rows['seconds'].median():.1f}",
            str(len(rows)),
        ]
    )


def _interval(by_model: Sequence[np.ndarray]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = []
    for _ in range(2000):
        models = [by_model[i] for i in rng.integers(0, len(by_model), len(by_model))]
        means.append(np.concatenate([rng.choice(values, len(values)) for values in models]).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
