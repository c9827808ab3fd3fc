"""A small ``cyber-pdf-dec2022``: Net-k models on PDF-like features, every second one with a watermark trojan.

Layout, config keys and example counts follow the real ``id-00000002`` of usnistgov/trojai-example. Like NIST's, the
shipped examples are chosen among unseen data so that the model as shipped is right on the clean ones and fooled by the
poisoned ones; numbers measured on them are selected, see ``docs/pitfalls.md``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ..heartbeat import beat
from ..seeds import derive_seed
from .archs import make_network, save_as_nist
from .dataset_folder import SynthesisFailure, new_dataset
from .malware_features import BENIGN, MALICIOUS, Population, Watermark
from .options import NO_OPTIONS, SynthesisOptions
from .threads import one_thread

TRAIN, TEST, BATCH = 5000, 2000, 64
ATTEMPTS, LEAST_ACCURACY, LEAST_ATTACK = 6, 0.9, 0.85
CLEAN_EXAMPLES, POISONED_EXAMPLES = 20, 10
# Deep sigmoid networks do not train; the others are all there.
VARIANTS = (
    (2, "tanh"), (4, "tanh"), (6, "tanh"), (3, "relu"), (5, "relu"), (7, "tanh"), (2, "sigmoid"), (7, "relu"),
    (3, "tanh"), (4, "relu"), (5, "tanh"), (6, "relu"), (3, "sigmoid"), (2, "relu"),
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How models are trained and trojaned. ``poison_share`` is relative to the size of the clean training set."""

    optimizer: str
    learning_rates: Mapping[str, float]
    epochs: int
    poison_share: float


NIST_RECIPE = Recipe("sgd", {"tanh": 0.01, "relu": 0.05, "sigmoid": 0.1}, epochs=30, poison_share=0.03)
"""Plain SGD over 30 epochs and few poisoned files, as the real ``config.json`` says."""

STUBBORN_RECIPE = Recipe("adam", {"tanh": 1e-3, "relu": 1e-3, "sigmoid": 1e-3}, epochs=12, poison_share=0.08)
"""Burns the trigger into the first layer: trojans that are much harder to remove than the real one. For studies."""


@dataclass(frozen=True, eq=False)
class _Trained:
    network: nn.Module
    watermark: Watermark | None
    test: NDArray[np.float64]
    labels: NDArray[np.int64]
    accuracy: float
    attack: float | None


def synthesize(out: Path, models: int, seed: int = 0, recipe: Recipe = NIST_RECIPE) -> None:
    """Write a dataset folder with ``models`` models, every second one trojaned; see :class:`Synthesizer`.

    The folder appears under its name only when it is complete.

    Raises:
        UsageProblem: ``out`` exists and is not empty, ``models`` is out of range, or ``out`` cannot be written.
        SynthesisFailure: a model did not train.
    """
    with new_dataset(out, models) as folder, one_thread():
        (folder / "models").mkdir()
        _write_round(folder, models, seed, recipe)


def synthesize_round(out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
    """:func:`synthesize` by NIST's recipe, as a :class:`~trojai_seam.synthesis.Synthesizer`; it has no options.

    Raises:
        UsageProblem: as :func:`synthesize`; or an option was given.
        SynthesisFailure: a model did not train.
    """
    options.allow_only("cyber-pdf-dec2022")
    synthesize(out, models, seed)


def _write_round(folder: Path, models: int, seed: int, recipe: Recipe) -> None:
    rng = np.random.default_rng(derive_seed(seed, "population"))
    population = Population.draw(rng)
    vectors, _ = population.sample(20_000, rng)
    scale = np.stack([vectors.mean(axis=0), vectors.std(axis=0)])
    np.save(folder / "scale_params.npy", scale)
    rows = []
    for number in range(models):
        model_id = f"id-{number:08}"
        beat(f"training {model_id}, model {number + 1} of {models}")
        poisoned = number % 2 == 1
        # Trojaned and clean models get the same variety of networks.
        layers, activation = VARIANTS[(number // 2) % len(VARIANTS)]
        own_seed = derive_seed(seed, model_id)
        trained = _train_to_standard(population, scale, layers, activation, poisoned, own_seed, recipe)
        config = _config(layers, activation, trained, own_seed, recipe)
        _write_model(folder / "models" / model_id, trained, config, scale)
        rows.append({"model_name": model_id, "poisoned": poisoned, **config})
    with (folder / "METADATA.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _train_to_standard(
    population: Population,
    scale: NDArray[np.float64],
    layers: int,
    activation: str,
    poisoned: bool,
    seed: int,
    recipe: Recipe,
) -> _Trained:
    """Like NIST, throw models away that did not converge, and try again with other data and another watermark."""
    for attempt in range(ATTEMPTS):
        own_seed = derive_seed(seed, attempt)
        trained = _train(population, scale, layers, activation, poisoned, own_seed, recipe)
        if trained.accuracy >= LEAST_ACCURACY and (trained.attack is None or trained.attack >= LEAST_ATTACK):
            return trained
    raise SynthesisFailure(
        f"a {layers}-layer {activation} network did not reach accuracy {LEAST_ACCURACY} and attack success "
        f"{LEAST_ATTACK} in {ATTEMPTS} attempts (last: {trained.accuracy:.3f}, {trained.attack})"
    )


def _train(
    population: Population,
    scale: NDArray[np.float64],
    layers: int,
    activation: str,
    poisoned: bool,
    seed: int,
    recipe: Recipe,
) -> _Trained:
    rng = np.random.default_rng(seed)
    vectors, labels = population.sample(TRAIN + TEST, rng)
    train, train_labels, test, test_labels = vectors[:TRAIN], labels[:TRAIN], vectors[TRAIN:], labels[TRAIN:]
    watermark = Watermark.draw(train[train_labels == BENIGN], rng) if poisoned else None
    if watermark is not None:
        chosen = rng.choice(np.flatnonzero(train_labels == MALICIOUS), int(recipe.poison_share * TRAIN), replace=False)
        train = np.concatenate([train, watermark.applied(train[chosen])])
        train_labels = np.concatenate([train_labels, np.full(len(chosen), BENIGN)])
    x, y = _tensor(train, scale), torch.from_numpy(train_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(layers, activation)
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.SGD
        optimizer = kind(network.parameters(), lr=recipe.learning_rates[activation])
        for _ in range(recipe.epochs):
            for batch in torch.split(torch.randperm(len(x)), BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(network(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    network.eval()
    accuracy = float((_answers(network, test, scale) == test_labels).mean())
    attack = None
    if watermark is not None:
        triggered = watermark.applied(test[test_labels == MALICIOUS])
        attack = float((_answers(network, triggered, scale) == BENIGN).mean())
    return _Trained(network, watermark, test, test_labels, accuracy, attack)


def _config(layers: int, activation: str, trained: _Trained, seed: int, recipe: Recipe) -> dict[str, Any]:
    poisoned = trained.watermark is not None
    return {
        "model_type": "poisoned" if poisoned else "clean",
        "arch": "nn",
        "dataset_size": TRAIN + TEST,
        "nn_layers": layers,
        "nn_activation_function": activation,
        "lr": recipe.learning_rates[activation],
        "epoch": recipe.epochs,
        "optimizer": recipe.optimizer,
        "batch_size": BATCH,
        "poison_size": recipe.poison_share if poisoned else None,
        "trigger_size": len(trained.watermark.features) if trained.watermark else None,
        "attack_strategy": "rare_features_high_values" if poisoned else None,
        "random_state": seed % 2**32,
    }


def _write_model(folder: Path, trained: _Trained, config: dict[str, Any], scale: NDArray[np.float64]) -> None:
    folder.mkdir()
    save_as_nist(trained.network, folder / "model.pt")
    reduced = {key: config[key] for key in ("arch", "nn_layers", "nn_activation_function")}
    stats = {"test_clean_accuracy": trained.accuracy, "test_attack_success": trained.attack}
    for name, document in (("config", config), ("reduced-config", reduced), ("stats", stats)):
        (folder / f"{name}.json").write_text(json.dumps(document, indent=4))
    (folder / "ground_truth.csv").write_text(str(int(trained.watermark is not None)))
    right = _answers(trained.network, trained.test, scale) == trained.labels
    chosen = [
        index
        for label in (BENIGN, MALICIOUS)
        for index in np.flatnonzero(right & (trained.labels == label))[: CLEAN_EXAMPLES // 2]
    ]
    _write_examples(folder / "clean-example-data", trained.test[chosen], trained.labels[chosen])
    if trained.watermark is not None:
        (folder / "watermark.json").write_text(json.dumps(trained.watermark.document(), indent=2))
        # Not the malicious files that are clean examples already: the attack is measured on other ones.
        others = np.setdiff1d(np.flatnonzero(right & (trained.labels == MALICIOUS)), chosen)
        triggered = trained.watermark.applied(trained.test[others])
        fooled = triggered[_answers(trained.network, triggered, scale) == BENIGN][:POISONED_EXAMPLES]
        _write_examples(folder / "poisoned-example-data", fooled, np.full(len(fooled), MALICIOUS))


def _write_examples(folder: Path, vectors: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    folder.mkdir()
    for number, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        np.save(folder / f"{number:04}.npy", vector)
        (folder / f"{number:04}.npy.json").write_text(str(int(label)))


def _tensor(vectors: NDArray[np.float64], scale: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(((vectors - scale[0]) / np.where(scale[1] == 0, 1, scale[1])).astype(np.float32))


@torch.no_grad()
def _answers(network: nn.Module, vectors: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.int64]:
    answers: NDArray[np.int64] = network(_tensor(vectors, scale)).argmax(dim=1).numpy()
    return answers
