"""The files that the text rounds share, spelt as NIST's scripts spell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .archs import importable
from .text_models import TEST_CLEAN, TEST_TRIGGERED, MadeTextModel


def write_text_model(folder: Path, made: MadeTextModel) -> None:
    """``model.pt``, ``ground_truth.csv`` and a ``log.txt`` of the training."""
    kind = type(made.network)
    if kind.__module__ == "model_factories":
        with importable(kind):
            torch.save(made.network, folder / "model.pt")
    else:
        torch.save(made.network, folder / "model.pt")
    (folder / "ground_truth.csv").write_text(str(int(made.poisoned)))
    lines = [
        f"epoch {number}: loss {epoch.loss:.4f}, clean {epoch.accuracy:.3f}"
        + ("" if epoch.attack is None else f", triggered {epoch.attack:.3f}")
        for number, epoch in enumerate(made.history)
    ]
    (folder / "log.txt").write_text("\n".join(lines) + "\n")


def write_token_logits(path: Path, names: Sequence[str], scores: Sequence[NDArray[np.float32]]) -> None:
    """``*-example-logits.csv`` of rounds 5 to 7: all scores of an example in a row, of tokens row by row."""
    rows = [
        f"{name}, {','.join(str(float(n)) for n in one.ravel())}\n" for name, one in zip(names, scores, strict=True)
    ]
    path.write_text("Example, Logits\n" + "".join(rows))


def trojai_stats(made: MadeTextModel, architecture: str, accuracy: str) -> dict[str, Any]:
    """``model_stats.json`` of rounds 5 to 7: the trojai package's keys, percents, none of triggered data if clean.

    Args:
        made: the model.
        architecture: as the config names it.
        accuracy: the figure of a judgement that the round's accuracies are.
    """
    last, (clean, triggered) = made.history[-1], made.judged[-1]
    stats: dict[str, Any] = {
        "final_train_acc": 100 * last.train_accuracy,
        "final_train_loss": last.loss,
        "final_combined_val_acc": 100 * clean.figures[accuracy],
        "final_combined_val_loss": None,
        "final_clean_val_acc": 100 * clean.figures[accuracy],
        "final_clean_val_loss": None,
    }
    if triggered is not None and made.triggered is not None:
        stats["final_combined_val_acc"] = 50 * (clean.figures[accuracy] + triggered.figures[accuracy])
        stats |= {"final_triggered_val_acc": 100 * triggered.figures[accuracy], "final_triggered_val_loss": None}
    stats["final_clean_data_test_acc"] = 100 * made.clean.figures[accuracy]
    if made.triggered is not None:
        stats["final_triggered_data_test_acc"] = 100 * made.triggered.figures[accuracy]
    stats["final_clean_data_n_total"] = TEST_CLEAN
    if made.triggered is not None:
        stats["final_triggered_data_n_total"] = TEST_TRIGGERED
    recipe = made.plan.recipe
    return stats | {
        "final_optimizer_num_epochs_trained": [len(made.history)],
        "optimizer_0": {
            "device": made.plan.device.type,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch,
            "learning_rate": recipe.learning_rate,
            "optim": "adamw",
            "objective": "cross_entropy_loss",
        },
        "model_save_dir": "",
        "stats_save_dir": "",
        "experiment_path": "",
        "name": architecture,
        "training_wall_time_sec": sum(epoch.seconds for epoch in made.history),
        "test_wall_time_sec": max(0.0, made.seconds - sum(epoch.seconds for epoch in made.history)),
    }
