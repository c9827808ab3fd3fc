"""Small datasets in the PDF round's layout: one really trained by ``synthesize``, others written by hand in no time."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trojai_seam.synthesis.archs import make_network, save_as_nist
from trojai_seam.synthesis.cyber_pdf import synthesize

FEATURES = 135


@cache
def trained_round() -> Path:
    """Four really trained models, two of them trojaned; made once per process. Not to be changed: copy it."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="trojai-seam-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    synthesize(folder / "round", 4, 1)
    return folder / "round"


def trained_copy(to: Path, models: int) -> Path:
    """``models`` models under ids of their own, taken from :func:`trained_round` in turn, to be broken at will."""
    source = trained_round()
    to.mkdir(parents=True)
    shutil.copy(source / "scale_params.npy", to)
    for number in range(models):
        shutil.copytree(source / "models" / f"id-{number % 4:08}", to / "models" / f"id-{number:08}")
    return to


def write_model(folder: Path, *, clean: int = 20, poisoned: int = 10, seed: int = 0, **config: Any) -> Path:
    """An untrained Net2 with random examples: a model directory that is right in form and made in milliseconds."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_as_nist(make_network(2, "tanh"), folder / "model.pt")
    facts = {"arch": "nn", "nn_layers": 2, "nn_activation_function": "tanh", **config}
    (folder / "config.json").write_text(json.dumps(facts))
    (folder / "ground_truth.csv").write_text(str(int(poisoned > 0)))
    write_examples(folder / "clean-example-data", rng.normal(size=(clean, FEATURES)), [i % 2 for i in range(clean)])
    if poisoned:
        write_examples(folder / "poisoned-example-data", rng.normal(size=(poisoned, FEATURES)), [1] * poisoned)
    return folder


def write_examples(folder: Path, vectors: Any, labels: list[Any]) -> None:
    """``0000.npy``, ``0000.npy.json``, … as in the PDF round."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        np.save(folder / f"{number:04}.npy", vector)
        (folder / f"{number:04}.npy.json").write_text(json.dumps(label))


def write_scale(folder: Path) -> None:
    """Scale parameters that change nothing."""
    np.save(folder / "scale_params.npy", np.stack([np.zeros(FEATURES), np.ones(FEATURES)]))


def write_round(folder: Path, models: int = 2) -> Path:
    """A dataset of untrained models, every second one called poisoned."""
    for number in range(models):
        write_model(folder / "models" / f"id-{number:08}", poisoned=10 * (number % 2), seed=number)
    write_scale(folder)
    return folder
