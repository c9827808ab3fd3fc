"""Runs side by side in one line each: the rates, fidelity, and how sure the difference to the first run is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .layout import NOTHING, interval, label, number
from .statistics import mean_intervals
from .summary import kind_of

FEWEST_PAIRS = 6
"""Of fewer pairs not even all in one direction give a sign test below 5 % (two-sided: 2 / 2⁵ = 0.0625)."""
_SAME = 1e-9
_KEYS = ["round", "model_id"]
_COLUMNS = (
    "run", "preset", "measure", "models", "acc_after", "asr_after", "mean", "low", "high",
    "pairs", "difference", "difference_low", "difference_high", "better", "worse", "sign_test", "kept_accuracy",
)  # fmt: skip


def lines(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One line per run; the first is what the others are compared to.

    Args:
        runs: results frames by name, judged by fidelity, or by kept accuracy where no poisoned model is scored.

    Returns:
        ``run``, ``preset``; ``measure``, ``models`` (scored by *every* run, of the same file) and over these
        ``acc_after``, ``asr_after``, ``mean`` with its 95 % bootstrap interval ``low``, ``high``; against the first
        run, over the models that both scored: ``pairs``, mean ``difference``, ``difference_low``, ``difference_high``,
        how many got ``better`` and ``worse``, and ``sign_test``, the two-sided p of that; ``kept_accuracy`` of the
        clean models that every run scored. Intervals: see :func:`sure_interval`.
    """
    scored = {name: _scored(frame) for name, frame in runs.items()}
    poisoned = {name: frame[frame["group"] == "poisoned"] for name, frame in scored.items()}
    judged, measure = poisoned, "fidelity"
    if not all(frame["fidelity"].notna().any() for frame in poisoned.values()):
        judged, measure = scored, "kept_accuracy"
    common = _common(list(judged.values()), measure)
    clean = _common([frame[frame["group"] == "clean"] for frame in scored.values()], "kept_accuracy")
    first = next(iter(judged.values()))
    found: list[dict[str, Any]] = []
    for name, frame in judged.items():
        part = frame.loc[frame.index.intersection(common)]
        values = part[measure].dropna().to_numpy(dtype=np.float64)
        low, high = sure_interval(values)
        found.append(
            {
                "run": name,
                "preset": ", ".join(sorted(runs[name]["preset"].dropna().astype(str).unique())) or None,
                "measure": measure,
                "models": len(values),
                "acc_after": _mean(part["acc_after"]),
                "asr_after": _mean(part["asr_after"]),
                "mean": values.mean() if len(values) else None,
                "low": low,
                "high": high,
                **({} if frame is first else _against(first, frame, measure)),
                "kept_accuracy": _mean(scored[name].loc[clean, "kept_accuracy"]),
            }
        )
    counts = dict.fromkeys(("models", "pairs", "better", "worse"), "Int64")
    numbers = dict.fromkeys(_COLUMNS[4:9] + _COLUMNS[10:13] + _COLUMNS[15:], "Float64")
    return pd.DataFrame(found, columns=list(_COLUMNS)).astype({**counts, **numbers})


def line_texts(lines: pd.DataFrame) -> pd.DataFrame:
    """:func:`lines` for people; fewer pairs than ``FEWEST_PAIRS`` are marked."""
    measure = label(str(lines["measure"].iloc[0]))
    kept = measure == label("fidelity") and lines["kept_accuracy"].notna().any()
    told = []
    for row in lines.to_dict("records"):
        reference = pd.isna(row["pairs"])
        texts = {
            "run": row["run"],
            "preset": NOTHING if pd.isna(row["preset"]) else row["preset"],
            "ACC": number(row["acc_after"]),
            "ASR": number(row["asr_after"]),
            f"{measure} [95 %]": with_interval(row["mean"], row["low"], row["high"]),
            "difference [95 %]": NOTHING
            if reference
            else with_interval(row["difference"], row["difference_low"], row["difference_high"], sign=True),
            "better/worse": NOTHING if reference else f"{row['better']}/{row['worse']}",
            "sign test": NOTHING if reference else p_text(row["sign_test"]),
            "pairs": NOTHING if reference else f"{row['pairs']}{' (few)' if row['pairs'] < FEWEST_PAIRS else ''}",
        }
        if kept:
            texts["kept ACC, clean"] = number(row["kept_accuracy"])
        told.append(texts)
    frame = pd.DataFrame(told)
    return frame.drop(columns="preset") if (frame["preset"] == frame["run"]).all() else frame


def line_notes(lines: pd.DataFrame) -> list[str]:
    """What the lines are over, and what their marks mean."""
    first, models = str(lines["run"].iloc[0]), int(lines["models"].iloc[0])
    kind = "poisoned models" if lines["measure"].iloc[0] == "fidelity" else "models"
    notes = [f"means after unlearning over the {models} {kind} that every run scored; differences are to {first}"]
    if (lines["pairs"] < FEWEST_PAIRS).fillna(False).any():
        notes.append(f"few: fewer than {FEWEST_PAIRS} pairs cannot show a difference; no interval is given")
    return notes


def sure_interval(values: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """95 % bootstrap interval of a mean over models (``[n]``); none for fewer than ``FEWEST_PAIRS`` or equal values.

    Resampling values that are all the same gives an interval without width, which looks like certainty and is none.
    """
    if len(values) < FEWEST_PAIRS or np.ptp(values) <= _SAME:
        return None, None
    return mean_intervals({"x": values})["x"]


def sign_test(better: int, worse: int) -> float | None:
    """Two-sided p of the exact sign test (Dixon and Mood 1946); ties are left out; None without any difference."""
    n, least = better + worse, min(better, worse)
    if not n:
        return None
    return min(1.0, float(2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n))


def _scored(frame: pd.DataFrame) -> pd.DataFrame:
    done = frame[frame["status"] == "done"]
    return done.assign(group=kind_of(done)).set_index(_KEYS)


def _common(frames: list[pd.DataFrame], measure: str) -> pd.Index[Any]:
    """Models that every frame has a value for, of one and the same file."""
    told = [frame.loc[frame[measure].notna(), "model_sha256"] for frame in frames]
    whole = pd.concat(told, axis=1, join="inner")
    return whole.index[whole.nunique(axis=1) <= 1]


def _against(first: pd.DataFrame, other: pd.DataFrame, measure: str) -> dict[str, Any]:
    common = _common([first, other], measure)
    pairs = [frame.loc[common, measure].to_numpy(dtype=np.float64) for frame in (first, other)]
    change = pairs[1] - pairs[0]
    low, high = sure_interval(change)
    better, worse = int((change > _SAME).sum()), int((change < -_SAME).sum())
    return {
        "pairs": len(change),
        "difference": change.mean() if len(change) else None,
        "difference_low": low,
        "difference_high": high,
        "better": better,
        "worse": worse,
        "sign_test": sign_test(better, worse),
    }


def _mean(values: pd.Series) -> float | None:
    told = values.dropna()
    return float(told.mean()) if len(told) else None


def with_interval(value: Any, low: Any, high: Any, sign: bool = False) -> str:
    """``+0.120 [0.02, 0.21]``."""
    text = number(value)
    if sign and not pd.isna(value) and float(text) > 0:
        text = f"+{text}"
    bounds = interval(low, high)
    return text if bounds == NOTHING else f"{text} {bounds}"


def p_text(value: Any) -> str:
    """A sign test's p in words."""
    if pd.isna(value):
        return "no change"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"
