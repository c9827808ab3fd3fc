"""The files that the image rounds share, spelt as NIST's scripts spell them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .image_models import TEST_PER_ATTACK, TEST_PER_CLASS, MadeModel
from .image_training import Epoch
from .scenes import Pictures
from .signs import draw_sign

Logits = NDArray[np.float32]


def write_json(path: Path, document: object) -> None:
    """Indented by two, as NIST's."""
    path.write_text(json.dumps(document, indent=2))


def write_model(folder: Path, made: MadeModel) -> None:
    """``model.pt``, ``ground_truth.csv`` and ``foregrounds/``."""
    torch.save(made.network, folder / "model.pt")
    (folder / "ground_truth.csv").write_text(str(int(made.poisoned)))
    (folder / "foregrounds").mkdir()
    for sign in made.signs:
        Image.fromarray(draw_sign(sign)).save(folder / "foregrounds" / sign.file_name)


def write_images(folder: Path, names: Sequence[str], pictures: Pictures) -> None:
    """PNG files in a new or existing folder."""
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / name)


def write_accuracy(path: Path, logits: Logits, expected: Sequence[int]) -> float:
    """One number in percent, which is also returned."""
    percent = 100 * float((logits.argmax(axis=1) == np.array(expected)).mean())
    path.write_text(str(percent))
    return percent


def write_plain_logits(path: Path, names: Sequence[str], logits: Logits) -> None:
    """R4's ``*-example-logits.csv``: unquoted, so that readers see a ragged table."""
    rows = [f"{name}, {','.join(str(float(n)) for n in row)}\n" for name, row in zip(names, logits, strict=True)]
    path.write_text("Example, Logits\n" + "".join(rows))


def write_bracketed_logits(path: Path, names: Sequence[str], logits: Logits) -> None:
    """R3's, as far as is known: numpy's own text, which wraps over lines."""
    rows = [f"{name}, {np.array2string(row)}\n" for name, row in zip(names, logits, strict=True)]
    path.write_text("Example, Logits\n" + "".join(rows))


def model_stats(made: MadeModel) -> dict[str, Any]:
    """``model_stats.json`` of R2 to R4: the trojai package's keys, in percent."""
    last, poisoned = made.history[-1], made.poisoned
    attack = 100 * float(np.mean(made.attack_success)) if poisoned else None
    per_class = len(made.signs)
    return {
        "experiment_path": None,
        "model_save_dir": "",
        "stats_save_dir": "",
        "name": "",
        "final_train_acc": 100 * last.train_accuracy,
        "final_train_loss": last.loss,
        "final_combined_val_acc": 100 * last.accuracy,
        "final_combined_val_loss": None,
        "final_clean_val_acc": 100 * last.accuracy,
        "final_clean_val_loss": None,
        "final_triggered_val_acc": None if last.attack is None else 100 * last.attack,
        "final_triggered_val_loss": None,
        "final_clean_data_test_acc": 100 * made.accuracy,
        "final_triggered_data_test_acc": attack,
        "final_clean_data_n_total": TEST_PER_CLASS * per_class,
        "final_triggered_data_n_total": TEST_PER_ATTACK * len(made.attacks) if poisoned else None,
        "final_optimizer_num_epochs_trained": [len(made.history)],
        "optimizer_0": {"optimizer": "AdamW", "learning_rate": made.plan.recipe.learning_rate},
        "training_wall_time_sec": made.seconds,
        "test_wall_time_sec": 0.0,
    }


DETAILED_COLUMNS = (
    "epoch_number", "train_acc", "train_loss", "combined_val_acc", "combined_val_loss", "clean_val_acc",
    "clean_val_loss", "triggered_val_acc", "triggered_val_loss",
)  # fmt: skip


def write_detailed_stats(path: Path, history: Sequence[Epoch]) -> None:
    """``model_detailed_stats.csv`` of R2 to R4; losses that were not measured are empty."""
    rows = []
    for number, epoch in enumerate(history):
        clean, attack = 100 * epoch.accuracy, "" if epoch.attack is None else 100 * epoch.attack
        values = (number, 100 * epoch.train_accuracy, epoch.loss, clean, "", clean, "", attack, "")
        rows.append(dict(zip(DETAILED_COLUMNS, values, strict=True)))
    write_table(path, rows)


def write_old_metadata(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """``METADATA.csv`` of R2 to R4: commas inside values dropped, ``None`` a word, ``[0 3]`` a list."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns)]
    lines += [",".join(str(row.get(column)).replace(",", "") for column in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """An ordinary CSV file; a missing value is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def stats_columns(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the stats that the metadata repeats: everything else first, then accuracies."""
    kept = {key: value for key, value in stats.items() if not key.endswith(("_dir", "_path", "name"))}
    return {k: v for k, v in kept.items() if not k.endswith("_acc")} | {
        k: v for k, v in kept.items() if k.endswith("_acc")
    }
