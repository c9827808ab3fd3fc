"""Serial, pool with 1, 2 and 4 workers, two shards merged, and two Ray nodes: are the tables the same, byte by byte?

Each run directory's results.csv is compared without its timing columns. Exits 1 at the first difference.

python benchmarks/executors_agree.py [DATASET] [--models 12] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import pandas as pd

from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.synthesis import SYNTHESIZERS
from trojai_seam.tables.columns import TIMINGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="default: a synthesised cyber-pdf round")
    parser.add_argument("--models", type=int, default=12, help="of the synthesised round")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    options = dict(text.split("=", 1) for text in given.set)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = given.dataset
        if dataset is None:
            dataset = folder / "dataset"
            SYNTHESIZERS.get("cyber-pdf-dec2022")(dataset, given.models, 0)
        spreads: dict[str, list[dict]] = {
            "serial": [{"executor": "serial"}],
            "pool, 1 worker": [{"executor": "pool"}],
            "pool, 1 worker, prefetch": [{"executor": "pool", "prefetch": 1}],
            "pool, 2 workers": [{"workers": 2}],
            "pool, 4 workers": [{"workers": 4}],
            "two shards": [{"shard": (2, 2)}, {"shard": (1, 2)}],
        }
        answers = {}
        cluster = two_nodes()
        if cluster is not None:
            spreads["ray, two nodes"] = [{"ray_address": cluster.address}]
        for title, commands in spreads.items():
            began, out = time.monotonic(), folder / title.replace(" ", "-")
            for one in commands:
                evaluate(dataset, out, Options(device="cpu", options=options, **one))
            table = pd.read_csv(out / "results.csv", dtype=str).drop(columns=list(TIMINGS)).to_csv(index=False)
            answers[title] = hashlib.sha256(table.encode()).hexdigest()[:16]
            rows = table.count("\n") - 1
            print(f"{title:26} {rows} rows  {answers[title]}  {time.monotonic() - began:6.1f} s", flush=True)
        if cluster is not None:
            cluster.shutdown()
    if len(set(answers.values())) != 1:
        raise SystemExit("they differ")
    print(f"all {len(answers)} tables are the same apart from timings")


def two_nodes():
    """A Ray cluster of two nodes on this machine; None without Ray."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        print("ray: skipped, not installed")
        return None
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    return cluster


if __name__ == "__main__":
    main()
