"""The figures: each is a function from a run to a matplotlib figure, for the page, for files and for notebooks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...errors import shown
from ...scoring.intervals import wilson
from ..curves import band
from .content import Run
from .drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, SURFACE, new_figure, styled

MOST_GROUPS = 24
MOST_BARS = 40  # models whose intervals can be told apart
MOST_POINTS = 500  # models that are drawn one by one
_FIELD = 0.04  # of ACC and ASR; more models than that are counted in fields
ROUNDING = 1e-6  # seconds
_STAGES = (("load", GREY), ("forget", ORANGE), ("recover", BLUE), ("other phases", PURPLE), ("score", GREEN))
_NAMES = {"forget": "Forgetting", "recover": "Recovery"}
_COLOURS = {"forget": ORANGE, "recover": BLUE}


def fidelity_distribution(run: Run) -> Figure:
    """Share of the poisoned models with at least a given fidelity, failed and missing ones counted as having none."""
    poisoned = run.results[run.results["poisoned"].fillna(False)]
    values = np.sort(poisoned["fidelity"].dropna().to_numpy(dtype=float))
    with styled():
        figure, (axes,) = new_figure()
        low = min(0.0, values[0]) if len(values) else 0.0
        ends = [low - 0.05], [max(1.0, values[-1] if len(values) else 1.0) + 0.02]
        inner = np.unique(values)
        if len(inner) > MOST_POINTS:  # steps finer than any screen
            inner = np.unique(np.quantile(values, np.linspace(0, 1, MOST_POINTS), method="higher"))
        grid = np.unique(np.concatenate([ends[0], inner, ends[1]]))
        reached = len(values) - np.searchsorted(values, grid - 1e-12)
        if len(poisoned):
            bounds = np.array([wilson(int(count), len(poisoned)) for count in reached])
            axes.fill_between(grid, bounds[:, 0], bounds[:, 1], step="pre", color=BLUE, alpha=0.18, linewidth=0)
            axes.step(grid, reached / len(poisoned), where="pre", color=BLUE)
        axes.set(xlabel="fidelity", ylabel="share of poisoned models", ylim=(-0.02, 1.02), xlim=(grid[0], grid[-1]))
        return figure


def accuracy_against_attack(run: Run) -> Figure:
    """Every poisoned model as a line from (ASR, ACC) before to after, with the 95 % intervals of what is after.

    Intervals of more than ``MOST_BARS`` models are left out; more than ``MOST_POINTS`` models are drawn as circles
    whose areas count the models in a field of the plane.
    """
    rates = ["asr_before", "acc_before", "asr_after", "acc_after"]
    part = run.results.dropna(subset=rates)
    points = part[rates].to_numpy(dtype=float).reshape(-1, 2, 2)
    with styled():
        figure, (axes,) = new_figure()
        if len(points) <= MOST_POINTS:
            axes.add_collection(LineCollection(list(points), colors=[GREY], linewidths=0.8, alpha=0.45))
        for column, colour, name in ((0, ORANGE, "before"), (1, BLUE, "after")):
            x, y = points[:, column, 0], points[:, column, 1]
            if len(points) > MOST_POINTS:
                x, y, area = _fields(x, y)
                axes.scatter(x, y, s=area, color=colour, alpha=0.6, linewidths=0, label=name)
                continue
            if column and len(points) <= MOST_BARS:
                for measure, bars in (("asr_after", axes.hlines), ("acc_after", axes.vlines)):
                    ends = part[[f"{measure}_low", f"{measure}_high"]].to_numpy(dtype=float, na_value=np.nan)
                    bars(y if measure == "asr_after" else x, ends[:, 0], ends[:, 1], color=colour, lw=0.8, alpha=0.4)
            axes.plot(x, y, "o", ms=4.5, color=colour, alpha=0.75, mec="none", label=name)
        axes.set(xlabel="ASR (lower is better)", ylabel="ACC", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        if len(points):
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.2)
        return figure


def _fields(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Means of the points of every field that holds any, and areas in proportion to their number; ``[fields]`` each."""
    keys = np.floor(x / _FIELD) * 1000 + np.floor(y / _FIELD)
    _, field, counts = np.unique(keys, return_inverse=True, return_counts=True)
    middle_x, middle_y = (np.bincount(field, weights=values) / counts for values in (x, y))
    return middle_x, middle_y, 4 + 250 * counts / counts.max()


def by_column(run: Run, column: str) -> Figure:
    """Mean fidelity of poisoned models and mean kept accuracy of clean ones per group, with their 95 % intervals."""
    summary = run.summary(column)
    groups = _ranked_groups(summary, column)
    with styled():
        figure, (axes,) = new_figure(height=1.1 + 0.3 * max(2, len(groups)))
        for kind, measure, colour, marker, shift in (
            ("poisoned", "fidelity", BLUE, "o", 0.12),
            ("clean", "kept_accuracy", GREEN, "s", -0.12),
        ):
            lines = summary[(summary["group"] == kind) & summary[f"mean_{measure}"].notna()].set_index(column)
            told = [name for name in groups if name in lines.index]
            if not told:
                continue
            heights = [len(groups) - 1 - groups.index(name) + shift for name in told]
            means = lines.loc[told, f"mean_{measure}"].to_numpy(dtype=float)
            axes.hlines(
                heights,
                lines.loc[told, f"low_{measure}"].to_numpy(dtype=float, na_value=np.nan),
                lines.loc[told, f"high_{measure}"].to_numpy(dtype=float, na_value=np.nan),
                color=colour,
                linewidth=1.8,
            )
            name = "fidelity, poisoned" if kind == "poisoned" else "kept accuracy, clean"
            axes.plot(means, heights, marker, ms=5.5, color=colour, mec=SURFACE, mew=0.6, label=name)
        axes.set_yticks(range(len(groups)), [shown(name, 30) for name in reversed(groups)])
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_xlabel("mean over models")
        axes.margins(x=0.04)
        if axes.lines:
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.2, columnspacing=1
            )
        return figure


def phase_curves(run: Run) -> Figure:
    """Accuracy on the fit examples over the epochs of every phase: median and 5 % to 95 % range over models."""
    with styled():
        figure, panels = new_figure(height=2.9, columns=len(run.phases))
        for axes, phase in zip(panels, run.phases, strict=True):
            colour = _COLOURS.get(phase, PURPLE)
            models = band(run.curves.values(), phase)
            if models is not None:
                epochs = np.arange(len(models.median))
                axes.fill_between(epochs, models.q05, models.q95, color=colour, alpha=0.2, linewidth=0)
                axes.plot(epochs, models.median, color=colour)
            axes.set_title(_NAMES.get(phase, phase), fontsize=11, loc="left")
            axes.set(xlabel="epoch", ylim=(-0.02, 1.02))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[0].set_ylabel("accuracy on fit examples")
        for axes in panels[1:]:
            axes.set_yticklabels([])
        return figure


def attack_trace(run: Run) -> Figure:
    """Accuracy and attack success over the epochs of every phase, asked of stored states: median and 5 % to 95 %."""
    with styled():
        figure, panels = new_figure(height=3.1, columns=len(run.traced_phases))
        for axes, phase in zip(panels, run.traced_phases, strict=True):
            for measure, colour, name in (("acc", BLUE, "ACC"), ("asr", ORANGE, "ASR")):
                models = band(run.attack_curves[measure].values(), phase)
                if models is not None:
                    epochs = np.arange(len(models.median))
                    axes.fill_between(epochs, models.q05, models.q95, color=colour, alpha=0.2, linewidth=0)
                    axes.plot(epochs, models.median, color=colour, label=name)
            axes.set_title(_NAMES.get(phase, phase), fontsize=11, loc="left")
            axes.set(xlabel="epoch", ylim=(-0.02, 1.02))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[0].set_ylabel("held-out ACC, ASR (oracle)")
        panels[-1].legend(loc="center right", borderpad=0.2)
        for axes in panels[1:]:
            axes.set_yticklabels([])
        return figure


def time_split(run: Run) -> Figure:
    """Mean seconds per scored model by stage, per network."""
    done = run.results[run.results["status"] == "done"]
    columns = ("load", "forget", "recover", "unlearn", "score")
    seconds = pd.DataFrame({name: done[f"seconds_{name}"].fillna(0).astype(float) for name in columns})
    rest = seconds["unlearn"] - seconds["forget"] - seconds["recover"]
    seconds["other phases"] = rest.where(rest > ROUNDING, 0.0)
    stages = [(stage, colour) for stage, colour in _STAGES if seconds[stage].any()]
    means = seconds[[stage for stage, _ in stages]].groupby(done["model_architecture"]).mean()
    means = means.loc[means.sum(axis=1).sort_values(ascending=False).index[:MOST_GROUPS]]
    with styled():
        figure, (axes,) = new_figure(height=1.1 + 0.28 * max(2, len(means)))
        left = np.zeros(len(means))
        heights = np.arange(len(means))[::-1]
        for stage, colour in stages:
            width = means[stage].to_numpy()
            axes.barh(heights, width, left=left, height=0.62, color=colour, label=stage)
            left += width
        axes.set_yticks(heights, [shown(name, 30) for name in means.index])
        axes.set_xlabel("mean seconds per model")
        axes.grid(False, axis="y")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, borderpad=0, handlelength=1, columnspacing=1)
        return figure


def model_frame(run: Run) -> tuple[Figure, list[Axes]]:
    """Empty axes for the curves of single models, alike for all of them so that they can be compared."""
    with styled():
        figure, panels = new_figure(height=2.1, columns=len(run.phases))
        for axes, phase in zip(panels, run.phases, strict=True):
            longest = max((len(curves[phase]) - 1 for curves in run.curves.values() if phase in curves), default=1)
            axes.set_title(_NAMES.get(phase, phase), fontsize=11, loc="left")
            axes.set(xlabel="epoch", ylim=(-0.02, 1.02), xlim=(-0.02 * longest, 1.02 * longest))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[0].set_ylabel("fit accuracy")
        for axes in panels[1:]:
            axes.set_yticklabels([])
        figure.draw_without_rendering()  # settles the layout, and with it where data go
        return figure, panels


def figures(run: Run) -> dict[str, Callable[[], Figure]]:
    """The figures that say something about ``run``, by name (also the name of the file)."""
    drawn: dict[str, Callable[[], Figure]] = {}
    if run.results["fidelity"].notna().any():
        drawn["fidelity-distribution"] = lambda: fidelity_distribution(run)
        drawn["accuracy-against-attack"] = lambda: accuracy_against_attack(run)
    for column in run.grouped_by:
        drawn[f"by-{column.replace('_', '-')}"] = lambda column=column: by_column(run, column)  # type: ignore[misc]
    if run.phases:
        drawn["phase-curves"] = lambda: phase_curves(run)
    if run.traced_phases:
        drawn["attack-trace"] = lambda: attack_trace(run)
    if run.results["seconds_score"].notna().any():
        drawn["time-split"] = lambda: time_split(run)
    return drawn


def _ranked_groups(summary: pd.DataFrame, column: str) -> list[str]:
    """Names of the groups with most scored models, best first; a group without poisoned models comes last.

    Groups of one model are left out where there are others to compare.
    """
    sizes = summary[summary["done"] > 0].groupby(column)["models"].sum().sort_values(ascending=False, kind="stable")
    if (sizes > 1).sum() >= 2:
        sizes = sizes[sizes > 1]
    ranks = summary[summary["group"] == "poisoned"].set_index(column)["rank_fidelity"]
    return sorted(sizes.index[:MOST_GROUPS], key=lambda name: (-float(ranks.get(name, -1.0)), str(name)))
