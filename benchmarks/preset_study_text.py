"""Presets on text rounds: held-out fidelity, accuracy, attack success, seconds.

    python benchmarks/preset_study_text.py WORK [--round r7=FOLDER ...] [--models 6] [--fleet-seed 31] [--seeds 1]

Evaluates every preset on every round and prints one Markdown table. A round is a dataset folder that is there, or
without a folder (``r7=``) one that ``trojai-seam synthesize`` makes. Runs are kept under ``WORK/runs``: the same call
again continues. ACC and ASR are means over models, the attack's over trojaned ones; fidelity has a bootstrap interval
over models and seeds. ``beside`` is entity F1 for entities and exact match for questions.
The round's own preset is what ``evaluate`` takes where none is asked for: ``text``, for questions ``text-spans``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main as command

PRESETS = {
    "r5": ("text-embeddings", "default", "authors-trojai", "no-op"),
    "r6": ("text-embeddings", "default", "authors-trojai", "no-op"),
}
HEAD = ("models", "preset", "fidelity, mean [95 %]", "ASR before", "after", "ACC before", "after", "beside, before",
        "after", "kept ACC of clean ones", "s/model")  # fmt: skip
ROUNDS_OWN = "round's own"
FOR_TRANSFORMERS = (ROUNDS_OWN, "text-finetune", "authors-trojai", "no-op")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--round", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--models", type=int, default=6, help="models per round that is made, half of them trojaned")
    parser.add_argument("--fleet-seed", type=int, default=31)
    parser.add_argument("--seeds", type=int, default=1, help="unlearning seeds per model")
    given = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for named in given.round:
        name, _, folder = named.partition("=")
        dataset = Path(folder) if folder else given.work / f"{name}-{given.fleet_seed}"
        if not dataset.exists():
            made = ["--out", str(dataset), "--models", str(given.models), "--seed", str(given.fleet_seed)]
            if command(["synthesize", name, *made]):
                raise SystemExit(f"{dataset}: could not be made")
        for preset in PRESETS.get(name, FOR_TRANSFORMERS):
            runs = given.work / "runs" / f"{name}-{dataset.name}-{preset}"
            print(f"| {name} | `{preset}` | {_line(dataset, name, runs, preset, given.seeds)} |", flush=True)


def _line(dataset: Path, name: str, runs: Path, preset: str, seeds: int) -> str:
    runs.mkdir(parents=True, exist_ok=True)
    options = {"round": name, "preset": None if preset == ROUNDS_OWN else preset, "device": "cpu", "threads": 1}
    parts = [evaluate(dataset, runs / str(seed), Options(seed=seed, **options), NoProgress()) for seed in range(seeds)]  # type: ignore[arg-type]
    rows = pd.concat(parts)
    if (rows["status"] != "done").any():
        raise SystemExit(f"{dataset}: {rows['error'].dropna().tolist()}")
    fidelity = rows["fidelity"].dropna().to_numpy(float)
    draws = np.random.default_rng(0).choice(fidelity, (2000, len(fidelity))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    beside = next((n for n in ("entity_f1", "exact") if rows[f"{n}_before"].notna().any()), None)
    columns = ["asr_before", "asr_after", "acc_before", "acc_after"]
    columns += [f"{beside}_before", f"{beside}_after"] if beside else []
    return " | ".join(
        [
            f"{fidelity.mean():.3f} [{low:.2f}, {high:.2f}]",
            *(f"{rows[column].mean():.3f}" for column in columns),
            *([] if beside else ["-", "-"]),
            f"{rows.loc[~rows['poisoned'], 'kept_accuracy'].mean():.3f}",
            f"{rows['seconds_total'].median():.1f}",
        ]
    )


if __name__ == "__main__":
    main()
