"""Mistakes on the command line: found before anything of weight is imported, with what may have been meant."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_import_cost import run

MISTAKES = {
    "evalute x": "did you mean evaluate",
    "evaluate . --prest x": "did you mean --preset",
    "-q evaluate . --out r": "-q stands before the command; options come after it: evaluate … -q",
    "--seed 3 evaluate .": "--seed stands before the command",
    "--verson evaluate .": "did you mean --version",
    "evaluate . ": "evaluate needs --out RUN",
    "evaluate --out r": "evaluate needs DATASET",
    "evaluate nothing-there --out r": "nothing-there: no such folder",
    "evaluate . --out r --preset fintune": "did you mean finetune",
    "evaluate . --out r --round cyber-pdf-dec2023": "did you mean cyber-pdf-dec2022",
    "evaluate . --out r --shard 9/8": "expected i/n with 1 <= i <= n",
    "evaluate . --out r --executor poll": "did you mean pool",
    "evaluate . --out r --device gpu": "expected auto, cpu, cuda",
    "evaluate . --out r --retry fail": "did you mean failed",
    "evaluate . --out r --workers 0": "--workers 0: expected at least 1",
    "compare nothing-there nor-there": "nothing-there: is not a run directory",
    "report nothing-there": "nothing-there: is not a run directory",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_found_without_torch(line):
    done = run(f"from trojai_seam.cli import main; raise SystemExit(main({line.split()!r}))")
    assert done.returncode == 2, done.stderr  # 99: something heavy was imported
    (message,) = [text for text in done.stderr.splitlines() if text.startswith("trojai-seam")]
    assert MISTAKES[line] in message


def test_a_mistake_imports_neither_pandas_nor_numpy():
    code = (
        "import sys; from trojai_seam.cli import main; main(['evaluate', '.', '--out', 'r', '--preset', 'fintune']); "
        "sys.exit(sorted({'numpy', 'pandas', 'pydantic', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "did you mean finetune" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_can_complete(shell):
    done = run(f"from trojai_seam.cli import main; main(['completion', {shell!r}])")
    assert done.returncode == 0, done.stderr
    assert "--fit-per-class" in done.stdout
    assert "evaluate" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)
