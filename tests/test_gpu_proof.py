"""benchmarks/gpu_proof.sh on a CPU, in tiny sizes: it has to work on the day when there is a GPU."""

from __future__ import annotations

import importlib
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torchvision
from torch import nn

from tests.made_rounds import write_round

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def proof(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_proof")


@pytest.mark.parametrize("part", ["heads", "images", "bert"])
def test_small_sets_are_evaluated_in_every_way_that_is_compared(part, proof, tmp_path):
    write_round(tmp_path / part, 1)  # any set will do
    head, rule, *lines = proof.PARTS[part](tmp_path, "cpu").splitlines()
    assert len(lines) == {"heads": 2, "images": 2, "bert": 1}[part]
    cells = [[cell.strip() for cell in one.strip("|").split("|")] for one in (head, *lines)]
    assert rule.count("---") == len(cells[0])
    for line in cells[1:]:
        told = dict(zip(cells[0], line, strict=True))
        assert told["models"] == "1"
        assert float(told["s"]) > 0
        assert float(told["seconds_forget"]) >= 0
        assert float(told["peak_memory"]) > 0


def test_refitting_and_loading_are_measured(proof, tmp_path, monkeypatch):
    layers = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    monkeypatch.setattr(proof.repair_cost, "network", lambda _: nn.Sequential(*layers, nn.Linear(128, 10)))
    monkeypatch.setitem(proof.repair_cost.NETWORKS, "vgg-32", ("tiny", 32, 10))
    found = proof.refit(tmp_path, "cpu", ("vgg-32",)).splitlines()[-1]
    assert found.startswith("| tiny | 32 | 10 | ")
    files = importlib.import_module("loading")
    monkeypatch.setitem(files.FILES, "tiny", {"squeezenet": torchvision.models.squeezenet1_1})
    lines = proof.loading(tmp_path, "cpu", ("squeezenet",)).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["torch", "ours"]


def test_parts_that_fail_or_take_too_long_are_said_and_the_others_stay(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '  *"-m pytest"*) echo "5 passed" ;;\n'
        '  *"gpu_proof.py heads --work $WORK --device cpu") echo "| a table |" ;;\n'
        "  *images*) echo begun; exec sleep 60 ;;\n"
        '  *bert*) echo "out of memory" >&2; exit 3 ;;\n'
        "  *-c*) echo libraries ;;\n"
        "  *) exit 9 ;;\n"
        "esac\n"
    )
    python.chmod(0o755)
    out, work = tmp_path / "out" / "gpu.md", tmp_path / "work"
    parts = {"PYTHON": str(python), "DEVICE": "cpu", "PARTS": "tests=30 heads=30 images=1 bert=30", "WORK": str(work)}
    line = ["bash", str(BENCHMARKS / "gpu_proof.sh"), str(out), str(work)]
    done = subprocess.run(line, env={**os.environ, **parts}, capture_output=True, text=True)
    assert done.returncode == 1
    text = out.read_text()
    assert done.stdout == text
    tests, heads, images, bert = text.split("\n## ")[1:]
    assert "5 passed" in tests
    assert "| a table |" in heads
    assert "begun" in images
    assert "Stopped: it took longer." in images
    assert "Failed with 3:" in bert
    assert "out of memory" in bert
