"""A dataset folder that appears under its name only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TrojaiSeamError, UsageProblem

MOST_MODELS = 100_000


class SynthesisFailure(TrojaiSeamError):
    """A model could not be trained to NIST's standard (accuracy, and attack success if trojaned)."""

    kind = "synthesis"


@contextmanager
def new_dataset(out: Path, models: int) -> Iterator[Path]:
    """A folder beside ``out`` to write into; it takes the name ``out`` at the end, and vanishes if anything fails.

    Raises:
        UsageProblem: ``out`` exists and is not empty, ``models`` is out of range, or ``out`` cannot be written.
    """
    if not 1 <= models <= MOST_MODELS:
        raise UsageProblem(f"--models {models}: expected 1 to {MOST_MODELS}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageProblem(f"{out}: exists and is not empty; give a new folder")
    out = Path(os.path.abspath(out))
    beside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        beside.mkdir(parents=True)
        yield beside
        if out.exists():
            out.rmdir()
        beside.rename(out)
    except OSError as problem:
        raise UsageProblem(f"{out}: cannot be written: {problem.strerror or problem}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
