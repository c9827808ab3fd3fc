"""The Dockerfile and what it puts at fixed paths. Building it takes benchmarks/container_proof.sh."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.schema_rules import issues
from trojai_seam import __version__
from trojai_seam.container.metaparameters import KINDS, packaged
from trojai_seam.container.packaging import write_fixed_files

TOP = Path(__file__).resolve().parents[2]

if not (TOP / "Dockerfile").is_file():
    pytest.skip("these tests look at the checkout's Dockerfile", allow_module_level=True)


def instructions() -> list[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in (TOP / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_files_pass_the_servers_rules(kind, tmp_path):
    write_fixed_files(kind, tmp_path, "0123abcd")
    values = json.loads((tmp_path / "metaparameters.json").read_text())
    schema = json.loads((tmp_path / "metaparameters_schema.json").read_text())
    assert issues(schema, values) == []
    assert values == packaged(kind, "metaparameters")
    assert schema["commit_id"] == "0123abcd"
    assert any((tmp_path / "learned_parameters").iterdir())


def test_fixed_files_without_a_commit(tmp_path):
    line = [sys.executable, "-m", "trojai_seam.container.packaging", "detection", str(tmp_path), ""]
    assert subprocess.run(line, cwd=TOP).returncode == 0
    assert json.loads((tmp_path / "metaparameters_schema.json").read_text())["commit_id"] == __version__
    line[3] = "deletion"
    assert subprocess.run(line, cwd=TOP, capture_output=True).returncode == 1


def test_the_entry_point_takes_the_callers_words_as_they_are():
    last = [line.partition(" ") for line in instructions()]
    (entry,) = [rest for word, _, rest in last if word == "ENTRYPOINT"]
    assert json.loads(entry)[1:] == ["-m", "trojai_seam.container"]  # exec form: a JSON list
    assert "CMD" not in [word for word, _, _ in last]
    (user,) = [rest for word, _, rest in last if word == "USER"]
    assert user.split(":")[0] not in ("0", "root")


def test_what_is_copied_is_let_through_and_exists():
    allowed = [line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert "*" in (TOP / ".dockerignore").read_text().splitlines()
    copied = [
        source
        for line in instructions()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert {"trojai_seam", "round_configs", "constraints-ci.txt"} <= set(copied)
    for source in copied:
        assert (TOP / source).exists()
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source
    assert sorted(allowed) == sorted(set(copied))  # nothing else gets into the build


def test_the_network_is_off_and_the_versions_are_pinned():
    text = "\n".join(instructions())
    for variable in ("HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "PYTHONDONTWRITEBYTECODE=1"):
        assert variable in text
    assert "PIP_CONSTRAINT=/build/constraints-ci.txt" in text
    pins = (TOP / "constraints-ci.txt").read_text()
    assert re.search(r"^torch==", pins, re.MULTILINE)
