"""Runs side by side on the same models: what changed, how sure that is, and which models got better or worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import UsageProblem, listed, shown
from .columns import BY_NAME, SUMMARISED
from .layout import NOTHING, interval, label, number, share
from .side_by_side import line_notes, lines, sure_interval
from .summary import kind_of, rank_fidelity, repaired

COMPARED = tuple(name for name in SUMMARISED if BY_NAME[name].better and not name.endswith("_before"))
_SETTINGS = ("round", "preset", "protocol", "seed", "device", "measured_on")
_JUDGED_BY = {"poisoned": "fidelity", "clean": "kept_accuracy"}
_SAME = 1e-9


class Comparison(NamedTuple):
    """Frames of figures; the texts of :func:`overview_texts` and :func:`difference_texts` are made from them.

    Attributes:
        lines: one line per run; see :func:`trojai_seam.tables.side_by_side.lines`.
        runs: per run ``run``, ``models`` (poisoned models that any of the runs expected), ``done``, ``coverage``,
            ``repaired``, ``share_repaired``, ``rank_fidelity`` (lost models count as 0) and ``rank``, best first.
        differences: per further run, group and measure: ``n`` pairs, both means, ``difference`` (further minus first)
            with its 95 % paired bootstrap interval (none for few or equal pairs), and how many
            models got ``better``, ``worse``, or are the ``same``.
        models: per further run and model: fidelity (of clean models: kept accuracy) in both, ``difference`` and
            ``verdict`` (``better``, ``worse``, ``same``; ``lost``, ``gained`` or ``in neither`` where not both scored
            it; ``another file`` where ``model.pt`` is not the same; ``not measured``).
        notes: how many models are pairs, where these are not all, and which settings differ: these decide whether the
            runs can be compared at all.
        differing: the values of the settings that differ.
    """

    lines: pd.DataFrame
    runs: pd.DataFrame
    differences: pd.DataFrame
    models: pd.DataFrame
    notes: tuple[str, ...]
    differing: tuple[str, ...]


def compare(runs: Mapping[str, pd.DataFrame], datasets: Mapping[str, str] | None = None) -> Comparison:
    """The first of ``runs`` (results frames with rows of status ``missing``, by name) against each of the others.

    Models are paired by round and id. A pair with different ``model_sha256`` is no pair. ``datasets`` (folders by name
    of the run) are named where they differ.

    Raises:
        UsageProblem: fewer than two runs, or two that have no model in common: no id, or none with the same file.
    """
    if len(runs) < 2:
        raise UsageProblem("compare needs at least two runs")
    (first, base), *others = runs.items()
    pairs = {}
    for name, other in others:
        pairs[name] = _paired(base, other)
        _check_common(first, name, pairs[name], datasets or {})
    differences = [line for name, paired in pairs.items() for line in _differences(first, name, paired)]
    columns = ["first", "run", "group", "measure", "n", "mean_first", "mean_run", "difference", "low", "high"]
    beside = lines(runs)
    words, values = _differing(runs, datasets or {})
    return Comparison(
        lines=beside,
        runs=_ranked(runs),
        differences=pd.DataFrame(differences, columns=[*columns, "better", "worse", "same"]),
        models=pd.concat([_models(first, name, paired) for name, paired in pairs.items()], ignore_index=True),
        notes=(
            *line_notes(beside),
            *(note for name, paired in pairs.items() for note in _pairing(first, name, paired)),
            *([f"settings that differ: {listed(words, most=len(words))}"] if words else []),
        ),
        differing=values,
    )


def overview_texts(comparison: Comparison) -> pd.DataFrame:
    """``comparison.runs`` for people."""
    return pd.DataFrame(
        {
            "rank": str(row["rank"]),
            "run": row["run"],
            "poisoned models": str(row["models"]),
            "scored": f"{row['done']} ({share(row['coverage'])})",
            "repaired": f"{row['repaired']} ({share(row['share_repaired'])})",
            "rank fidelity": number(row["rank_fidelity"]),
        }
        for row in _rows(comparison.runs)
    )


def difference_texts(comparison: Comparison) -> pd.DataFrame:
    """``comparison.differences`` for people."""
    return pd.DataFrame(
        [
            {
                "run": f"{row['run']} - {row['first']}",
                "group": row["group"],
                "measure": label(row["measure"]),
                "pairs": str(row["n"]),
                "means": f"{number(row['mean_first'])} → {number(row['mean_run'])}",
                "difference": number(row["difference"]),
                "95 % interval": interval(row["low"], row["high"]),
                "better": str(row["better"]),
                "worse": str(row["worse"]),
                "same": str(row["same"]),
            }
            for row in _rows(comparison.differences)
        ]
    )


def changed_models(comparison: Comparison, most: int = 10) -> pd.DataFrame:
    """The models that changed most for the better and for the worse, and those that only one run could score."""
    parts = []
    for _, models in comparison.models.groupby("run", sort=False):
        ordered = models.sort_values("difference", ascending=False, kind="stable")
        parts.append(ordered[ordered["verdict"] == "better"].head(most))
        parts.append(ordered[ordered["verdict"] == "worse"].tail(most))
        parts.append(models[models["verdict"].isin(["lost", "gained", "another file"])].head(most))
    chosen = pd.concat(parts)
    return pd.DataFrame(
        {
            "run": chosen["run"],
            "model": chosen["model_id"],
            "group": chosen["group"],
            "measure": [label(str(name)) for name in chosen["measure"]],
            "first": [number(v, 2) for v in chosen["value_first"]],
            "then": [number(v, 2) for v in chosen["value_run"]],
            "difference": [number(v, 2) for v in chosen["difference"]],
            "verdict": chosen["verdict"],
        }
    )


def _rows(frame: pd.DataFrame) -> list[Any]:
    return frame.to_dict("records")


def _paired(base: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    columns = ["round", "model_id", "status", "model_sha256", "poisoned", *COMPARED]
    keys = ["round", "model_id"]
    paired = base[columns].merge(other[columns], on=keys, how="outer", suffixes=("_1", "_2"), indicator=True)
    paired["group"] = kind_of(paired.assign(poisoned=paired["poisoned_1"].fillna(paired["poisoned_2"])))
    hashes = paired[["model_sha256_1", "model_sha256_2"]]
    paired["foreign"] = hashes.notna().all(axis=1) & (hashes.iloc[:, 0] != hashes.iloc[:, 1]).fillna(False)
    return paired.sort_values(keys, ignore_index=True)


def _check_common(first: str, name: str, paired: pd.DataFrame, datasets: Mapping[str, str]) -> None:
    both = paired["_merge"] == "both"
    foreign = int(paired["foreign"].sum())
    # A model that failed in one of the runs has no hash there; beside others that are other files it is no proof.
    proven = both & ~paired["foreign"] & paired[["model_sha256_1", "model_sha256_2"]].notna().all(axis=1)
    if not both.any() or (foreign and not proven.any()):
        ids = (
            f"{foreign} {'id is' if foreign == 1 else 'ids are'} in both, but of another model.pt"
            if foreign
            else "no id is in both"
        )
        folders = [shown(datasets[run], 200) for run in (first, name) if run in datasets]
        apart = f"; their datasets are {' and '.join(folders)}" if len(set(folders)) > 1 else ""
        raise UsageProblem(
            f"{listed([first])} and {listed([name])} have no model in common: {ids}{apart}; compare runs of one dataset"
        )


def _pairing(first: str, name: str, paired: pd.DataFrame) -> Iterator[str]:
    """What is to be said of how many models the two runs share."""
    done = (paired["status_1"] == "done") & (paired["status_2"] == "done") & ~paired["foreign"]
    pairs, models = int(done.fillna(False).sum()), len(paired)
    if pairs < models:
        foreign = int(paired["foreign"].sum())
        because = f" ({foreign} with another model.pt)" if foreign else ""
        yield f"paired: {pairs} of {models} models of {first} and {name}{because}; differences are over these alone"


def _differences(first: str, name: str, paired: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for group in ("poisoned", "clean", "unknown"):
        done = (paired["status_1"] == "done") & (paired["status_2"] == "done")
        part = paired[(paired["group"] == group) & done.fillna(False) & ~paired["foreign"]]
        pairs = {name: part[[f"{name}_1", f"{name}_2"]].dropna().to_numpy(dtype=np.float64) for name in COMPARED}
        for measure, both in pairs.items():
            if not len(both):
                continue
            change = both[:, 1] - both[:, 0]
            low, high = sure_interval(change)
            gain = change if BY_NAME[measure].better == "higher" else -change
            yield {
                "first": first,
                "run": name,
                "group": group,
                "measure": measure,
                "n": len(both),
                "mean_first": both[:, 0].mean(),
                "mean_run": both[:, 1].mean(),
                "difference": change.mean(),
                "low": low,
                "high": high,
                "better": int((gain > _SAME).sum()),
                "worse": int((gain < -_SAME).sum()),
                "same": int((abs(gain) <= _SAME).sum()),
            }


def _models(first: str, name: str, paired: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for row in _rows(paired):
        measure = _JUDGED_BY.get(row["group"], "kept_accuracy")
        values = [None if pd.isna(value) else float(value) for value in (row[f"{measure}_1"], row[f"{measure}_2"])]
        done = [row["status_1"] == "done", row["status_2"] == "done"]
        first_value, then = values
        difference = None if first_value is None or then is None or row["foreign"] else then - first_value
        lines.append(
            {
                "first": first,
                "run": name,
                "round": row["round"],
                "model_id": row["model_id"],
                "group": row["group"],
                "measure": measure,
                "value_first": first_value,
                "value_run": then,
                "difference": difference,
                "verdict": _verdict(difference, done, bool(row["foreign"])),
            }
        )
    frame = pd.DataFrame(lines)
    return frame.astype(dict.fromkeys(("value_first", "value_run", "difference"), "Float64"))


def _verdict(difference: float | None, done: Sequence[bool], foreign: bool) -> str:
    if foreign:
        return "another file"
    if difference is not None:
        return "same" if abs(difference) <= _SAME else "better" if difference > 0 else "worse"
    return {(True, False): "lost", (False, True): "gained", (False, False): "in neither"}.get(
        (done[0], done[1]), "not measured"
    )


def _ranked(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every run on the poisoned models that *any* run expected: what a run does not have counts against it."""
    keys = ["round", "model_id"]
    poisoned = {name: frame[frame["poisoned"].fillna(False)] for name, frame in runs.items()}
    everything = pd.concat([frame[keys] for frame in poisoned.values()]).drop_duplicates()
    lines = []
    for name, frame in poisoned.items():
        part = everything.merge(frame, on=keys, how="left")
        done = int((part["status"] == "done").sum())
        lines.append(
            {
                "run": name,
                "models": len(part),
                "done": done,
                "coverage": done / len(part) if len(part) else None,
                "repaired": (good := int(repaired(part).sum())),
                "share_repaired": good / len(part) if len(part) else None,
                "rank_fidelity": rank_fidelity(part),
            }
        )
    frame = pd.DataFrame(lines).sort_values("rank_fidelity", ascending=False, kind="stable", ignore_index=True)
    ranks = frame["rank_fidelity"].rank(ascending=False, method="min")
    return frame.assign(rank=ranks.fillna(len(frame)).astype(int))


_HINTS = {
    "seed": "other examples are held out",
    "protocol": "rates are measured on other examples",
    "measured_on": "rates are measured on other examples",
    "device": "CPU and GPU round differently",
}


def _differing(
    runs: Mapping[str, pd.DataFrame], datasets: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the settings that differ, an option of a preset being one, and a line with the values of each."""
    told = {name: {run: _texts(frame[name]) for run, frame in runs.items()} for name in _SETTINGS}
    options = {run: _options(frame["changed_options"]) for run, frame in runs.items()}
    for option in sorted({name for changed in options.values() for name in changed}):
        told[option] = {run: changed.get(option, "") for run, changed in options.items()}
    if len(datasets) == len(runs):
        told["dataset"] = dict(datasets)
    words, values = [], []
    for name, texts in told.items():
        if name == "measured_on" and "protocol" in words:
            continue  # that is why
        if len(set(texts.values())) > 1:
            words.append(name)
            hint = f" ({_HINTS[name]})" if name in _HINTS else ""
            values.append(f"{name}{hint}: " + "; ".join(f"{run} = {text or NOTHING}" for run, text in texts.items()))
    return tuple(words), tuple(values)


def _texts(column: pd.Series) -> str:
    return ", ".join(sorted(column.dropna().astype(str).unique()))


def _options(column: pd.Series) -> dict[str, str]:
    """``a=1 b=2`` by name; a run of several models has one text for all."""
    words = [word for text in column.dropna().unique() for word in str(text).split(" ") if "=" in word]
    return dict(word.split("=", 1) for word in words)
