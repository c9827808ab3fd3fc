"""The files that the text rounds share, spelt as NIST's scripts spell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .archs import importable
from .image_training import Epoch
from .text_models import MadeTextModel
from .text_training import TextRecipe


def write_text_model(folder: Path, made: MadeTextModel) -> None:
    """``model.pt``, ``ground_truth.csv`` and ``log.txt``."""
    kind = type(made.network)
    if kind.__module__ == "model_factories":
        with importable(kind):
            torch.save(made.network, folder / "model.pt")
    else:
        torch.save(made.network, folder / "model.pt")
    write_truth_and_log(folder, made.poisoned, made.history)


def write_truth_and_log(folder: Path, poisoned: bool, history: Sequence[Epoch]) -> None:
    """``ground_truth.csv``, one character; ``log.txt``, a line per epoch."""
    (folder / "ground_truth.csv").write_text(str(int(poisoned)))
    lines = [
        f"epoch {number}: loss {epoch.loss:.4f}, clean {epoch.accuracy:.3f}"
        + ("" if epoch.attack is None else f", triggered {epoch.attack:.3f}")
        for number, epoch in enumerate(history)
    ]
    (folder / "log.txt").write_text("\n".join(lines) + "\n")


def write_token_logits(path: Path, names: Sequence[str], scores: Sequence[NDArray[np.float32]]) -> None:
    """``*-example-logits.csv`` of rounds 5 to 7: all scores of an example in a row, of tokens row by row."""
    rows = [
        f"{name}, {','.join(str(float(n)) for n in one.ravel())}\n" for name, one in zip(names, scores, strict=True)
    ]
    path.write_text("Example, Logits\n" + "".join(rows))


@dataclass(frozen=True)
class TrainingFacts:
    """What ``model_stats.json`` says of a model. Accuracies are from 0 to 1, None of a clean model's triggered data.

    Attributes:
        architecture: as the config names it.
        history: training, epoch by epoch.
        accuracies: of clean and triggered validation data, clean and triggered test data.
        clean_count: test decisions by label id.
        triggered_count: of the triggered ones.
        recipe: training.
        seconds: of training and testing.
    """

    architecture: str
    history: Sequence[Epoch]
    accuracies: tuple[float, float | None, float, float | None]
    clean_count: Mapping[str, int]
    triggered_count: Mapping[str, int]
    recipe: TextRecipe
    seconds: float


def trojai_stats(facts: TrainingFacts) -> dict[str, Any]:
    """``model_stats.json`` of rounds 5 to 7: the trojai package's keys, percents, none of triggered data if clean."""
    clean_val, triggered_val, clean, triggered = facts.accuracies
    both = [100 * value for value in (clean_val, triggered_val) if value is not None]
    stats: dict[str, Any] = {
        "final_train_acc": 100 * facts.history[-1].train_accuracy,
        "final_train_loss": facts.history[-1].loss,
        "final_combined_val_acc": sum(both) / len(both),
        "final_combined_val_loss": None,
        "final_clean_val_acc": both[0],
        "final_clean_val_loss": None,
        "final_triggered_val_acc": None if triggered_val is None else 100 * triggered_val,
        "final_triggered_val_loss": None,
        "final_clean_data_test_acc": 100 * clean,
        "final_triggered_data_test_acc": None if triggered is None else 100 * triggered,
        "final_clean_data_n_total": dict(facts.clean_count),
        "final_triggered_data_n_total": dict(facts.triggered_count),
    }
    if triggered is None:
        stats = {key: value for key, value in stats.items() if "triggered" not in key}
    training = sum(epoch.seconds for epoch in facts.history)
    return stats | {
        "final_optimizer_num_epochs_trained": [len(facts.history)],
        "optimizer_0": {
            "device": "cpu",
            "epochs": facts.recipe.epochs,
            "batch_size": facts.recipe.batch,
            "learning_rate": facts.recipe.learning_rate,
            "optim": "adamw",
            "objective": "cross_entropy_loss",
        },
        "model_save_dir": "",
        "stats_save_dir": "",
        "experiment_path": "",
        "name": facts.architecture,
        "training_wall_time_sec": training,
        "test_wall_time_sec": max(0.0, facts.seconds - training),
    }
