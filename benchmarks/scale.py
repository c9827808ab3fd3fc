"""The bookkeeping of 100, 1,000 and 10,000 models: time and peak memory of each step, and the cost per model.

Model directories are hard links to a few tiny ones, and records are copies of a few real ones under other ids: what is
measured is everything around the evaluations. Each step runs in a process of its own. ``each`` is what one more model
costs in processor time: the difference to the size before, per model added; ``ratio`` is how that grows from one size
to the next. Wall time stands beside it, but is only worth something on a machine that does nothing else.

python benchmarks/scale.py [--sizes 100,1000,5000,10000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("plan", "check", "resume", "tables")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,1000,5000,10000")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(one_step(given.step[0], Path(given.step[1]))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_templates(folder / "templates")
        sizes = [int(size) for size in given.sizes.split(",")]
        seen_twice: set[str] = set()
        before: dict[str, tuple[int, float, float]] = {}
        print(f"{'step':8} {'models':>7} {'wall s':>8} {'cpu s':>8} {'each, ms':>9} {'ratio':>6} {'peak MiB':>9}")
        for size in sizes:
            populate(folder / "templates", folder / str(size), size)
            for step in STEPS:
                figures = run_step(step, folder / str(size))
                last_size, last_seconds, last_each = before.get(step, (0, 0.0, 0.0))
                each = (figures["cpu"] - last_seconds) / (size - last_size) * 1000
                ratio = f"{each / last_each:6.2f}" if step in seen_twice else "     -"
                if last_size:
                    seen_twice.add(step)
                before[step] = (size, figures["cpu"], each)
                print(
                    f"{step:8} {size:7} {figures['seconds']:8.2f} {figures['cpu']:8.2f} {each:9.3f} {ratio} "
                    f"{figures['peak_mib']:9.0f}",
                    flush=True,
                )


def make_templates(folder: Path) -> None:
    """Four tiny models and their records."""
    from trojai_seam.batch.runner import Options, evaluate
    from trojai_seam.synthesis import SYNTHESIZERS

    SYNTHESIZERS.get("cyber-pdf-dec2022")(folder / "dataset", 4, 0)
    evaluate(folder / "dataset", folder / "run", Options(round="r12", device="cpu", preset="no-op"))


def populate(templates: Path, folder: Path, size: int) -> None:
    """``size`` model directories of hard links."""
    sources = sorted((templates / "dataset" / "models").iterdir())
    for number in range(size):
        model = folder / "dataset" / "models" / f"id-{number:08}"
        model.mkdir(parents=True)
        for path in sources[number % len(sources)].rglob("*"):
            target = model / path.relative_to(sources[number % len(sources)])
            if path.is_dir():
                target.mkdir()
            elif path.parent.name != "clean-example-data" or path.name.startswith("0000"):
                os.link(path, target)
    os.link(templates / "dataset" / "scale_params.npy", folder / "dataset" / "scale_params.npy")


def run_step(step: str, folder: Path) -> dict[str, float]:
    """In a fresh process: imports do not count, memory does."""
    line = [sys.executable, __file__, "--step", step, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def one_step(step: str, folder: Path) -> dict[str, float]:
    """``plan``: everything up to the first model. ``resume``: the same when all is done. ``tables``: with summary."""
    from trojai_seam.batch import run_tables, runner
    from trojai_seam.batch.paths import RunPaths
    from trojai_seam.batch.records import write_record

    options = runner.Options(round="r12", device="cpu", preset="no-op")
    began, before = time.perf_counter(), sum(os.times()[:4])
    if step == "plan":
        taken = []

        def count(work, spread, settings) -> None:
            taken.append(work.left)
            work.interrupt()

        kind = runner.EXECUTORS.get("serial")
        runner.EXECUTORS._entries["serial"] = replace(kind, run=count)
        with suppress(KeyboardInterrupt):
            runner.evaluate(folder / "dataset", folder / "run", options)
        seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - before
        copy_records(folder, taken[0], write_record)
    elif step == "check":
        runner.check(folder / "dataset", options)
        seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - before
    elif step == "resume":
        tables, run_tables.rebuild_tables = run_tables.rebuild_tables, lambda *arguments: None  # told apart
        runner.evaluate(folder / "dataset", folder / "run", options)
        run_tables.rebuild_tables = tables
        seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - before
    else:
        results = run_tables.write_tables(RunPaths(folder / "run"))
        seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - before
        if len(results) != len(list((folder / "dataset" / "models").iterdir())):
            raise SystemExit("not one row per model")
    # Not getrusage, which counts what the parent held when it forked.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"seconds": seconds, "cpu": cpu, "peak_mib": int(status["VmHWM"].split()[0]) / 1024}


def copy_records(folder: Path, models: int, write) -> None:
    """A record for every model, made from the templates'."""
    import hashlib

    from trojai_seam.batch import records
    from trojai_seam.batch.paths import RunPaths
    from trojai_seam.rounds.file_stamps import model_stamp

    paths, plan = RunPaths(folder / "run"), json.loads((folder / "run" / "plan.json").read_text())
    fingerprint = hashlib.sha256(json.dumps(plan, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]
    templates = [
        records.read_row(path) for path in sorted((folder.parent / "templates" / "run" / "records").glob("*.h5"))
    ]
    records.write_atomic = lambda path, content: path.write_bytes(content)  # 10,000 fsyncs are not what is measured
    for number in range(models):
        name = f"id-{number:08}"
        stamp = model_stamp(folder / "dataset" / "models" / name / "model.pt")
        row = {**templates[number % len(templates)], "model_id": name, "fingerprint": fingerprint, "model_stamp": stamp}
        write(paths.record(name), row, {"clean/labels": [0, 1]})


if __name__ == "__main__":
    main()
