"""Makes a larger set of a small one: every model several times, under other names.

    python benchmarks/copies.py SET OUT TIMES

For benchmarks only: with more models per worker, the start of a process weighs as little as it does in a real fleet.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path


def copy_models(source: Path, out: Path, times: int) -> int:
    """Write ``out``, which must not exist: models, and METADATA.csv with a line for each. Returns how many."""
    inside = Path("models") if (source / "models").is_dir() else Path()
    shutil.copytree(source, out, ignore=shutil.ignore_patterns("id-*", "METADATA.csv"))
    with open(source / "METADATA.csv", newline="") as file:
        head, *lines = csv.reader(file)
    facts = {line[0]: line[1:] for line in lines}
    models = sorted(path.name for path in (source / inside).glob("id-*"))
    written = [head]
    for number in range(len(models) * times):
        model, name = models[number % len(models)], f"id-{number:08}"
        shutil.copytree(source / inside / model, out / inside / name)
        written.append([name, *facts[model]])
    with open(out / "METADATA.csv", "w", newline="") as file:
        csv.writer(file).writerows(written)
    return len(written) - 1


if __name__ == "__main__":
    print(f"{copy_models(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))} models")
