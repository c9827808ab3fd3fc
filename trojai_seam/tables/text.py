"""Tables for people: fixed-width text without wrapping."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..errors import shown
from .formats import aligned
from .layout import ABOVE_ONE, marked, number


def render(results: pd.DataFrame, most: int = 60) -> str:
    """One line per model with counts behind each rate, failed models with their reason; at most ``most`` lines."""
    lines = [["model", "network", "trojaned", "ACC before", "ACC after", "ASR before", "ASR after", "fidelity [95 %]"]]
    failed = []
    doubtful = []
    for row in _rows(results.head(most)):
        if row["status"] == "missing":
            failed.append(f"{shown(row['model_id'])}  not evaluated yet")
            continue
        if row["status"] == "failed":
            failed.append(f"{shown(row['model_id'])}  failed ({_text(row['error_kind'])}): {shown(row['error'], 2000)}")
            continue
        if not pd.isna(row["doubts"]):
            doubtful.append(f"{shown(row['model_id'])}  doubtful: {shown(row['doubts'], 400)}")
        lines.append(
            [
                shown(row["model_id"]),
                _text(row["architecture"]),
                {True: "yes", False: "no"}.get(row["poisoned"], "?") if not pd.isna(row["poisoned"]) else "?",
                *(_rate(row, name) for name in ("acc_before", "acc_after", "asr_before", "asr_after")),
                _fidelity(row),
            ]
        )
    text = aligned(lines) if len(lines) > 1 else []
    if len(results) > most:
        text.append(f"… and {len(results) - most} more in results.csv")
    if (results[["fidelity", "kept_accuracy"]] > 1 + 1e-9).any(axis=None):
        text.append(f"{ABOVE_ONE} above 1: the model got better by unlearning, or was not asked as it should be before")
    return "\n".join([*text, *doubtful, *failed])


def render_summary(summary: pd.DataFrame) -> str:
    """One short line per group of models: means only."""
    lines = [["group", "models", "failed", "mean ACC", "after", "mean ASR", "after", "mean fidelity", "kept accuracy"]]
    for row in _rows(summary):
        lines.append(
            [
                str(row["group"]),
                str(row["models"]),
                str(row["failed"]),
                *(number(row[f"mean_{name}"]) for name in ("acc_before", "acc_after", "asr_before", "asr_after")),
                number(row["mean_fidelity"]),
                marked(row["mean_kept_accuracy"]),
            ]
        )
    return "\n".join(aligned(lines))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _rate(row: dict[str, Any], name: str) -> str:
    if not pd.isna(row[name]):
        return f"{row[name]:.2f} (n={row[f'n_{name}']})"
    if row["measured_on"] == "in-sample" and not pd.isna(row.get(f"fit_{name}")):
        return f"{row[f'fit_{name}']:.2f} (n={row[f'n_fit_{name}']} in-sample)"
    return "-"


def _fidelity(row: dict[str, Any]) -> str:
    if not pd.isna(row["fidelity"]):
        return f"{marked(row['fidelity'], 2)} [{row['fidelity_low']:.2f}, {row['fidelity_high']:.2f}]"
    if not pd.isna(row["oracle_fidelity"]):
        return f"- (oracle {row['oracle_fidelity']:.2f})"
    if row["measured_on"] == "in-sample" and not pd.isna(row["fit_fidelity"]):
        return f"- ({row['fit_fidelity']:.2f} in-sample)"
    if not pd.isna(row["kept_accuracy"]) and row["poisoned"] is False:
        return f"- (kept {marked(row['kept_accuracy'], 2)})"
    return "-"


def _text(value: Any) -> str:
    return "?" if pd.isna(value) else shown(value)
