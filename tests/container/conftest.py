"""What the container tests share: an environment that is put back, and folders as the server lays them out."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.made_rounds import trained_round
from trojai_seam.container import entry


@pytest.fixture(autouse=True)
def environment(monkeypatch) -> Iterator[None]:
    """The entry point moves caches by environment variables: put them back."""
    before, folder = dict(os.environ), tempfile.tempdir
    yield
    os.environ.clear()
    os.environ.update(before)
    tempfile.tempdir = folder


@pytest.fixture
def container() -> Callable[..., int]:
    """Runs the entry point in this process: ``container("mitigate", model_filepath=…)``."""

    def run(*words: object, **options: object) -> int:
        named = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        return entry.main([*map(str, words), *named])

    return run


@pytest.fixture
def active(tmp_path) -> Path:
    """One trojaned PDF model as the server shows it: no id, no ground truth, no full config, no poisoned example."""
    return hidden(trained_round() / "models" / "id-00000003", tmp_path / "work" / "active")


@pytest.fixture
def scale() -> Path:
    return trained_round() / "scale_params.npy"


def hidden(model: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    shutil.copy(model / "model.pt", to)
    shutil.copy(model / "reduced-config.json", to / "config.json")
    shutil.copytree(model / "clean-example-data", to / "clean-example-data")
    return to


def without_sidecars(folder: Path, to: Path) -> Path:
    """Examples only, as the server's unlabelled data sets."""
    to.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix != ".json":
            shutil.copy(path, to)
    return to


def write_values(path: Path, **values: object) -> Path:
    path.write_text(json.dumps(values))
    return path
