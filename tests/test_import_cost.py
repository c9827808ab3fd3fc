"""Every command imports what it needs: answers that need no network come without torch, unlearning without torch's
compiler, tables alone with pandas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_rounds import write_round

TOP = Path(__file__).parents[1]
NETWORKS = ("torch", "torchvision", "timm", "transformers")
COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "triton")
"""What torchvision and transformers import themselves; without them nothing calls for it."""
TABLES = ("pandas", "pyarrow")
DRAWING = ("matplotlib",)
LIGHT = (*NETWORKS, *TABLES, *DRAWING, "scipy")
FEATURES = ("torchvision", "timm", "transformers", *COMPILER, *DRAWING, "ray")
"""What networks on feature vectors do without."""
FEW = ["--device", "cpu", "--round", "r12", "--quiet", "--limit", "1", "--set", "max_epochs=1"]

# Runs the statements in argv[1] and exits 99 with the unwanted modules (argv[2]) on stderr if they imported any.
RUNNER = """
import sys
try:
    exec(sys.argv[1], {})
except SystemExit as stop:
    if stop.code not in (None, 0):
        raise
unwanted = [name for name in sys.argv[2].split() if name in sys.modules]
if unwanted:
    print("imported:", *unwanted, file=sys.stderr)
    sys.exit(99)
"""


def run(statements: str, *extra_path: Path, without: tuple[str, ...] = LIGHT) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*extra_path, TOP]))
    return subprocess.run(
        [sys.executable, "-c", RUNNER, statements, " ".join(without)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def command(*words: str | Path) -> str:
    return f"from trojai_seam.cli import main; raise SystemExit(main({[str(word) for word in words]!r}))"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_round(tmp_path_factory.mktemp("imports") / "round", 2)


@pytest.fixture(scope="module")
def finished(dataset) -> Path:
    """The run directory that ``evaluate`` leaves, and with it the test of what that imports."""
    folder = dataset.parent / "run"
    done = run(command("evaluate", dataset, "--out", folder, *FEW), without=FEATURES)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "statements",
    [
        "import trojai_seam; trojai_seam.__version__; dir(trojai_seam)",
        "import trojai_seam.errors, trojai_seam.registry, trojai_seam.loading",
        "import trojai_seam.tasks, trojai_seam.scoring, trojai_seam.unlearning, trojai_seam.tables",
        "from trojai_seam.rounds import list_rounds\nfrom trojai_seam.unlearning import resolve\n"
        "[resolve(name) for one in list_rounds() for name in one.presets]",
        "import trojai_seam.batch.runner, trojai_seam.batch.executors.pool",
        command("--help"),
        command("evaluate", "--help"),
        command("rounds"),
    ],
)
def test_neither_torch_nor_pandas(statements):
    done = run(statements)
    assert done.returncode == 0, done.stderr
    if "main" in statements:
        assert done.stdout.strip()


def test_unlearning_features_imports_no_compiler(finished):
    assert (finished / "results.csv").is_file()


@pytest.mark.parametrize(("words", "needs"), [(["tables"], TABLES), (["report"], (*TABLES, *DRAWING))])
def test_what_reads_records_does_without_torch(finished, words, needs):
    done = run(command(*words, finished), without=tuple(name for name in LIGHT if name not in needs))
    assert done.returncode == 0, done.stderr


def test_comparing_does_without_torch(finished, dataset):
    (dataset.parent / "other").mkdir(exist_ok=True)
    other = dataset.parent / "other" / "run"
    if not other.exists():
        other.symlink_to(finished)
    done = run(command("compare", finished, other), without=(*NETWORKS, *DRAWING, "scipy"))
    assert done.returncode == 0, done.stderr


def test_looking_at_models_imports_neither_torch_nor_pandas_here(dataset):
    done = run(command("evaluate", dataset, "--round", "r12", "--check", "--quiet"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all good\n"


def test_inspecting_a_model_imports_no_torch(dataset):
    done = run(command("inspect", dataset / "models" / "id-00000000"))
    assert done.returncode == 0, done.stderr


def test_the_parent_of_a_pool_does_without_torch(dataset, finished):
    """It plans, hands out and tabulates; what its worker imports stands in the worker's own row."""
    line = ["evaluate", dataset, "--out", dataset.parent / "pool", "--executor", "pool", *FEW]
    if Path("/dev/nvidiactl").exists():
        pytest.skip("where there is a GPU, torch is asked how many")
    done = run(command(*line), without=(*NETWORKS, *DRAWING, "scipy"))
    assert done.returncode == 0, done.stderr
    assert (dataset.parent / "pool" / "results.csv").is_file()


def test_a_worker_of_a_pool_does_without_tables_and_compiler(dataset, finished):
    statements = f"""
from pathlib import Path
from trojai_seam.batch.case import Surroundings
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.reproducible import reproducible
from trojai_seam.batch.starting import warm_up
from trojai_seam.batch.units import Assignment, WorkUnit
from trojai_seam.batch.plan import Plan
from trojai_seam.batch.worker import evaluate_units
from trojai_seam.loading import Budget
from trojai_seam.rounds import discover, get_round
from trojai_seam.unlearning import resolve
config = get_round("r12")
warm_up("cpu")
options = {{"max_epochs": "1"}}
plan = Plan({str(dataset)!r}, config, resolve("default", options))
folder = Path({str(dataset.parent / "worker")!r})
(folder / "records").mkdir(parents=True)
given = Assignment(plan, RunPaths(folder), Budget(), None, None)
(unit, *_) = [WorkUnit(directory, given, None) for directory in discover(Path({str(dataset)!r}))]
rows = []
evaluate_units([unit], "cpu", lambda unit, row: rows.append(row) or True, Surroundings(start=1.5))
assert rows[0]["status"] == "done", rows
assert rows[0]["seconds_start"] == 1.5
"""
    done = run(statements, without=(*FEATURES, *TABLES))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", NETWORKS)
def test_the_runner_sees_an_unwanted_import(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("")
    done = run(f"def late():\n    import {module}\nlate()", tmp_path)
    assert (done.returncode, done.stderr) == (99, f"imported: {module}\n")


def test_the_runner_sees_a_failing_command():
    assert run("raise SystemExit(2)").returncode == 2
