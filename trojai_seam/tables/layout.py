"""Summaries as tables of short texts, for the terminal, Markdown, LaTeX and HTML alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .columns import BY_NAME, SUMMARISED

NOTHING = "-"
ABOVE_ONE = "!"
"""Stands behind a ratio above 1: the model got better by unlearning, or was not asked as it should be before."""
LABELS = {
    "acc_before": "ACC before",
    "acc_after": "ACC after",
    "asr_before": "ASR before",
    "asr_after": "ASR after",
    "ra_before": "RA before",
    "ra_after": "RA after",
    "fidelity": "fidelity",
    "nist_fidelity": "NIST fidelity",
    "kept_accuracy": "kept accuracy",
    "entity_f1_before": "entity F1 before",
    "entity_f1_after": "entity F1 after",
    "exact_before": "exact match before",
    "exact_after": "exact match after",
    "ap50_before": "AP50 before",
    "ap50_after": "AP50 after",
    "seconds_total": "seconds",
}


def label(name: str) -> str:
    """What a summarised column is called in tables and figures."""
    return LABELS.get(name, name.replace("_", " "))


def overview(summary: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """One line per group: coverage, and means (before → after) with their intervals; only measures that some group has.

    An interval is that of the number before it.
    """
    lines = []
    shown_measures = _measured(summary)
    for row in summary.to_dict("records"):
        line = {
            **{name: str(row[name]) for name in by},
            "group": str(row["group"]),
            "models": str(row["models"]),
            "scored": f"{row['done']} ({share(row['coverage'])})",
            "failures": NOTHING if pd.isna(row["failures"]) else str(row["failures"]),
            "missing": str(row["missing"]),
            "repaired": _repaired(row),
            "rank fidelity": number(row["rank_fidelity"]),
        }
        for name in shown_measures:
            before = name.replace("_after", "_before")
            if name.endswith("_before") and name.replace("_before", "_after") in shown_measures:
                continue  # told beside what came after
            # Poisoned and clean models are never averaged together, but for the time that they take.
            told = NOTHING if row["group"] == "all" and BY_NAME[name].unit != "s" else mean_with_interval(row, name)
            if before != name and before in shown_measures and told != NOTHING:
                told = f"{number(row[f'mean_{before}'])} → {told}"
            line[label(name).removesuffix(" after")] = told
        lines.append(line)
    frame = pd.DataFrame(lines)
    return frame.drop(columns=[c for c in ("failures", "missing") if c in frame and frame[c].isin(["0", "-"]).all()])


def statistics(summary: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """One line per group and measure: n, mean, 95 % interval of the mean, quantiles."""
    lines = []
    for row in summary[summary["group"] != "all"].to_dict("records"):
        for name in _measured(summary):
            if row[f"n_{name}"]:
                lines.append(
                    {
                        **{key: str(row[key]) for key in by},
                        "group": str(row["group"]),
                        "measure": label(name),
                        "n": str(row[f"n_{name}"]),
                        "mean": number(row[f"mean_{name}"]),
                        "95 % interval": interval(row[f"low_{name}"], row[f"high_{name}"]),
                        "5 %": number(row[f"q05_{name}"]),
                        "median": number(row[f"median_{name}"]),
                        "95 %": number(row[f"q95_{name}"]),
                    }
                )
    columns = [*by, "group", "measure", "n", "mean", "95 % interval", "5 %", "median", "95 %"]
    return pd.DataFrame(lines, columns=columns)


def mean_with_interval(row: Any, name: str) -> str:
    """``0.912 [0.88, 0.94]``."""
    if pd.isna(row[f"mean_{name}"]):
        return NOTHING
    unit = BY_NAME[name].unit
    digits = 2 if unit == "s" else 3
    bounds = interval(row[f"low_{name}"], row[f"high_{name}"])
    mean = f"{row[f'mean_{name}']:.{digits}f}"
    return mean if bounds == NOTHING else f"{mean} {bounds}"


def interval(low: Any, high: Any) -> str:
    """``[0.88, 0.94]``, or a dash where there is none."""
    return NOTHING if pd.isna(low) or pd.isna(high) else f"[{_zero(low):.2f}, {_zero(high):.2f}]"


def number(value: Any, digits: int = 3) -> str:
    """A number with ``digits`` places, or a dash for nothing."""
    return NOTHING if pd.isna(value) else f"{_zero(value, digits):.{digits}f}"


def marked(value: Any, digits: int = 3) -> str:
    """A ratio with ``digits`` places, and a mark where it is above 1."""
    text = number(value, digits)
    return f"{text}{ABOVE_ONE}" if not pd.isna(value) and value > 1 + 1e-9 else text


def share(value: Any) -> str:
    """``93 %``; never rounded up to all or down to none."""
    if pd.isna(value):
        return NOTHING
    percent = 100 * float(value)
    whole = round(percent)
    if whole in (0, 100) and percent not in (0.0, 100.0):
        return "< 1 %" if whole == 0 else "> 99 %"
    return f"{whole} %"


def _measured(summary: pd.DataFrame) -> list[str]:
    return [name for name in SUMMARISED if summary[f"n_{name}"].fillna(0).sum() > 0]


def _repaired(row: Any) -> str:
    if pd.isna(row["repaired"]):
        return NOTHING
    bounds = interval(row["low_repaired"], row["high_repaired"])
    return f"{row['repaired']} ({share(row['share_repaired'])}) {bounds}"


def _zero(value: Any, digits: int = 2) -> float:
    """No ``-0.00``."""
    rounded = round(float(value), digits)
    return 0.0 if rounded == 0 else float(value)
