"""What comparing every class and attribute costs: processor time of loading, two checkouts side by side.

    python benchmarks/loading_checks.py BEFORE_CHECKOUT AFTER_CHECKOUT MODEL_DIR... [--rounds 7]

Each checkout loads all model directories in a process of its own, in turns; a line is the least of the rounds for one
model and the ratio after / before. The least of several is what the machine's other users disturb least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from pathlib import Path
from trojai_seam.loading import read_model
from trojai_seam.networks import rebuild
def load(folder):
    config = folder / "config.json"
    hints = json.loads(config.read_text()) if config.exists() else {}
    return rebuild(read_model(folder / "model.pt", defer_checksums=True), hints)
for line in sys.stdin:
    folder = Path(line.strip())
    load(folder)  # imports
    times = []
    for _ in range(3):
        start = time.process_time()
        load(folder)
        times.append(time.process_time() - start)
    print(json.dumps(min(times)), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    children = {}
    for name, checkout in (("before", given.before), ("after", given.after)):
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
        children[name] = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    ratios = []
    for model in given.models:
        least = {name: float("inf") for name in children}
        for _ in range(given.rounds):
            for name, child in children.items():
                if child.stdin is None or child.stdout is None:
                    raise RuntimeError("a process without pipes")
                child.stdin.write(f"{model.resolve()}\n")
                child.stdin.flush()
                least[name] = min(least[name], json.loads(child.stdout.readline()))
        ratios.append(least["after"] / least["before"])
        print(f"{model.name:32}{least['before']:9.4f} s{least['after']:9.4f} s{ratios[-1]:7.2f}", flush=True)
    print(f"{'largest / mean ratio':32}{max(ratios):21.2f}{sum(ratios) / len(ratios):8.2f}")
    for child in children.values():
        child.kill()


if __name__ == "__main__":
    main()
