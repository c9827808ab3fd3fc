"""The table of a study: one line per preset, number of examples and group of models, with paired differences.

Seeds of one model are no further models: a model's value is the mean over its seeds, and intervals and tests are over
models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import UsageProblem, shown
from ..registry import near_names
from .side_by_side import sign_test, sure_interval
from .summary import NOT_SAID, rank_fidelity

MODEL = ["dataset", "round", "model_id"]
LINE = ["preset", "examples"]
GROUPED_BY = ("trigger_type", "model_architecture", "dataset")
_FACTS = ["attacked", "clean", "trigger_type", "model_architecture"]
_OF_MODEL = ["poisoned", "trigger_type", "architecture", "model_architecture"]
_SAME = 1e-9


class Measure(NamedTuple):
    """One figure of the table.

    Attributes:
        name: in the table.
        column: of the rows.
        over: attacked models (those that are not said to be clean, or all where all are), clean ones, or all.
        compared: differences to the baseline are told; with the direction of better.
    """

    name: str
    column: str
    over: Literal["attacked", "clean", "all"] = "attacked"
    compared: Literal["higher", "lower", ""] = ""


MEASURES = (
    Measure("acc_before", "acc_before"),
    Measure("acc", "acc_after", compared="higher"),
    Measure("asr_before", "asr_before"),
    Measure("asr", "asr_after", compared="lower"),
    Measure("ra", "ra_after"),
    Measure("fidelity", "fidelity", compared="higher"),
    Measure("kept_accuracy", "kept_accuracy"),
    Measure("clean_kept_accuracy", "kept_accuracy", "clean", "higher"),
    Measure("entity_f1", "entity_f1_after"),
    Measure("exact", "exact_after"),
    Measure("ap50", "ap50_after"),
    Measure("retuned_acc", "retuned_acc"),
    Measure("retuned_asr", "retuned_asr", compared="lower"),
    Measure("asr_moved", "asr_moved"),
    Measure("asr_scaled", "asr_scaled"),
    Measure("asr_fainter", "asr_fainter"),
    Measure("seconds_unlearn", "seconds_unlearn", "all"),
    Measure("seconds_total", "seconds_total", "all"),
    Measure("peak_memory", "peak_memory", "all"),
)
COMPARED = tuple(measure for measure in MEASURES if measure.compared)
_COLUMNS = tuple(dict.fromkeys(measure.column for measure in MEASURES))


class StudyTable(NamedTuple):
    """The figures of a study.

    Attributes:
        lines: per ``by`` (empty: all models) and ``group``, ``preset`` and ``examples``: ``rows`` (expected), ``done``,
            ``failed``, ``missing``, ``attacked`` and ``clean`` (models with a row that is done), ``rank_fidelity``
            (lost rows count as 0); per measure ``n_…`` models, ``mean_…`` and, of six models and more, ``low_…`` and
            ``high_…`` (95 % bootstrap over models); against the baseline, per compared measure, ``pairs_…``,
            ``difference_…``, ``difference_low_…``, ``difference_high_…``, ``better_…``, ``worse_…``, ``sign_test_…``.
        models: per model, preset and examples the mean over seeds of every measure's column, and what groups go by.
        rows: that all is made of.
        baseline: the preset that others are compared to.
        judged: the measure that presets are judged by: ``fidelity``, or ``clean_kept_accuracy`` without attacks.
    """

    lines: pd.DataFrame
    models: pd.DataFrame
    rows: pd.DataFrame
    baseline: str
    judged: str

    @property
    def overall(self) -> pd.DataFrame:
        """The lines of all models."""
        return self.lines[self.lines["by"] == ""]


def pooled(runs: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]]) -> pd.DataFrame:
    """The rows of several runs as one frame, with ``dataset``, ``preset`` and ``examples`` of their plans.

    A preset that was run with several changes is told apart by them: ``images recover.max_epochs=5``.

    Args:
        runs: results frames with rows of status ``missing``, and what ``plan.json`` says.

    Raises:
        UsageProblem: one version ran two presets of one name.
    """
    parts = []
    begun = [_changed(frame, plan) for frame, plan in runs if (frame["status"] != "missing").any()]
    _check_names(begun)
    for frame, plan in runs:
        own = _changed(frame, plan)  # rows that are missing do not know
        changed = own.options or next((other.options for other in begun if other.settings == own.settings), "")
        parts.append(
            frame.assign(
                dataset=str(plan["dataset"]),
                preset=own.preset,
                changed_options=changed,
                seed=plan["seed"],
                fit_per_class=plan.get("fit_per_class"),
                fit_total=plan.get("fit_total"),
                examples=_examples(plan),
            ).astype({"fit_per_class": "Int64", "fit_total": "Int64", "seed": "Int64"})
        )
    rows = pd.concat(parts, ignore_index=True)
    presets = list(rows["preset"].unique())
    rows["place"] = rows["preset"].map(presets.index)  # most examples first, then presets as they came
    rows = rows.sort_values(["fit_per_class", "fit_total", "place"], ascending=[False, False, True],
                            na_position="first", kind="stable", ignore_index=True).drop(columns="place")  # fmt: skip
    changes = rows.groupby("preset")["changed_options"].nunique()
    several = rows["preset"].map(changes) > 1
    rows["preset"] = rows["preset"].where(~several, (rows["preset"] + " " + rows["changed_options"]).str.strip())
    rows["dataset"] = rows["dataset"].map(_short(list(map(str, rows["dataset"].unique()))))
    # What a failed or missing row does not know of its model, another run may.
    known = rows.groupby(MODEL, sort=False, dropna=False)[_OF_MODEL].transform("first")
    rows[_OF_MODEL] = rows[_OF_MODEL].fillna(known)
    return rows


def study_table(rows: pd.DataFrame, baseline: str | None = None) -> StudyTable:
    """What the rows of a study say.

    Args:
        rows: as :func:`pooled` makes them.
        baseline: a preset; the first when unset.

    Raises:
        UsageProblem: no row is of that preset.
    """
    presets = list(rows["preset"].unique())
    baseline = baseline or str(presets[0])
    if baseline not in presets:
        raise UsageProblem(f"--baseline: {near_names('preset of the study', baseline, presets)}")
    clean = ~rows["poisoned"].fillna(True).astype(bool)
    rows = rows.assign(clean=clean, attacked=True if clean.all() else ~clean)
    done = rows[rows["status"] == "done"]
    keys = [*LINE, *MODEL]
    values = done.groupby(keys, sort=False, dropna=False)[list(_COLUMNS)].mean().astype("Float64")
    facts = done.groupby(keys, sort=False, dropna=False)[_FACTS].first()
    models = facts.join(values).reset_index()
    judged = "fidelity" if models["fidelity"].notna().any() else "clean_kept_accuracy"
    # Hundreds of lines are taken from these: plain columns, and no others, make that quick.
    plain = [_plain(frame) for frame in (rows, models, _pairs(done, baseline))]
    found = []
    for by, group, where in _groups(plain[0]):
        kept = [frame[where(frame)] for frame in plain]
        parts = [dict(list(frame.groupby(LINE, sort=False))) for frame in kept]
        for (preset, examples), part in parts[0].items():
            _, of_models, of_pairs = (
                of.get((preset, examples), frame.head(0)) for of, frame in zip(parts, kept, strict=True)
            )
            line = {"by": by, "group": group, "preset": preset, "examples": examples, **_first(part)}
            found.append({**line, **_counts(part, of_models), **_figures(of_models), **_against(of_pairs)})
    lines = pd.DataFrame(found)
    counted = ("rows", "done", "failed", "missing", "attacked", "clean", "fit_per_class", "fit_total")
    texts = ("by", "group", "preset", "examples")
    whole = tuple(c for c in lines if c in counted or str(c).startswith(("n_", "pairs_", "better_", "worse_")))
    types = {c: "string" if c in texts else "Int64" if c in whole else "Float64" for c in lines}
    return StudyTable(lines.astype(types), models, rows, baseline, judged)


class _Changed(NamedTuple):
    """What a run made of its preset: its options as text, and all settings."""

    preset: str
    options: str
    version: str
    settings: tuple[Any, Any]
    where: str


def _changed(frame: pd.DataFrame, plan: Mapping[str, Any]) -> _Changed:
    preset = ", ".join(plan.get("presets") or [plan["unlearning"]["preset"]])
    options = str(next(iter(frame["changed_options"].dropna()), ""))
    version = str(plan.get("versions", {}).get("trojai_seam"))
    where = f"{plan['dataset']}, seed {plan['seed']}"
    return _Changed(preset, options, version, (plan["unlearning"], plan.get("presets")), where)


def _check_names(runs: Sequence[_Changed]) -> None:
    """Raises UsageProblem when one version ran two presets of one name: their rows could not be told apart."""
    first: dict[tuple[str, ...], _Changed] = {}
    for run in runs:
        other = first.setdefault((run.preset, run.options, run.version), run)
        if other.settings != run.settings:
            raise UsageProblem(
                f"preset {shown(run.preset)} is not the same in all runs: {shown(run.where, 400)} has other settings "
                f"than {shown(other.where, 400)}; give each a name of its own"
            )


def _examples(plan: Mapping[str, Any]) -> str:
    limits = [(plan.get("fit_per_class"), "per class"), (plan.get("fit_total"), "in all")]
    return ", ".join(f"{number} {what}" for number, what in limits if number is not None) or "all"


def _short(paths: Sequence[str]) -> dict[str, str]:
    """Datasets by the names of their folders, as far as these tell them apart."""
    names = [path.rstrip("/").rpartition("/")[2] for path in paths]
    return dict(zip(paths, names if len(set(names)) == len(names) else paths, strict=True))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """What lines are made from, numbers as ``float64`` and texts as objects."""
    numbers = [name for name in (*_COLUMNS, "fit_per_class", "fit_total") if name in frame]
    texts = [name for name in (*LINE, *GROUPED_BY, "status") if name in frame]
    plain = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in numbers}
    told = {name: frame[name].astype("string").fillna(NOT_SAID).to_numpy(dtype=object) for name in texts}
    return pd.DataFrame({**told, **plain, **{name: frame[name].to_numpy(bool) for name in ("attacked", "clean")}})


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, Any]]:
    """Nothing, then each column that tells models apart with its values; and which lines of a frame are of a group."""
    yield "", "", lambda frame: np.ones(len(frame), bool)
    for column in GROUPED_BY:
        of_attacks = column.startswith("trigger_")
        values = sorted(set((rows[rows["attacked"]] if of_attacks else rows)[column]))
        for value in values if len(values) > 1 else ():
            yield (
                column,
                value,
                lambda frame, name=column, value=value, of_attacks=of_attacks: (
                    (frame[name] == value) & (frame["attacked"] | (not of_attacks))
                ),
            )


def _first(part: pd.DataFrame) -> dict[str, Any]:
    return {name: part[name].iloc[0] for name in ("fit_per_class", "fit_total")}


def _counts(part: pd.DataFrame, models: pd.DataFrame) -> dict[str, Any]:
    status = part["status"].value_counts()
    attacked = part[part["attacked"]]
    return {
        "rows": len(part),
        **{name: int(status.get(name, 0)) for name in ("done", "failed", "missing")},
        "attacked": int((~models["clean"]).sum()),
        "clean": int(models["clean"].sum()),
        "rank_fidelity": rank_fidelity(attacked) if attacked["fidelity"].notna().any() else None,
    }


def _values(frame: pd.DataFrame, measure: Measure) -> NDArray[np.float64]:
    """Of the models that the measure is over, and that have it."""
    values: NDArray[np.float64] = frame[measure.column].to_numpy(dtype=np.float64)
    use = np.isfinite(values)
    if measure.over != "all":
        use &= frame[measure.over].to_numpy(dtype=bool)
    return values[use]


def _figures(models: pd.DataFrame) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for measure in MEASURES:
        values = _values(models, measure)
        low, high = sure_interval(values)
        mean = float(values.mean()) if len(values) else None
        told = {"n": len(values), "mean": mean, "low": low, "high": high}
        figures |= {f"{figure}_{measure.name}": value for figure, value in told.items()}
    return figures


def _pairs(done: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Per preset, examples and model the mean over seeds of the differences to the baseline on the same file, seed and
    number of examples."""
    columns = [measure.column for measure in COMPARED]
    same = ["examples", "seed", *MODEL, "model_sha256"]
    first = done.loc[done["preset"] == baseline, [*same, *dict.fromkeys(columns)]]
    others = done.loc[done["preset"] != baseline, [*same, "preset", *_FACTS, *dict.fromkeys(columns)]]
    both = others.merge(first, on=same, suffixes=("", "_first"))
    for column in dict.fromkeys(columns):
        both[column] = both[column] - both[f"{column}_first"]
    keys = [*LINE, *MODEL]
    grouped = both.groupby(keys, sort=False, dropna=False)
    return grouped[_FACTS].first().join(grouped[list(dict.fromkeys(columns))].mean()).reset_index()


def _against(pairs: pd.DataFrame) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for measure in COMPARED:
        change = _values(pairs, measure)
        gain = change if measure.compared == "higher" else -change
        better, worse = int((gain > _SAME).sum()), int((gain < -_SAME).sum())
        low, high = sure_interval(change)
        told = {
            "pairs": len(change),
            "difference": float(change.mean()) if len(change) else None,
            "difference_low": low,
            "difference_high": high,
            "better": better,
            "worse": worse,
            "sign_test": sign_test(better, worse),
        }
        figures |= {f"{figure}_{measure.name}": value for figure, value in told.items()}
    return figures
