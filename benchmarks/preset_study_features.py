"""Presets on fleets of feature-vector models: held-out fidelity, kept accuracy, attack success, seconds.

    python benchmarks/preset_study_features.py [--fleets 8] [--models 14] [--seeds 1] [--dataset NIST_FOLDER ...]

Makes fleets by NIST's training recipe and by a stubborn one that burns the trigger in, evaluates every preset on all of
them and on any real dataset given, and prints one Markdown table. Every fleet is a *population* of its own (which
features tell the classes apart, how rare each is): what is true of one need not be of the next, so intervals are
bootstrapped over fleets first and over their models second. None is the one that ``default`` was chosen on.

*Clean models fooled* is what no unlearning can get below without losing accuracy: the share of the same triggered files
that get the attacker's answer from the clean models of their fleet, which never saw a trigger.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.opening import open_directory
from trojai_seam.scoring import predict_attacks
from trojai_seam.synthesis.cyber_pdf import NIST_RECIPE, STUBBORN_RECIPE, synthesize

PRESETS = ("default", "finetune", "authors-trojai", "authors-cifar", "backdoor-toolbox", "no-op")
FIRST_FLEET = 101
"""Seed of the first fleet; the one that ``default`` was chosen on has 7."""
ROUND = "cyber-pdf-dec2022"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=8, help="by NIST's recipe; half as many stubborn ones")
    parser.add_argument("--models", type=int, default=14, help="models per fleet, every second one trojaned")
    parser.add_argument("--seeds", type=int, default=1, help="unlearning seeds per model of a fleet")
    parser.add_argument("--real-seeds", type=int, default=20, help="unlearning seeds per model of a real dataset")
    parser.add_argument("--dataset", type=Path, action="append", default=[], help="a real dataset folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        studies = []
        for name, recipe, count in (
            ("NIST recipe", NIST_RECIPE, given.fleets),
            ("stubborn", STUBBORN_RECIPE, max(1, given.fleets // 2)),
        ):
            fleets = [work / f"{name}-{seed}" for seed in range(FIRST_FLEET, FIRST_FLEET + count)]
            for seed, fleet in enumerate(fleets, FIRST_FLEET):
                synthesize(fleet, given.models, seed, recipe)
            fooled = [clean_models_fooled(fleet) for fleet in fleets]
            print(f"{name}: clean models fooled, by fleet: {' '.join(f'{share:.2f}' for share in fooled)}", flush=True)
            studies.append((f"{name}, {count} × {given.models} models", fleets, given.seeds))
        studies += [(path.name, [path], given.real_seeds) for path in given.dataset]
        print("\n| models | preset | fidelity [95 %] | by fleet | ASR after | kept ACC | of clean ones | s/model |")
        print("|---|---|---|---|---|---|---|---|")
        for name, fleets, seeds in studies:
            for preset in PRESETS:
                print(f"| {name} | `{preset}` | {_line(fleets, work / 'runs', preset, seeds)} |", flush=True)


def clean_models_fooled(fleet: Path) -> float:
    """Mean share of a trojaned model's triggered files that a clean model of the same fleet calls benign."""
    subjects = [open_directory(model_directory(d), get_round(ROUND)) for d in sorted((fleet / "models").iterdir())]
    clean = [subject for subject in subjects if subject.poisoned is None]
    triggered = [subject.poisoned for subject in subjects if subject.poisoned is not None]
    return float(
        np.mean([predict_attacks(c.model, c.task, files).attack_success.share for c in clean for files in triggered])
    )


def _line(fleets: list[Path], runs: Path, preset: str, seeds: int) -> str:
    runs.mkdir(exist_ok=True)
    parts = []
    for dataset in fleets:
        for seed in range(seeds):
            options = Options(preset=preset, seed=seed, device="cpu")
            part = evaluate(dataset, runs / f"{dataset.name}-{preset}-{seed}", options, NoProgress())
            parts.append(part.assign(fleet=dataset.name))
    rows = pd.concat(parts)
    if (rows["status"] != "done").any():
        raise SystemExit(f"{fleets}: {rows['error'].dropna().tolist()}")
    trojaned = rows[rows["fidelity"].notna()]
    by_fleet = [group["fidelity"].to_numpy(float) for _, group in trojaned.groupby("fleet")]
    low, high = _interval(by_fleet)
    clean = rows.loc[~rows["poisoned"], "kept_accuracy"]
    return " | ".join(
        [
            f"{trojaned['fidelity'].mean():.3f} [{low:.2f}, {high:.2f}]",
            " ".join(f"{group.mean():.2f}" for group in by_fleet),
            f"{rows['asr_after'].mean():.3f}",
            f"{rows['kept_accuracy'].mean():.3f}",
            f"{clean.mean():.3f}" if len(clean) else "-",
            f"{rows['seconds_total'].median():.2f}",
        ]
    )


def _interval(by_fleet: list[np.ndarray]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = []
    for _ in range(2000):
        fleets = [by_fleet[i] for i in rng.integers(0, len(by_fleet), len(by_fleet))]
        means.append(np.concatenate([rng.choice(values, len(values)) for values in fleets]).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
