"""Wall time of a run over the engine's own seconds, per executor, and where the rest goes.

The engine's seconds are forgetting and recovering; loading and scoring are the harness's, and so is everything that no
column of a row tells. A worker that is only now started is told apart: it costs its seconds once per run.

python benchmarks/harness_overhead.py DATASET [--models 40] [--workers 2] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import Options, evaluate


class FirstModel(NoProgress):
    """Notes when the first model is begun and the last one is done."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def begin(self, slot: str, model_id: str) -> None:
        self.first = self.first or time.monotonic()

    def update(self, row) -> None:
        self.last = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2, help="of the last run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    options = dict(text.split("=", 1) for text in given.set)
    spreads = {"serial": {"executor": "serial"}, "pool, 1 worker": {"executor": "pool"}}
    if given.workers > 1:
        spreads[f"pool, {given.workers} workers"] = {"executor": "pool", "workers": given.workers}
    print(f"{'':18} models   wall  engine  load  score  start  rest  wall/engine  without start")
    for title, spread in spreads.items():
        with tempfile.TemporaryDirectory() as folder:
            began, seen = time.monotonic(), FirstModel()
            settings = Options(device=given.device, limit=given.models, options=options, **spread)
            rows = evaluate(given.dataset, Path(folder) / "run", settings, seen)
            wall = time.monotonic() - began
        workers = spread.get("workers", 1)
        engine = float((rows["seconds_forget"] + rows["seconds_recover"]).sum())
        load, score = float(rows["seconds_load"].sum()), float(rows["seconds_score"].sum())
        start = seen.first - began
        rest = wall - start - float(rows["seconds_total"].sum()) / workers
        print(
            f"{title:18} {len(rows):6} {wall:6.1f} {engine:7.1f} {load:5.1f} {score:6.1f} {start:6.1f} {rest:5.1f} "
            f"{wall * workers / engine:12.2f} {(wall - start) * workers / engine:14.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
