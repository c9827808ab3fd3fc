"""Time and memory of tables, summaries, comparison and report on many records.

    python benchmarks/report_scale.py RUN --models 1000 10000

multiplies the records of a finished run (new ids, the same content) into a folder of its own and measures each step in
a fresh process: seconds on the clock and of CPU (without imports), peak memory, size of what was written.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py

from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.records import read_row, write_record

STEPS = ("tables", "summary", "compare", "report")


def multiply(run: Path, to: Path, models: int) -> None:
    """A run directory with ``models`` records made from those of ``run`` in turn."""
    source, made = RunPaths(run), RunPaths(to)
    made.records.mkdir(parents=True)
    shutil.copy(source.plan, made.plan)
    records = [(read_row(path), _arrays(path)) for path in sorted(source.records.glob("*.h5"))]
    expected = []
    for number in range(models):
        row, arrays = records[number % len(records)]
        model_id = f"id-{number:08}"
        write_record(made.record(model_id), {**row, "model_id": model_id}, arrays)
        expected.append({"model_id": model_id, "poisoned": row.get("poisoned")})
    made.expected.write_text("".join(json.dumps(line) + "\n" for line in expected))


def _arrays(path: Path) -> dict[str, Any]:
    arrays: dict[str, Any] = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = list(node.asstr()[()]) if h5py.check_string_dtype(node.dtype) else node[()]

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return arrays


def step(name: str, run: Path) -> None:
    """Run one step here and print what it cost."""
    from trojai_seam import reporting
    from trojai_seam.batch.run_tables import write_tables

    began, worked = time.perf_counter(), time.process_time()
    size = 0
    if name == "tables":
        write_tables(RunPaths(run))
        size = RunPaths(run).results.stat().st_size
    elif name == "summary":
        size = len(reporting.summary_text(run, ["model_architecture", "trigger_type"], "csv"))
    elif name == "compare":
        other = run.with_name(run.name + "-b")
        if not other.exists():
            other.symlink_to(run)
        size = len(reporting.comparison_text(reporting.compare_runs([run, other]), "csv"))
    else:
        size = reporting.write_report(run).stat().st_size
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = f"{seconds:7.1f} s  {worked:7.1f} s CPU  {memory:7.0f} MB memory"
    print(f"{name:8}  {cost}  {size / 1e6:7.2f} MB written", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", type=int, nargs="+", default=[1000])
    parser.add_argument("--step", choices=STEPS)
    given = parser.parse_args()
    if given.step:
        step(given.step, given.run)
        return
    for models in given.models:
        with tempfile.TemporaryDirectory(prefix="trojai-seam-scale-") as folder:
            made = Path(folder) / "run"
            multiply(given.run, made, models)
            print(f"{models} records", flush=True)
            for name in STEPS:
                subprocess.run([sys.executable, __file__, str(made), "--step", name], check=True)


if __name__ == "__main__":
    main()
