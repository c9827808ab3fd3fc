"""Fixtures for every test: the shared folder with real and period model files, which lies outside the repository."""

from __future__ import annotations

import atexit
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests run beside each other, in worker processes and subprocesses; more threads than cores only slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Never the cache of whoever runs the tests.
os.environ["TROJAI_SEAM_CACHE"] = tempfile.mkdtemp(prefix="trojai-seam-cache-")
atexit.register(shutil.rmtree, os.environ["TROJAI_SEAM_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the repository, or ``TROJAI_SEAM_SHARED``; tests that need it skip without."""
    folder = Path(os.environ.get("TROJAI_SEAM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "era-models").is_dir():
        pytest.skip(f"needs the period model files in {folder}/era-models (set TROJAI_SEAM_SHARED)")
    return folder


@pytest.fixture(scope="session")
def era_model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``era_model("r1-resnet50")``: a folder with that ``model.pt`` unpacked and its config files, made once."""
    made: dict[str, Path] = {}

    def unpack(name: str, collection: str = "era-models") -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            for source in (shared / collection / name).iterdir():
                if source.suffix == ".xz":
                    with lzma.open(source) as packed, open(folder / source.stem, "wb") as plain:
                        shutil.copyfileobj(packed, plain, 1 << 20)
                else:
                    shutil.copyfile(source, folder / source.name)
            made[name] = folder
        return made[name]

    return unpack
