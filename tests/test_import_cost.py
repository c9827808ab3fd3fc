"""Answers that need no network are quick: importing the package, ``--help`` and ``rounds`` never import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "timm", "transformers")

# Runs the statements in argv[1] and exits 99 with the heavy modules on stderr if they imported any.
RUNNER = f"""
import sys
try:
    exec(sys.argv[1], {{}})
except SystemExit as stop:
    if stop.code not in (None, 0):
        raise
heavy = [name for name in {HEAVY!r} if name in sys.modules]
if heavy:
    print("imported:", *heavy, file=sys.stderr)
    sys.exit(99)
"""


def run(statements: str, *extra_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*extra_path, TOP]))
    return subprocess.run(
        [sys.executable, "-c", RUNNER, statements],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "statements",
    [
        "import trojai_seam; trojai_seam.__version__; dir(trojai_seam)",
        "import trojai_seam.errors, trojai_seam.registry, trojai_seam.loading",
        "from trojai_seam.cli import main; raise SystemExit(main(['--help']))",
        "from trojai_seam.cli import main; raise SystemExit(main(['evaluate', '--help']))",
        "from trojai_seam.cli import main; raise SystemExit(main(['rounds']))",
    ],
)
def test_no_torch(statements):
    done = run(statements)
    assert done.returncode == 0, done.stderr
    if "main" in statements:
        assert done.stdout.strip()


@pytest.mark.parametrize("module", HEAVY)
def test_the_runner_sees_a_heavy_import(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("")
    done = run(f"def late():\n    import {module}\nlate()", tmp_path)
    assert (done.returncode, done.stderr) == (99, f"imported: {module}\n")


def test_the_runner_sees_a_failing_command():
    assert run("raise SystemExit(2)").returncode == 2
