"""A record counts when it is on the disk, and not before: killed at every step of writing, with the order watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.files import leftovers, write_atomic
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.records import finished, read_rows
from trojai_seam.batch.runner import Options, evaluate

WRITER = """
import os, resource, signal, sys
from pathlib import Path
from trojai_seam.batch.files import write_atomic

step, record, content = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()
genuine = {"fsync": os.fsync, "replace": os.replace}
calls = []

def shot(name):
    def call(*arguments, **options):
        calls.append(name)
        here = f"{name} {calls.count(name)}"
        if step == f"before {here}":
            os.kill(os.getpid(), signal.SIGKILL)
        genuine[name](*arguments, **options)
        if step == f"after {here}":
            os.kill(os.getpid(), signal.SIGKILL)
    return call

os.fsync, os.replace = shot("fsync"), shot("replace")
if step == "half-written":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, len(content) // 2))
write_atomic(record, content)
"""
STEPS = {
    "half-written": False,
    "before fsync 1": False,
    "after fsync 1": False,
    "before replace 1": False,
    "after replace 1": True,
    "before fsync 2": True,
    "after fsync 2": True,
}
"""Whether the new record is there after a death at that step."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[RunPaths, str]:
    """A run of one model, and its fingerprint."""
    folder = tmp_path_factory.mktemp("durable")
    dataset = write_round(folder / "round", 1)
    evaluate(dataset, folder / "run", Options(round="r12", device="cpu", preset="no-op"))
    paths = RunPaths(folder / "run")
    return paths, read_rows(paths)[0]["fingerprint"]


@pytest.mark.skipif(sys.platform != "linux", reason="kills by Linux's signals and limits")
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_a_record_is_written(run, tmp_path, step):
    paths, fingerprint = run
    record = paths.record("id-00000000")
    content = tmp_path / "content"
    content.write_bytes(record.read_bytes())
    record.unlink()
    try:
        child = subprocess.run([sys.executable, "-c", WRITER, step, record, content], check=False, capture_output=True)
        assert child.returncode in (-signal.SIGKILL, -signal.SIGXFSZ), child.stderr
        # What a dead writer left is known as such, is never a record, and goes when the run is taken up again.
        assert len(list(leftovers(record.parent))) == (not STEPS[step])
        assert len(read_rows(paths)) == STEPS[step]
        assert bool(finished(paths, ["id-00000000"], fingerprint)) is STEPS[step]
        assert [path.name for path in record.parent.iterdir()] == [record.name] * STEPS[step]
    finally:
        write_atomic(record, content.read_bytes())


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    """Seen by a disk that keeps only what was synced: at the renaming the whole content was, at the end the name."""
    events: list[tuple[str, str, int]] = []
    genuine_sync, genuine_replace = os.fsync, os.replace

    def sync(descriptor):
        genuine_sync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append(("sync", path.name, 0 if path.is_dir() else path.stat().st_size))

    def replace(source, target, **options):
        genuine_replace(source, target, **options)
        events.append(("replace", Path(source).name, 0))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to tell which file is synced")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "records").mkdir()
    write_atomic(tmp_path / "records" / "x.h5", b"abc" * 1000)
    (_, synced, size), (_, renamed, _), folder = events
    assert [kind for kind, _, _ in events] == ["sync", "replace", "sync"]
    assert (synced, size) == (renamed, 3000)
    assert folder[1] == "records"
