from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = [
    "inf-weights", "legacy-reduce-exec", "nested-lists", "record-one-byte-short", "stack-global-popen", "storage-8gb",
    "wrong-shape-linear", "zip-reduce-popen",
]  # fmt: skip
CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import describe, read_model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
try:
    answer = {"outcome": "loads", "shapes": {name: ref.size for name, ref in read_model(sys.argv[1]).tensors.items()}}
except RefusedArchive as problem:
    answer = {"outcome": "refused", "message": str(problem), "where": problem.where}
answer["seconds"] = time.perf_counter() - begun
answer["grown_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
answer["torch"] = "torch" in sys.modules
print(json.dumps(answer))
"""


@pytest.mark.parametrize("name", NAMES)
def test_hostile_file_in_a_child_with_little_memory(name: str, era_model: Callable[..., Path]) -> None:
    folder = era_model(name, "hostile-models")
    expected = json.loads((folder / "expected.json").read_text())
    marker = Path(expected.get("marker", "/tmp/trojai-hostile-marker-none"))  # noqa: S108
    marker.unlink(missing_ok=True)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, os.fspath(folder / "model.pt")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not marker.exists()
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout)
    # What cannot be rebuilt is found out later, by the network that the tensors must fit.
    wanted = {"refused": "refused", "loads": "loads", "rebuild-error": "loads"}[expected["expect"]]
    assert answer["outcome"] == wanted
    assert answer["grown_kib"] < 64 * 1024
    assert answer["seconds"] < 5
    assert not answer["torch"]
    if wanted == "refused":
        assert "\n" not in answer["message"]
        assert "model.pt" in answer["message"]
        assert answer["where"]
    if name == "wrong-shape-linear":
        assert answer["shapes"]["linear.weight"] == [2, 20]


def test_all_hostile_files_are_listed(shared: Path) -> None:
    assert {folder.name for folder in (shared / "hostile-models").iterdir() if folder.is_dir()} == set(NAMES)
