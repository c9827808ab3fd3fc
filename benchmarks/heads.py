"""Heads of round 5: models per hour of the authors' way, of plain PyTorch, and ours one by one and side by side.

    python benchmarks/heads.py [DATASET] [--models 24] [--opponents 8] [--alone N] [--workers 2] [--device cpu]

DATASET is made (benchmarks/head_fleet.py says of what) where it does not exist. All do the same with the same files:
preset ``authors-trojai``, the same fit and held-out examples, 768 numbers per vector. On a CPU each keeps ``--workers``
processes busy, of one thread each. What opponents do with the first ``--opponents`` models is extrapolated; starting
an interpreter counts, for the authors once per model, for everybody else once per process. ``cpu`` is processor time
(user and system, all processes), which a busy machine distorts less than wall time; ratios of both are printed.

``forget`` … are mean seconds per model; ``rest`` is all that is none of these (starting, writing, handing out).
``ceiling`` is the time that the floating-point operations and the bytes of Adam would take at the speed of a matrix
product of that size and of copying, as measured here on one core, over the time that forgetting and recovering took.
Only operations that answers depend on count: in the first step from the state zero, the weights on the state and an
LSTM's forget gate do nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import pandas as pd
import torch
from authors_style_loop import job
from head_fleet import make_fleet

HERE = Path(__file__).resolve().parent
PARTS = ("load", "forget", "recover", "score")


@dataclass
class Figures:
    """What one contestant took for ``models`` models."""

    name: str
    models: int
    wall: float
    cpu: float
    peak_mib: float
    seconds: dict[str, float]
    fidelities: list[float] = field(default_factory=list)
    epochs: float = 0.0

    def per_hour(self, kind: str) -> float:
        """Models per hour of wall time, or per hour of processor time."""
        return 3600 * self.models / (self.wall if kind == "wall" else self.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--models", type=int, default=24)
    parser.add_argument("--opponents", type=int, default=8, help="models that the opponents are measured on")
    parser.add_argument("--alone", type=int, help="models that ours one by one is measured on (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of ours, for the spread of fidelity")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = given.dataset or folder / "dataset"
        if not dataset.exists():
            make_fleet(dataset, given.models, ("LstmLinear", "GruLinear"), progress=lambda text: None)
        print(f"{platform.platform()}, {os.cpu_count()} cores ({_processor()}), torch {torch.__version__}")
        print(f"{given.models} heads of {dataset.name}, {given.workers} workers, device {given.device}\n", flush=True)
        few = ",".join(f"id-{number:08}" for number in range(given.opponents))
        stacked = ours("ours, side by side", dataset, folder / "a", given, [])
        jobs = jobs_of(dataset, folder / "a", given)
        authors = opponent("the authors' way", "authors_style_loop.py", [[one] for one in jobs], folder, given)
        shares = [jobs[number :: given.workers] for number in range(given.workers)]
        plain = opponent("plain PyTorch", "plain_loop.py", [part for part in shares if part], folder, given)
        alone = ours("ours, one by one", dataset, folder / "b", given, ["--stack", "off"], given.alone)
        contestants = [authors, plain, alone, stacked]
        for figures in contestants:
            print(line(figures, authors), flush=True)
        spread = [
            ours("", dataset, folder / f"seed-{seed}", given, ["--seed", str(seed), "--ids", few])
            for seed in range(1, given.seeds)
        ]
        tell_fidelity(contestants, spread, given.opponents)
        tell_ceiling(stacked, dataset)


def ours(
    name: str, dataset: Path, out: Path, given: argparse.Namespace, more: list[str], limit: int | None = None
) -> Figures:
    """The command line, as a user types it."""
    command = [sys.executable, "-m", "trojai_seam", "evaluate", str(dataset), "--out", str(out), "--round", "r5"]
    command += ["--preset", "authors-trojai", "--device", given.device, "--executor", "pool", "--quiet"]
    command += ["--workers", str(given.workers), "--limit", str(limit or given.models), *more]
    wall, cpu, peak, _ = timed([command], 1)
    rows = pd.read_csv(out / "results.csv")
    if (rows["status"] != "done").any():
        raise SystemExit(rows["error"].dropna().iloc[0])
    seconds = {part: rows[f"seconds_{part}"].mean() for part in PARTS}
    epochs = float((rows["forget_epochs"] + rows["recover_epochs"]).mean())
    scored = rows.sort_values("model_id").head(given.opponents)["fidelity"].dropna()
    return Figures(name, len(rows), wall, cpu, peak, seconds, list(scored), epochs)


def opponent(name: str, script: str, lists: list[list[dict]], folder: Path, given: argparse.Namespace) -> Figures:
    """A process for each of ``lists``, ``--workers`` at a time."""
    commands = []
    for number, jobs in enumerate(lists):
        path = folder / f"{script}-{number}.json"
        path.write_text(json.dumps(jobs[0] if script.startswith("authors") else jobs))
        commands.append([sys.executable, str(HERE / script), str(path)])
    wall, cpu, peak, lines = timed(commands, given.workers)
    results = [json.loads(text) for text in lines]
    seconds = {part: statistics.fmean(one["seconds"][part] for one in results) for part in PARTS}
    good = [one for one in results if one["asr_after"] is not None]
    fidelities = [(one["acc_after"] - one["asr_after"]) / one["acc_before"] for one in good]
    epochs = statistics.fmean(sum(one["epochs"].values()) for one in results)
    peak = max(one["peak_mib"] for one in results)
    return Figures(name, len(results), wall, cpu, peak, seconds, fidelities, epochs)


def timed(commands: list[list[str]], at_once: int) -> tuple[float, float, float, list[str]]:
    """Wall and processor seconds, MiB of the largest process so far, and lines that were printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}

    def run(command: list[str]) -> list[str]:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.splitlines()

    before, began = os.times(), time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        lines = [text for some in threads.map(run, commands) for text in some]
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, lines


def jobs_of(dataset: Path, run_dir: Path, given: argparse.Namespace) -> list[dict]:
    """What our run did with the first models, as jobs for the opponents."""
    jobs = []
    for number in range(given.opponents):
        model = dataset / "models" / f"id-{number:08}"
        with h5py.File(run_dir / "records" / f"{model.name}.h5") as record:
            sides = {
                side: (list(record[side]["names"].asstr()), record[side][label][:].tolist())
                for side, label in (("clean", "labels"), ("poisoned", "targets"))
                if side in record
            }
            fit, held_out = (record[f"folds/0/{part}"][:].tolist() for part in ("fit", "held_out"))
        entries = {
            side: [
                [f"{model}/{side}-example-cls-embedding.csv#{name}", label] for name, label in zip(*two, strict=True)
            ]
            for side, two in sides.items()
        }
        more = {"num_classes": 2, "classes": ["trojai_seam.synthesis.sentiment_heads"], "device": given.device}
        jobs.append(job(model / "model.pt", entries["clean"], entries.get("poisoned", []), fit, held_out, **more))
    return jobs


def line(figures: Figures, authors: Figures) -> str:
    """One row of the table, with its head before the first."""
    head = ""
    if figures is authors:
        names = ("models", "per hour", "ratio", "cpu ratio", *PARTS, "rest", "epochs", "MiB")
        head = f"| {'':18} | " + " | ".join(f"{name:>9}" for name in names) + " |\n" + "|---" * (len(names) + 1) + "|\n"
    ratios = [figures.per_hour(kind) / authors.per_hour(kind) for kind in ("wall", "cpu")]
    rest = figures.cpu / figures.models - sum(figures.seconds.values())
    cells = [f"{figures.models:9}", f"{figures.per_hour('wall'):9.0f}", *(f"{ratio:9.1f}" for ratio in ratios)]
    cells += [f"{figures.seconds[part]:9.3f}" for part in PARTS]
    cells += [f"{max(0.0, rest):9.3f}", f"{figures.epochs:9.1f}", f"{figures.peak_mib:9.0f}"]
    return f"{head}| {figures.name:18} | " + " | ".join(cells) + " |"


def tell_fidelity(contestants: list[Figures], spread: list[Figures], models: int) -> None:
    """Means over the models that all were measured on, and how far our seeds are apart."""
    print(f"\nMean fidelity of the trojaned ones of the first {models} models:")
    for figures in contestants:
        print(f"  {figures.name:18} {statistics.fmean(figures.fidelities):.3f} (n={len(figures.fidelities)})")
    seeds = [statistics.fmean(figures.fidelities) for figures in (contestants[-1], *spread)]
    print("  ours by seed       " + ", ".join(f"{mean:.3f}" for mean in seeds))


def tell_ceiling(figures: Figures, dataset: Path) -> None:
    """How near forgetting and recovering come to what this machine's arithmetic and memory allow."""
    fit = 28
    weights = operations = 0.0
    for gates in (3, 3):  # LSTM without its forget gate, and GRU; half of the heads each
        first, second = 768 * gates * 512, 512 * gates * 512
        operations += (first * 2 + second * 3 + first + second) * 2 * fit / 2  # step: forward, gradients; then asking
        weights += (first + second) / 2
    speed, bytes_per_second = product_speed(fit), copy_speed()
    ideal = figures.epochs * (operations / speed + weights * 28 / bytes_per_second)
    taken = figures.seconds["forget"] + figures.seconds["recover"]
    print(
        f"\nOne core: {speed / 1e9:.0f} GFLOP/s in products of [{fit}, 768] and [768, 1536], "
        f"{bytes_per_second / 1e9:.0f} GB/s copying.\nPer epoch and model {operations / 1e6:.0f} MFLOP and "
        f"{weights * 28 / 1e6:.0f} MB: {1000 * ideal / figures.epochs:.1f} ms at best, "
        f"{1000 * taken / figures.epochs:.1f} ms taken: {ideal / taken:.0%} of the ceiling."
    )


def product_speed(rows: int) -> float:
    """Floating-point operations per second of a product like those of a head."""
    x, w = torch.randn(4, rows, 768), torch.randn(4, 768, 1536)
    return 2 * 4 * rows * 768 * 1536 / best_of(lambda: torch.bmm(x, w))


def copy_speed() -> float:
    """Bytes read and written per second."""
    source = torch.randn(16_000_000)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / best_of(lambda: target.copy_(source))


def best_of(action, times: int = 20) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _processor() -> str:
    names = [text for text in Path("/proc/cpuinfo").read_text().splitlines() if text.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


if __name__ == "__main__":
    main()
