"""The table of a study for people: short texts, for the terminal, Markdown, LaTeX and HTML alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..errors import shown
from .layout import NOTHING, interval, number
from .side_by_side import FEWEST_PAIRS, p_text, with_interval
from .study_lines import COMPARED, GROUPED_BY, MODEL, StudyTable

_LABELS = {
    "acc_before": "ACC before",
    "acc": "ACC",
    "asr_before": "ASR before",
    "asr": "ASR",
    "ra": "RA",
    "fidelity": "fidelity",
    "kept_accuracy": "kept ACC",
    "clean_kept_accuracy": "kept ACC, clean",
    "entity_f1": "entity F1",
    "exact": "exact match",
    "ap50": "AP50",
    "retuned_acc": "ACC retuned",
    "retuned_asr": "ASR retuned",
    "asr_moved": "ASR moved",
    "asr_scaled": "ASR scaled",
    "asr_fainter": "ASR fainter",
    "seconds_unlearn": "s",
    "peak_memory": "MiB",
}
_INTERVALS = ("acc", "asr", "fidelity", "clean_kept_accuracy", "retuned_asr")
_HEADS = {"trigger_type": "trigger", "model_architecture": "network", "dataset": "dataset"}
MOST_LISTED = 200


def measure_label(name: str) -> str:
    """What a measure is called in tables and figures."""
    return _LABELS.get(name, name.replace("_", " "))


def measure_texts(table: StudyTable, by: str = "") -> pd.DataFrame:
    """One line per preset and number of examples (and group): rates, ratios, cost; measures that nobody has are left
    out. Means are over the models that the line itself scored."""
    lines = table.lines[table.lines["by"] == by]
    there = [name for name in _LABELS if lines[f"n_{name}"].sum() > 0]
    told = []
    for row in lines.to_dict("records"):
        texts = _head(table, by, row)
        texts["models"] = _models(row)
        if lines["failed"].sum() + lines["missing"].sum():
            texts["rows not scored"] = _lost(row)
        told.append(texts | {measure_label(name): _figure(row, name) for name in there})
    return pd.DataFrame(told)


def difference_texts(table: StudyTable, by: str = "") -> pd.DataFrame:
    """One line per further preset: its paired differences to the baseline; few pairs are marked."""
    lines = table.lines[(table.lines["by"] == by) & (table.lines["preset"] != table.baseline)]
    measures = [m.name for m in COMPARED if lines[f"pairs_{m.name}"].sum() > 0]
    told = []
    for row in lines.to_dict("records"):
        if not row[f"pairs_{table.judged}"]:
            continue
        texts = _head(table, by, row)
        for name in measures:
            texts[measure_label(name)] = with_interval(
                row[f"difference_{name}"], row[f"difference_low_{name}"], row[f"difference_high_{name}"], sign=True
            )
        pairs = row[f"pairs_{table.judged}"]
        texts["better/worse"] = f"{row[f'better_{table.judged}']}/{row[f'worse_{table.judged}']}"
        texts["sign test"] = p_text(row[f"sign_test_{table.judged}"])
        texts["pairs"] = f"{pairs}{' (few)' if pairs < FEWEST_PAIRS else ''}"
        told.append(texts)
    return pd.DataFrame(told)


def study_notes(table: StudyTable) -> list[str]:
    """What the lines are over, and what their marks mean."""
    lines = table.overall
    notes = [
        "means over models after unlearning, of each model over its seeds, with 95 % bootstrap intervals over models; "
        f"a line has the models that it scored; fewer than {FEWEST_PAIRS} models, or equal values, have no interval"
    ]
    if (lines["preset"] != table.baseline).any():
        judged = measure_label(table.judged)
        notes.append(
            f"differences are to {table.baseline}, paired by model file, seed and number of examples; better/worse, "
            f"sign test and pairs (models) are of {judged}"
        )
        if (lines.loc[lines["preset"] != table.baseline, f"pairs_{table.judged}"] < FEWEST_PAIRS).any():
            notes.append(f"few: fewer than {FEWEST_PAIRS} pairs show no difference, whatever they say")
    if lines["n_peak_memory"].sum():
        notes.append("MiB: most memory of the process while a model was evaluated, on GPUs that of the device")
    if lines["n_seconds_unlearn"].sum():
        notes.append("s: wall-clock seconds of the phases of the method, without loading and measuring")
    if lines["failed"].sum() + lines["missing"].sum():
        notes.append("rows not scored failed or are missing: in no mean; rank_fidelity of the CSV counts them as 0")
    return notes


def group_texts(table: StudyTable) -> Iterator[tuple[str, pd.DataFrame]]:
    """The measures by trigger, network and dataset, where there are several."""
    for by in GROUPED_BY:
        if (table.lines["by"] == by).any():
            yield f"By {_HEADS[by]}", measure_texts(table, by)


def model_texts(table: StudyTable) -> pd.DataFrame:
    """Every model in a line: fidelity (of clean models kept accuracy) by preset and number of examples."""
    facts = ["trigger_type", "model_architecture"]
    named = table.rows[[*MODEL, *facts]].drop_duplicates(MODEL).head(MOST_LISTED).astype("string").fillna(NOTHING)
    values = table.models["fidelity"].where(~table.models["clean"], table.models["kept_accuracy"])
    keys = [table.models[name] for name in ("preset", "examples", *MODEL)]
    scored = dict(zip(zip(*keys, strict=True), values, strict=True))
    lost = table.rows[table.rows["status"] == "failed"]
    failed = set(zip(*(lost[name] for name in ("preset", "examples", *MODEL)), strict=True))
    several = table.rows["dataset"].nunique() > 1
    lines = list(table.overall[["preset", "examples"]].itertuples(index=False, name=None))
    told = []
    for row in named.to_dict("records"):
        model = tuple(row[name] for name in MODEL)
        texts = {"model": f"{row['dataset']}/{row['model_id']}" if several else str(row["model_id"])}
        texts |= {_HEADS[name]: row[name] for name in facts}
        for line in lines:
            text = number(scored.get((*line, *model)), 2)
            texts[_column(table, *line)] = "failed" if text == NOTHING and (*line, *model) in failed else text
        told.append(texts)
    return pd.DataFrame(told)


def failure_texts(table: StudyTable) -> pd.DataFrame:
    """Failed rows by preset and reason."""
    lost = table.rows[table.rows["status"] == "failed"]
    lost = lost.assign(error_kind=lost["error_kind"].fillna(NOTHING))
    told = []
    for (preset, examples, kind), part in lost.groupby(["preset", "examples", "error_kind"], sort=False):
        told.append(
            {
                "preset": str(preset),
                "examples": str(examples),
                "rows": str(len(part)),
                "kind": str(kind),
                "first of them": str(part["model_id"].iloc[0]),
                "reason": _without_path(str(part["error"].iloc[0])),
            }
        )
    return pd.DataFrame(told)


def _without_path(error: str) -> str:
    """Messages begin with the file that they are about."""
    path, mark, reason = error.partition(": ")
    return shown(reason if mark and path.startswith("/") else error, 300)


def _head(table: StudyTable, by: str, row: Any) -> dict[str, str]:
    texts = {_HEADS[by]: str(row["group"])} if by else {}
    texts["preset"] = str(row["preset"])
    if table.lines["examples"].nunique() > 1:
        texts["examples"] = str(row["examples"])
    return texts


def _column(table: StudyTable, preset: str, examples: str) -> str:
    return f"{preset}, {examples}" if table.lines["examples"].nunique() > 1 else preset


def _models(row: Any) -> str:
    return f"{row['attacked']} + {row['clean']} clean" if row["clean"] else str(row["attacked"])


def _lost(row: Any) -> str:
    parts = [f"{row[name]} {name}" for name in ("failed", "missing") if row[name]]
    return ", ".join(parts) or NOTHING


def _figure(row: Any, name: str) -> str:
    mean = row[f"mean_{name}"]
    if name == "peak_memory":
        return NOTHING if pd.isna(mean) else f"{mean / 2**20:.0f}"
    if name == "seconds_unlearn":
        return number(mean, 1 if pd.isna(mean) or mean >= 1 else 3)
    bounds = interval(row[f"low_{name}"], row[f"high_{name}"]) if name in _INTERVALS else NOTHING
    return number(mean) if bounds == NOTHING else f"{number(mean)} {bounds}"
