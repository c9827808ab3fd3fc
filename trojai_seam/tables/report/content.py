"""What the report says, as plain texts and numbers; how it looks is the template's business."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from ...errors import shown
from ..columns import COLUMNS
from ..curves import Curves
from ..layout import NOTHING, interval, number, overview, share
from ..summary import summary_frame

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
MOST_LISTED = 200
"""Failures of one kind, and doubts, that the page lists by name; the table of models has all."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a report is made from.

    Attributes:
        name: of the run, for the title.
        results: a results frame with rows of status ``missing``, of whatever columns.
        curves: by model id; models without are left out.
        attack_curves: by measure (``acc``, ``asr``) and model id: the oracle trace of ``--trace-attack``.
        facts: for the head of the page: dataset, date, seed, …, as texts by name.
        settings: name → value, of the whole run.
        versions: of the programs that made it.
        command: that makes it again.
        by: columns to group by; found out when empty.
    """

    name: str
    results: pd.DataFrame
    curves: Mapping[str, Curves] = field(default_factory=dict)
    attack_curves: Mapping[str, Mapping[str, Curves]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
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
        return _phases_of(self.curves.values())

    @property
    def traced_phases(self) -> tuple[str, ...]:
        """Likewise, of the oracle trace."""
        return _phases_of(self.attack_curves.get("asr", {}).values())

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


def _phases_of(curves: Iterable[Curves]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phase for of in curves for phase in of))[:MOST_PHASES]


class Card(NamedTuple):
    """A headline figure."""

    label: str
    value: str
    detail: str


class Message(NamedTuple):
    """What is said about one model; ``anchor`` leads to it."""

    anchor: str
    name: str
    text: str


class Messages(NamedTuple):
    """Models of which the same kind of thing is said: the first ``MOST_LISTED`` of ``count``."""

    kind: str
    count: int  # type: ignore[assignment]  # a name that tuples have, too
    listed: tuple[Message, ...]


class Groups(NamedTuple):
    """Overviews of the groups of one column, those of a single model apart."""

    column: str
    table: pd.DataFrame
    single: pd.DataFrame


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


def group_tables(run: Run) -> list[Groups]:
    """Overviews: of all models, then by each column that tells them apart."""
    whole = overview(run.summary())
    tables = [Groups("", whole, whole.head(0))]
    for column in run.grouped_by:
        summary = run.summary(column)
        single = summary[column].map(summary.groupby(column)["models"].sum()) == 1
        parts = [
            overview(part, [column]) if len(part) else pd.DataFrame() for part in (summary[~single], summary[single])
        ]
        tables.append(Groups(column, *parts))
    return tables


def failures(results: pd.DataFrame) -> list[Messages]:
    """Failed models by kind of failure, the most frequent kind first."""
    failed = results[results["status"] == "failed"]
    kinds = failed["error_kind"].fillna("error")
    groups = [_messages(shown(kind, 60), part, "error") for kind, part in failed.groupby(kinds, sort=True)]
    return sorted(groups, key=lambda group: -group.count)


def doubtful(results: pd.DataFrame) -> Messages:
    """Models whose figures do not fit."""
    return _messages("figures that do not fit", results[results["doubts"].notna()], "doubts")


def missing(results: pd.DataFrame) -> Messages:
    """Models that were not evaluated yet."""
    return _messages("not evaluated yet", results[results["status"] == "missing"], "error")


def _messages(kind: str, part: pd.DataFrame, column: str) -> Messages:
    first = part[["model_id", column]].head(MOST_LISTED)
    listed = (
        Message(f"m{number + 1}", shown(name), "" if pd.isna(text) else shown(text, 2000))
        for number, name, text in first.itertuples(name=None)
    )
    return Messages(kind, len(part), tuple(listed))


def common_facts(results: pd.DataFrame) -> list[tuple[str, str]]:
    """Columns that have one value in all models."""
    return [(name, _plain(results[name].dropna().iloc[0])) for name in the_same(results) if name != "status"]


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


def the_same(results: pd.DataFrame) -> list[str]:
    """Names of columns with a value that all models share; failed and missing ones need not have it."""
    if not len(results):
        return []
    told = results[results["status"] == "done"] if (results["status"] == "done").any() else results
    texts = [c.name for c in COLUMNS if c.kind in ("text", "flag") or c.name in ("seed", "folds")]
    return [name for name in texts if told[name].notna().all() and results[name].nunique() == 1]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shown(value, 2000)
