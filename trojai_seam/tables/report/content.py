"""What the report says, as plain texts and numbers; how it looks is the template's business."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from ...errors import shown
from ..columns import BY_NAME, COLUMNS
from ..curves import Curves
from ..layout import NOTHING, interval, label, marked, number, overview, share
from ..summary import kind_of, summary_frame

GROUPED_BY = (
    "model_architecture",
    "trigger_type",
    "trigger_condition",
    "embedding",
    "source_dataset",
    "adversarial_training",
    "clean_per_class",
)
MOST_PHASES = 4  # more panels than that are too narrow
MOST_VALUES = 60
_IN_SAMPLE = {"acc_before": "fit_acc_before", "acc_after": "fit_acc_after", "fidelity": "fit_fidelity"}
_MEASURES = tuple(
    column.name
    for column in COLUMNS
    if column.kind == "number"
    and (f"{column.name}_low" in BY_NAME or column.name in ("nist_fidelity", "fit_fidelity") or column.summarised)
    and not column.timing
)
_RATIOS = ("fidelity", "kept_accuracy")
_CELLS = ("acc_before", "acc_after", "asr_before", "asr_after", "ra_after", "fidelity", "kept_accuracy")


@dataclass(frozen=True, eq=False)
class Run:
    """What a report is made from.

    Attributes:
        name: of the run, for the title.
        results: a results frame with rows of status ``missing``, of whatever columns.
        curves: by model id; models without are left out.
        settings: name → value, of the whole run.
        versions: of the programs that made it.
        command: that makes it again.
        by: columns to group by; found out when empty.
    """

    name: str
    results: pd.DataFrame
    curves: Mapping[str, Curves] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    by: Sequence[str] = ()
    _summaries: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """Columns that tell the models apart, unless some were asked for."""
        if self.by:
            return tuple(self.by)
        told = {name: self.rows_for(name)[name].nunique() for name in GROUPED_BY}
        return tuple(name for name, count in told.items() if 2 <= count <= MOST_VALUES)

    @property
    def phases(self) -> tuple[str, ...]:
        """Of which there are curves, in the order in which they are met first; at most ``MOST_PHASES``."""
        met = dict.fromkeys(phase for curves in self.curves.values() for phase in curves)
        return tuple(met)[:MOST_PHASES]

    def summary(self, *columns: str) -> pd.DataFrame:
        """Of all models, or by columns; worked out once."""
        if columns not in self._summaries:
            results = self.rows_for(columns[0]) if columns else self.results
            self._summaries[columns] = summary_frame(results, columns)
        return self._summaries[columns]

    def rows_for(self, column: str) -> pd.DataFrame:
        """The results, or those of poisoned models where a column is about triggers."""
        if column.startswith("trigger_"):
            return self.results[self.results["poisoned"].fillna(False)]
        return self.results


class Card(NamedTuple):
    """A headline figure."""

    label: str
    value: str
    detail: str


class Measure(NamedTuple):
    """A measure of one model."""

    label: str
    value: str
    interval: str
    examples: str


class Model(NamedTuple):
    """One model: a line of the table and a section of its own."""

    anchor: str
    name: str
    kind: str
    status: str
    network: str
    trigger: str
    cells: tuple[str, ...]
    error: str
    doubts: str
    measures: tuple[Measure, ...]
    facts: tuple[tuple[str, str], ...]


class Failures(NamedTuple):
    """Failed models of one kind."""

    kind: str
    models: tuple[Model, ...]


def headline(run: Run) -> list[Card]:
    """The figures that most people come for, each with what it is over."""
    summary = {row["group"]: row for row in run.summary().to_dict("records")}
    whole, poisoned, clean = summary["all"], summary["poisoned"], summary["clean"]
    cards = [
        Card("models scored", f"{whole['done']} of {whole['models']}", _losses(whole)),
        _card("fidelity", poisoned, "fidelity", "poisoned"),
        _change("attack success", poisoned, "asr", "poisoned"),
        _change("accuracy", poisoned, "acc", "poisoned"),
        _change("true label on triggered examples", poisoned, "ra", "poisoned"),
        _card("kept accuracy", clean, "kept_accuracy", "clean"),
    ]
    if not pd.isna(poisoned["repaired"]):
        bounds = interval(poisoned["low_repaired"], poisoned["high_repaired"])
        cards.insert(
            1,
            Card(
                "repaired",
                f"{poisoned['repaired']} of {poisoned['models']}",
                f"{share(poisoned['share_repaired'])} {bounds} of the expected poisoned models: "
                "ASR below 5 %, less than 2 points of accuracy lost",
            ),
        )
    doubtful = int(run.results["doubts"].notna().sum())
    if doubtful:
        cards.insert(1, Card("doubtful", f"{doubtful} of {whole['done']}", "figures that do not fit, see Doubts"))
    seconds = whole["median_seconds_total"]
    cards.append(Card("seconds per model", number(seconds, 2), f"median of {whole['n_seconds_total']} scored models"))
    return [card for card in cards if card.value != NOTHING]


def group_tables(run: Run) -> list[tuple[str, pd.DataFrame]]:
    """Overviews: of all models, then by each column that tells them apart."""
    tables = [("", overview(run.summary()))]
    for column in run.grouped_by:
        tables.append((column, overview(run.summary(column), [column])))
    return tables


def models(run: Run) -> list[Model]:
    """Every model, in the order of the results."""
    names = [str(name) for name in run.results.columns]
    same = set(_the_same(run.results))
    listed = [name for name in names if name not in same and not _is_part_of_a_measure(name)]
    kinds = kind_of(run.results)
    rows: list[Any] = run.results.astype(object).where(run.results.notna(), None).to_dict("records")
    return [
        _model(number, row, kind, listed) for number, (row, kind) in enumerate(zip(rows, kinds, strict=True), start=1)
    ]


def failures(listed: Iterable[Model], results: pd.DataFrame) -> list[Failures]:
    """Failed models by kind of failure, the most frequent kind first."""
    kinds = [shown("error" if pd.isna(kind) else kind, 60) for kind in results["error_kind"]]
    groups: dict[str, list[Model]] = {}
    for model, kind in zip(listed, kinds, strict=True):
        if model.status == "failed":
            groups.setdefault(kind, []).append(model)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Failures(kind, tuple(members)) for kind, members in ordered]


def common_facts(results: pd.DataFrame) -> list[tuple[str, str]]:
    """Columns that have one value in all models."""
    return [(name, _plain(results[name].iloc[0])) for name in _the_same(results) if name != "status"]


def _model(number: int, row: Mapping[str, Any], kind: str, listed: Sequence[str]) -> Model:
    measures = [
        Measure(
            label(name),
            _number(row[name]),
            interval(row.get(f"{name}_low"), row.get(f"{name}_high")),
            "" if row.get(f"n_{name}") is None else str(row[f"n_{name}"]),
        )
        for name in _MEASURES
        if row[name] is not None
    ]
    return Model(
        anchor=f"m{number}",
        name=shown(row["model_id"]),
        kind=kind,
        status=str(row["status"]),
        network=shown(row["model_architecture"] or NOTHING, 60),
        trigger=shown(row["trigger_type"] or NOTHING, 60),
        cells=(*(_cell(row, name) for name in _CELLS), _number(row["seconds_total"])),
        error=shown(row["error"] or "", 2000),
        doubts=shown(row["doubts"] or "", 2000),
        measures=tuple(measures),
        facts=tuple((name, _plain(row[name])) for name in listed if row[name] is not None),
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None and row["measured_on"] == "in-sample" and name in _IN_SAMPLE:
        told = _number(row[_IN_SAMPLE[name]])
        return told if told == NOTHING else f"{told}†"
    return marked(row[name], 2) if name in _RATIOS else _number(row[name])


def _the_same(results: pd.DataFrame) -> list[str]:
    """Names of columns with a value that all models share; failed and missing ones need not have it."""
    if not len(results):
        return []
    told = results[results["status"] == "done"] if (results["status"] == "done").any() else results
    texts = [c.name for c in COLUMNS if c.kind in ("text", "flag") or c.name in ("seed", "folds")]
    return [name for name in texts if told[name].notna().all() and results[name].nunique() == 1]


def _is_part_of_a_measure(name: str) -> bool:
    base = name.removeprefix("n_").removeprefix("units_").removesuffix("_low").removesuffix("_high")
    shown_elsewhere = ("model_id", "status", "error", "poisoned", "model_architecture")
    return base in _MEASURES or name in shown_elsewhere


def _card(name: str, row: Any, measure: str, kind: str) -> Card:
    return Card(name, number(row[f"mean_{measure}"], 2), _over(row, measure, kind))


def _change(name: str, row: Any, measure: str, kind: str) -> Card:
    before, after = (number(row[f"mean_{measure}_{when}"], 2) for when in ("before", "after"))
    value = NOTHING if after == NOTHING else f"{before}\u00a0→\u00a0{after}"
    return Card(name, value, _over(row, f"{measure}_after", kind))


def _over(row: Any, measure: str, kind: str) -> str:
    count = row[f"n_{measure}"]
    bounds = interval(row[f"low_{measure}"], row[f"high_{measure}"])
    told = "" if bounds == NOTHING else f"{bounds} "
    return f"{told}mean of {count} {kind} {'model' if count == 1 else 'models'}"


def _losses(row: Any) -> str:
    parts = [f"{share(row['coverage'])} coverage"]
    parts += [f"{row[name]} {name}" for name in ("failed", "missing") if row[name]]
    return ", ".join(parts)


def _number(value: Any) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shown(value, 2000)
