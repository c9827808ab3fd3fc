"""Several runs on one page: a line per run, figures side by side, and the differences in detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from ... import __version__
from ...errors import shown
from ..comparison import Comparison, changed_models, difference_texts, overview_texts
from ..layout import label
from ..side_by_side import line_texts
from .drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SURFACE, new_figure, styled
from .page import as_figure, as_table, file_text, template

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
_DASHES = ("-", "--", ":")
_TITLES = {
    "study-distribution": ("Fidelity over models", "Share of the expected poisoned models with at least the fidelity "
                           "below. Failed and missing models reach no value."),
    "study-means": ("Means", "Mean over the models that every run scored, with 95 % bootstrap intervals over models; "
                    "fewer than six models, or equal ones, have none."),
    "study-differences": ("Differences to the first run", "Mean difference over pairs of the same model, with 95 % "
                          "bootstrap intervals over pairs; fewer than six pairs, or equal ones, have none."),
}  # fmt: skip


class Study(NamedTuple):
    """What a page of several runs is made from.

    Attributes:
        results: results frames by name of the run, with rows of status ``missing``.
        comparison: of these.
        facts: by name of the run: what the head of its own report says.
    """

    results: Mapping[str, pd.DataFrame]
    comparison: Comparison
    facts: Mapping[str, Mapping[str, str]]


def render_study(study: Study) -> str:
    """The page as HTML; like that of one run it is whole, fetches nothing and has no script at all."""
    comparison = study.comparison
    lines = as_table(line_texts(comparison.lines))
    details = [
        (title, as_table(frame))
        for title, frame in (
            ("Coverage and ranks", overview_texts(comparison)),
            ("Differences of all measures", difference_texts(comparison)),
            ("Models that changed most", changed_models(comparison)),
        )
        if len(frame)
    ]
    same, own = _facts(study.facts)
    context: dict[str, Any] = {
        "title": f"{len(study.results)} runs side by side",
        "version": __version__,
        "style": Markup(file_text("style.css")),  # noqa: S704 - ours
        "head": same,
        "tables": [("One line per run", lines)],
        "notes": [shown(note, 400) for note in comparison.notes],
        "differing": [shown(line, 400) for line in comparison.differing],
        "figures": [as_figure(name, draw(), *_TITLES[name]) for name, draw in figures(study).items()],
        "details": details,
        "runs": own,
    }
    return template("study.html.j2").render(context)


def figures(study: Study) -> dict[str, Callable[[], Figure]]:
    """The figures that say something about ``study``, by name."""
    lines = study.comparison.lines
    drawn: dict[str, Callable[[], Figure]] = {}
    if any(frame["fidelity"].notna().any() for frame in study.results.values()):
        drawn["study-distribution"] = lambda: distributions(study)
    if lines["mean"].notna().any():
        drawn["study-means"] = lambda: means(study)
    if lines["difference"].notna().any():
        drawn["study-differences"] = lambda: differences(study)
    return drawn


def distributions(study: Study) -> Figure:
    """Per run the share of its expected poisoned models with at least a given fidelity."""
    with styled():
        figure, (axes,) = new_figure(height=3.0 + 0.22 * len(study.results))
        grid = np.linspace(-0.05, 1.02, 429)
        for number, (name, frame) in enumerate(study.results.items()):
            poisoned = frame[frame["poisoned"].fillna(False)]
            values = np.sort(poisoned["fidelity"].dropna().to_numpy(dtype=float))
            if not len(poisoned):
                continue
            reached = (len(values) - np.searchsorted(values, grid - 1e-12)) / len(poisoned)
            colour, dashes = _COLOURS[number % 5], _DASHES[number // 5 % 3]
            axes.step(grid, reached, where="pre", color=colour, linestyle=dashes, label=shown(name, 40))
        axes.set(xlabel="fidelity", ylabel="share of poisoned models", ylim=(-0.02, 1.02), xlim=(grid[0], grid[-1]))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderpad=0.2, labelspacing=0.2)
        return figure


def means(study: Study) -> Figure:
    """Per run the mean of the judged measure with its interval, and the kept accuracy of clean models."""
    lines = study.comparison.lines
    measure = label(str(lines["measure"].iloc[0]))
    with styled():
        figure, axes, heights = _per_run(lines)
        _points(axes, heights + 0.1, lines, ("mean", "low", "high"), BLUE, "o", measure)
        if measure == "fidelity" and lines["kept_accuracy"].notna().any():
            kept = lines["kept_accuracy"].to_numpy(dtype=float, na_value=np.nan)
            axes.plot(kept, heights - 0.12, "s", ms=5, color=GREEN, mec=SURFACE, mew=0.6, label="kept accuracy, clean")
        axes.set_xlabel("mean over models")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.2)
        return figure


def differences(study: Study) -> Figure:
    """Per further run its paired difference to the first, with the interval."""
    lines = study.comparison.lines.iloc[1:]
    with styled():
        figure, axes, heights = _per_run(lines)
        axes.axvline(0, color=INK, linewidth=0.8)
        _points(axes, heights, lines, ("difference", "difference_low", "difference_high"), BLUE, "o", None)
        axes.set_xlabel(f"difference of {label(str(lines['measure'].iloc[0]))}")
        return figure


def _per_run(lines: pd.DataFrame) -> tuple[Figure, Any, Any]:
    figure, (axes,) = new_figure(height=1.1 + 0.32 * max(2, len(lines)))
    heights = np.arange(len(lines))[::-1]
    axes.set_yticks(heights, [shown(name, 30) for name in lines["run"]])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.margins(x=0.06)
    return figure, axes, heights


def _points(
    axes: Any,
    heights: Any,
    lines: pd.DataFrame,
    names: tuple[str, str, str],
    colour: str,
    marker: str,
    told: str | None,
) -> None:
    value, low, high = (lines[name].to_numpy(dtype=float, na_value=np.nan) for name in names)
    axes.hlines(heights, low, high, color=colour, linewidth=1.8)
    axes.plot(value, heights, marker, ms=5.5, color=colour, mec=SURFACE, mew=0.6, label=told)


def _facts(facts: Mapping[str, Mapping[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, dict[str, str]]]]:
    """What is the same in all runs, and what is not, by run."""
    first = next(iter(facts.values()), {})
    same = {
        name: value for name, value in first.items() if value and all(of.get(name) == value for of in facts.values())
    }
    own = [
        (run, {name: value for name, value in of.items() if value and name not in same}) for run, of in facts.items()
    ]
    return list(same.items()), own
