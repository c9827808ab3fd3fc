"""One dataset under many seeds: the rows that matter, per seed, and their summary, for one or more presets.

python benchmarks/seeds.py DATASET [--presets default,authors-trojai] [--seeds 20] [--csv FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import Options, evaluate

RATES = ["acc_before_all", "acc_before", "acc_after", "n_acc_after", "asr_before", "asr_after", "n_asr_after"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--presets", default="default,authors-trojai")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--protocol", default="held-out")
    parser.add_argument("--csv", type=Path, help="also write all rows here")
    given = parser.parse_args()
    everything = []
    for preset in given.presets.split(","):
        parts = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                options = Options(preset=preset, seed=seed, device="cpu", protocol=given.protocol)
                parts.append(evaluate(given.dataset, Path(folder), options, NoProgress()))
        rows = pd.concat(parts, ignore_index=True)
        everything.append(rows)
        print(f"\n{preset}, protocol {given.protocol}")
        columns = [
            "model_id",
            "seed",
            "status",
            *RATES,
            "ra_after",
            "fidelity",
            "nist_fidelity",
            "forget_status",
            "recover_status",
        ]
        print(rows[columns].to_string(index=False, float_format="{:.3f}".format))
        fidelity, attack = rows["fidelity"], rows["asr_after"]
        print(
            f"{given.seeds} seeds: fidelity median {fidelity.median():.3f}, mean {fidelity.mean():.3f}, "
            f"min {fidelity.min():.3f}; ASR after mean {attack.mean():.3f}, max {attack.max():.3f}; "
            f"ACC after mean {rows['acc_after'].mean():.3f}; failed {(rows['status'] == 'failed').sum()}"
        )
    if given.csv:
        pd.concat(everything, ignore_index=True).to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
