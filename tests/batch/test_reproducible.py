"""Settings that make reruns equal must hold inside and be gone outside."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.utils.deterministic

from tests.made_rounds import write_round
from trojai_seam.batch.reproducible import reproducible
from trojai_seam.batch.runner import Options, evaluate


def settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_settings_hold_inside_and_come_back_after_an_error() -> None:
    before, inside = settings(), []

    def fail_inside() -> None:
        with reproducible(3):
            inside.append(settings())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail_inside()
    assert inside == [(3, False, False, True, False)]
    assert settings() == before


def test_a_callers_autocast_does_not_reach_inside() -> None:
    with torch.autocast("cpu"), reproducible():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_evaluating_leaves_the_callers_process_as_it_was(tmp_path: Path) -> None:
    write_round(tmp_path / "data")
    before = settings()
    evaluate(tmp_path / "data", tmp_path / "run", Options(preset="no-op", device="cpu", threads=2))
    assert settings() == before


def test_what_workers_keep_of_freed_memory_can_be_given_back() -> None:
    """In a process of its own: it changes the allocator for good."""
    script = (
        "import os, torch\n"
        "from trojai_seam.batch.executors.child import keep_freed_memory\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20\n"
        "give_back = keep_freed_memory()\n"
        "before = resident()\n"
        "torch.ones(64 << 20, dtype=torch.uint8)\n"
        "kept = resident() - before\n"
        "give_back()\n"
        "print(kept, resident() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert left < 16
    if platform.libc_ver()[0] == "glibc":
        assert kept > 48
