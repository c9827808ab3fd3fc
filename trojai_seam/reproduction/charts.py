"""Figures of the page: each from rows to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from ..tables.report.drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SURFACE, new_figure, styled
from .verdicts import Estimate, mean_of

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY, INK)
_MARKERS = "os^Dv*"


def points_with_means(groups: Mapping[str, Sequence[float]], means: Mapping[str, Estimate], label: str, at: float,
                      logarithmic: bool = False) -> Figure:  # fmt: skip
    """A row per group: every value, the mean with its interval, and a line at the value that a statement names."""
    with styled():
        figure, (axes,) = new_figure(height=1.1 + 0.34 * max(2, len(groups)))
        for height, (name, values) in zip(range(len(groups))[::-1], groups.items(), strict=True):
            axes.plot(values, [height + 0.16] * len(values), "o", ms=4, color=GREY, alpha=0.6, mec="none")
            _mean(axes, means[name], height - 0.1, BLUE)
        axes.axvline(at, color=ORANGE, linewidth=1.2)
        axes.set_yticks(range(len(groups)), list(groups)[::-1])
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_xlabel(label)
        if logarithmic:
            _logarithmic(axes)
        axes.margins(x=0.06)
        return figure


def _mean(axes: Axes, estimate: Estimate, height: float, colour: str) -> None:
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.hlines(height, estimate.low, estimate.high, color=colour, linewidth=2)
    axes.plot([estimate.value], [height], "o", ms=5.5, color=colour, mec=SURFACE, mew=0.6)


def _logarithmic(axes: Axes, scale: str = "log", **more: float) -> None:
    axes.set_xscale(scale, **more)
    _plain(axes.xaxis)


def _plain(axis: Axis) -> None:
    """1000 at whole powers of ten: formulas, which matplotlib would write, are switched off."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def over_sizes(rows: pd.DataFrame, at: int) -> Figure:
    """Mean fidelity over the number of clean pictures (logarithmic), with its interval, a line per preset."""
    with styled():
        figure, (axes,) = new_figure(height=3.6)
        for number, (preset, part) in enumerate(rows.groupby("preset", sort=False)):
            sizes = sorted(part["clean"].unique())
            means = [mean_of(part.loc[part["clean"] == size, "fidelity"]) for size in sizes]
            _line(axes, sizes, means, number, str(preset))
        axes.axvline(at, color=GREY, linewidth=1)
        axes.annotate("0.1 %", (at, 1.0), xycoords=("data", "axes fraction"), color=GREY, ha="center", va="bottom")
        _logarithmic(axes)
        axes.set(xlabel="clean pictures", ylabel="fidelity")
        axes.legend(loc="lower right")
        return figure


def _line(axes: Axes, x: Sequence[float], means: Sequence[Estimate], number: int, label: str) -> None:
    value, low, high = (
        np.array([np.nan if m[place] is None else m[place] for m in means], np.float64) for place in (1, 2, 3)
    )
    colour = COLOURS[number % len(COLOURS)]
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(x, value, marker=_MARKERS[number % 6], ms=4, color=colour, label=label)


def over_steps(rows: pd.DataFrame, measure: str, label: str) -> Figure:
    """Mean over models of ``measure`` after so many steps of forgetting, a line per target."""
    with styled():
        figure, (axes,) = new_figure(height=3.8)
        for number, (target, part) in enumerate(rows.groupby("target", sort=False)):
            steps = sorted(part["step"].unique())
            means = [mean_of(part.loc[part["step"] == step, measure]) for step in steps]
            _line(axes, [float(step) for step in steps], means, number, str(target))
        _logarithmic(axes, "symlog", linthresh=1)
        axes.set(xlabel="steps of forgetting", ylabel=label, ylim=(-0.03, 1.03))
        _legend_above(axes)
        return figure


def over_distance(curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Mean attack success at the same distance in weights, a line per target; ``curves`` are ``[models, points]``."""
    with styled():
        figure, (axes,) = new_figure(height=3.8)
        for number, (target, values) in enumerate(curves.items()):
            x = np.linspace(0, 1, values.shape[1])
            _line(axes, x.tolist(), [mean_of(column) for column in values.T], number, target)
        axes.set(xlabel="distance in weights, of the farthest that all reach", ylabel="attack success")
        axes.set_ylim(-0.03, 1.03)
        _legend_above(axes)
        return figure


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0.2, labelspacing=0.2, columnspacing=1)


def predicted_and_measured(rows: pd.DataFrame) -> Figure:
    """Every network's predicted against its measured change of scores, both logarithmic."""
    with styled():
        figure, (axes,) = new_figure(height=3.6)
        for number, (network, part) in enumerate(rows.groupby("network", sort=False)):
            x, y = (part[name].to_numpy(dtype=float) for name in ("predicted_change", "measured_change"))
            axes.plot(x, y, _MARKERS[number], ms=6, color=COLOURS[number], alpha=0.8, mec="none", label=str(network))
        known = rows[["predicted_change", "measured_change"]].to_numpy(dtype=float)
        if np.isfinite(known).any():
            ends = [float(np.nanmin(known)), float(np.nanmax(known))]
            axes.plot(ends, ends, color=GREY, linewidth=1)
        _logarithmic(axes)
        axes.set(yscale="log", xlabel="predicted by the kernel", ylabel="measured")
        _plain(axes.yaxis)
        axes.legend(loc="upper left")
        return figure


def by_kind(rows: pd.DataFrame, presets: Sequence[str]) -> Figure:
    """Mean fidelity of every preset against every kind of attack."""
    kinds = list(dict.fromkeys(rows["kind"]))
    with styled():
        figure, (axes,) = new_figure(height=1.6 + 0.42 * len(kinds))
        for number, preset in enumerate(presets):
            part = rows[rows["preset"] == preset]
            values = [part.loc[part["kind"] == kind, "fidelity"].mean() for kind in kinds]
            heights = len(kinds) - 1 - np.arange(len(kinds)) + 0.3 - 0.6 * number / max(1, len(presets) - 1)
            axes.plot(values, heights, _MARKERS[number % 6], ms=6, color=COLOURS[number % 6], label=preset, alpha=0.9)
        axes.set_yticks(range(len(kinds)), kinds[::-1])
        axes.set_ylim(-0.6, len(kinds) - 0.4)
        axes.set_xlabel("mean fidelity")
        axes.margins(x=0.06)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.2, handletextpad=0.2, columnspacing=1)
        return figure
