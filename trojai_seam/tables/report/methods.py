"""A study on one page: the table, differences to the baseline, figures, groups, and every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ... import __version__
from ...errors import shown
from ..study_lines import MODEL, StudyTable
from ..study_texts import (
    difference_texts,
    failure_texts,
    group_texts,
    measure_label,
    measure_texts,
    model_texts,
    study_notes,
)
from .drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SURFACE, new_figure, styled
from .page import as_figure, as_table, file_text, template

_COLOURS, _MARKERS = (BLUE, ORANGE, GREEN, PURPLE, GREY), "os^Dv"
LEAST_SECONDS = 0.01
"""What takes less is drawn there: doing nothing has a place on a logarithmic axis, too."""
_SIZES = (4.0, 9.0)
"""Of points: of the fewest and of the most clean examples."""
_TITLES = {
    "fidelity-against-cost": ("Fidelity against cost", "Mean over models, with its 95 % interval, against the mean "
                              "seconds of the method's phases. Larger points: more clean examples."),
    "accuracy-against-attack": ("ACC against ASR", "Means after unlearning; the cross is where the models were before. "
                                "The best place is the upper left corner. Larger points: more clean examples."),
    "every-model": ("Every model", "A point is one model, the mean over its seeds; the bar is the mean over models. "
                    "Failed models have no point."),
}  # fmt: skip


class StudyPage(NamedTuple):
    """What the page is made from.

    Attributes:
        table: the figures.
        head: name → text, for the top of the page.
        runs: per run its facts, the last of which is the command that makes it again.
        commands: that make all of it again; empty where the runs were made one by one.
    """

    table: StudyTable
    head: Mapping[str, str]
    runs: Sequence[Mapping[str, str]]
    commands: Sequence[str] = ()


def render_methods(page: StudyPage) -> str:
    """The page as HTML; it is whole, fetches nothing and has no script at all."""
    table = page.table
    tables = [("Presets", as_table(measure_texts(table)))]
    differences = difference_texts(table)
    if len(differences):
        tables.append((f"Differences to {shown(table.baseline, 60)}", as_table(differences)))
    failures = failure_texts(table)
    details = [
        ("Failed rows", failures),
        *group_texts(table),
        ("Every model", model_texts(table)),
        ("Runs", pd.DataFrame(page.runs)),
    ]
    again = [("Command", {"command": command}) for command in page.commands]
    context: dict[str, Any] = {
        "title": f"A study of {table.rows['preset'].nunique()} presets",
        "version": __version__,
        "style": Markup(file_text("style.css")),  # noqa: S704 - ours
        "head": list(page.head.items()),
        "tables": tables,
        "notes": [shown(note, 400) for note in study_notes(table)],
        "differing": [],
        "figures": [as_figure(name, draw(), *_TITLES[name]) for name, draw in figures(table).items()],
        "details": [(title, as_table(frame)) for title, frame in details if len(frame)],
        "runs": again,
    }
    return template("study.html.j2").render(context)


def figures(table: StudyTable) -> dict[str, Callable[[], Figure]]:
    """The figures that say something about the study, by name."""
    drawn: dict[str, Callable[[], Figure]] = {}
    judged, lines = table.judged, table.overall
    if (lines[f"n_{judged}"].gt(0) & lines["n_seconds_unlearn"].gt(0)).any():
        drawn["fidelity-against-cost"] = lambda: fidelity_against_cost(table)
    if lines["n_asr"].gt(0).any():
        drawn["accuracy-against-attack"] = lambda: accuracy_against_attack(table)
    if lines[f"n_{judged}"].gt(0).any():
        drawn["every-model"] = lambda: every_model(table)
    return drawn


def fidelity_against_cost(table: StudyTable) -> Figure:
    """Per preset and number of examples the mean of the judged measure against the mean seconds of its phases."""
    with styled():
        figure, (axes,) = new_figure(height=3.4 + _legend_height(table))
        lines = table.overall.assign(seconds=table.overall["mean_seconds_unlearn"].clip(lower=LEAST_SECONDS))
        _points(axes, table, lines, "seconds", f"mean_{table.judged}", interval=table.judged)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="seconds of the phases", ylabel=measure_label(table.judged))
        return figure


def accuracy_against_attack(table: StudyTable) -> Figure:
    """Per preset and number of examples the mean ACC against the mean ASR, and where both were before."""
    lines = table.overall
    with styled():
        figure, (axes,) = new_figure(height=3.4 + _legend_height(table))
        before = lines[["mean_asr_before", "mean_acc_before"]].dropna().astype(float).mean()
        axes.plot([before.iloc[0]], [before.iloc[1]], "x", color=INK, ms=9, mew=2)
        _points(axes, table, lines, "mean_asr", "mean_acc")
        low = min(0.5, float(lines["mean_acc"].min())) - 0.04
        axes.set(xlabel="ASR (lower is better)", ylabel="ACC", xlim=(-0.04, 1.04), ylim=(low, 1.04))
        return figure


def every_model(table: StudyTable) -> Figure:
    """Per preset and number of examples every model's fidelity, or kept accuracy where no model is attacked."""
    column = "fidelity" if table.judged == "fidelity" else "kept_accuracy"
    lines = table.overall[table.overall[f"n_{table.judged}"].gt(0)]
    several = lines["examples"].nunique() > 1
    order = {model: number for number, model in enumerate(dict.fromkeys(map(tuple, table.models[MODEL].to_numpy())))}
    with styled():
        figure, (axes,) = new_figure(height=1.0 + 0.3 * max(2, len(lines)))
        names = []
        for place, row in enumerate(lines.to_dict("records")):
            height = len(lines) - 1 - place
            here = (table.models["preset"] == row["preset"]) & (table.models["examples"] == row["examples"])
            told = table.models[here & table.models[column].notna()]
            # Models keep their place inside of a row, so that one can be followed over the presets.
            shift = np.array([order[tuple(model)] / max(1, len(order) - 1) - 0.5 for model in told[MODEL].to_numpy()])
            values = told[column].to_numpy(dtype=float)
            axes.plot(values, height - 0.5 * shift, "o", ms=4, color=BLUE, alpha=0.7, mec="none")
            axes.vlines(row[f"mean_{table.judged}"], height - 0.36, height + 0.36, color=ORANGE, linewidth=2)
            names.append(shown(f"{row['preset']}, {row['examples']}" if several else row["preset"], 40))
        axes.set_yticks(range(len(lines)), names[::-1])
        axes.set_ylim(-0.7, len(lines) - 0.3)
        axes.set_xlabel(measure_label(table.judged))
        axes.margins(x=0.04)
        return figure


def _points(axes: Axes, table: StudyTable, lines: pd.DataFrame, x: str, y: str, interval: str | None = None) -> None:
    """One mark per line, those of a preset joined in the order of their numbers of examples."""
    presets = list(dict.fromkeys(lines["preset"]))
    levels = {name: number for number, name in enumerate(_by_number(lines))}
    for number, preset in enumerate(presets):
        part = lines[lines["preset"] == preset].dropna(subset=[x, y])
        part = part.iloc[np.argsort([levels[name] for name in part["examples"]], kind="stable")]
        colour, marker = _COLOURS[number % 5], _MARKERS[number // 5 % 5]
        xs, ys = part[x].to_numpy(dtype=float), part[y].to_numpy(dtype=float)
        if interval is not None:
            ends = part[[f"low_{interval}", f"high_{interval}"]].to_numpy(dtype=float, na_value=np.nan)
            axes.vlines(xs, ends[:, 0], ends[:, 1], color=colour, linewidth=1, alpha=0.6)
        axes.plot(xs, ys, "-", color=colour, linewidth=0.8, alpha=0.5)
        axes.plot([], [], marker, ms=6, color=colour, label=shown(preset, 40), linestyle="none")
        for name, left, height in zip(part["examples"], xs, ys, strict=True):
            size = _SIZES[1] if len(levels) < 2 else np.interp(levels[name], [0, len(levels) - 1], _SIZES)
            axes.plot([left], [height], marker, ms=float(size), color=colour, mec=SURFACE, mew=0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0.2, labelspacing=0.2, columnspacing=1)


def _by_number(lines: pd.DataFrame) -> list[str]:
    """Numbers of examples from few to many; no limit is most."""
    told = lines[["examples", "fit_per_class", "fit_total"]].drop_duplicates("examples").astype({"examples": str})
    most = np.inf
    keys = [
        (most if pd.isna(per_class) else float(per_class), most if pd.isna(total) else float(total), name)
        for name, per_class, total in told.itertuples(index=False, name=None)
    ]
    return [name for *_, name in sorted(keys)]


def _legend_height(table: StudyTable) -> float:
    return 0.2 * (-(-table.rows["preset"].nunique() // 2))
