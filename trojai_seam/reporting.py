"""What is made from finished records: the bodies of ``tables``, ``compare`` and ``report``, for Python as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import takewhile
from os import PathLike
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import pandas as pd

from .batch.answers import read_answers
from .batch.command import evaluate_command
from .batch.curves import attack_curves, read_attack_trace, read_curves
from .batch.expected import read_expected, read_expected_files
from .batch.files import make_folder, write_atomic
from .batch.paths import RunPaths
from .batch.plan import LIMITS, MEASURED, read_plan
from .batch.records import read_rows
from .errors import UsageProblem, listed, shown
from .heartbeat import beat
from .tables import csv_bytes, results_frame, summary_frame
from .tables.columns import BY_NAME
from .tables.comparison import Comparison, changed_models, compare, difference_texts, overview_texts
from .tables.formats import formatted
from .tables.frames import grouping_columns, with_expected
from .tables.layout import overview, statistics
from .tables.nist import Submission, global_results_csv, metadata_csv, metrics_csv, results_csv
from .tables.side_by_side import line_texts

if TYPE_CHECKING:
    from .tables.report import Run


def read_run(run_dir: str | PathLike[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """The results frame of a run directory with a row of status ``missing`` for each expected model without a record.

    Args:
        run_dir: as ``evaluate`` left it.
        by: further columns that are wanted: ``config.KEY``, ``metadata.KEY``, or ``KEY`` of either file.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column.
    """
    rows = _rows(RunPaths(Path(run_dir)), whole=any(name not in BY_NAME for name in by))
    return results_frame(rows, grouping_columns(by, rows))


def summarize(run_dir: str | PathLike[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """Distributions over the models of a run, in groups; see :func:`trojai_seam.tables.summary.summary_frame`.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column to group by.
    """
    return summary_frame(read_run(run_dir, by), by)


def summary_text(run_dir: str | PathLike[str], by: Sequence[str], form: str) -> str:
    """:func:`summarize` for printing: ``csv`` has every figure, ``text``, ``markdown`` and ``latex`` have two tables.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column or format.
    """
    summary = summarize(run_dir, by)
    if form == "csv":
        return csv_bytes(summary).decode().rstrip("\n")
    return "\n\n".join(formatted(table, form) for table in (overview(summary, by), statistics(summary, by)))


def write_nist_tables(run_dir: str | PathLike[str], folder: str | PathLike[str], team: str = "trojai-seam") -> None:
    """The run as NIST's harness writes results: ``<round>_RESULTS.csv``, ``<round>_METADATA.csv``,
    ``<split>-global-results.csv`` and ``<round>-metrics.csv`` in ``folder``.

    The split is the word train, test, holdout, sts or dev in the dataset's path, else train.

    Raises:
        RunDirectoryProblem: no such run, an unreadable record, or the files cannot be written.
    """
    paths = RunPaths(Path(run_dir))
    rows, plan = _rows(paths, whole=True), read_plan(paths)
    done = [str(row["model_id"]) for row in rows if row["status"] == "done"]
    records = [paths.record(model_id) for model_id in done]
    words = re.split(r"[^a-z]+", str(plan["dataset"]).lower())
    submission = Submission(
        team=team,
        split=next((word for word in reversed(words) if word in ("train", "test", "holdout", "sts", "dev")), "train"),
        submitted=_stamp(paths.plan.stat().st_mtime),
        executed=_stamp(max((path.stat().st_mtime for path in records), default=paths.plan.stat().st_mtime)),
    )
    leaderboard = str(plan["round"]["name"])
    answers = ((model_id, read_answers(path)) for model_id, path in zip(done, records, strict=True))
    make_folder(Path(folder))
    for name, frame in (
        (f"{leaderboard}_RESULTS.csv", results_csv(submission, answers)),
        (f"{leaderboard}_METADATA.csv", metadata_csv(submission, rows)),
        (f"{submission.split}-global-results.csv", global_results_csv(submission, rows)),
        (f"{leaderboard}-metrics.csv", metrics_csv(submission, rows)),
    ):
        write_atomic(Path(folder) / name, csv_bytes(frame, signed_numbers=True))


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")


def compare_runs(run_dirs: Sequence[str | PathLike[str]]) -> Comparison:
    """The first run against each of the others, on the models that both have; see :class:`Comparison`.

    Runs are called by the names of their directories, without what long ones begin with alike, or by their paths where
    names repeat.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: fewer than two runs, one named twice, or two that have no model in common.
    """
    paths = _named(run_dirs)
    if len(paths) < 2:
        raise UsageProblem("compare needs at least two runs")
    datasets = {name: str(plan["dataset"]) for name, plan in _plans(paths).items()}
    return compare({name: read_run(path) for name, path in paths.items()}, datasets)


def _named(run_dirs: Sequence[str | PathLike[str]]) -> dict[str, Path]:
    """Run directories by what they are called."""
    paths = [Path(run_dir) for run_dir in run_dirs]
    names = [path.resolve().name for path in paths]
    called = _shortened(names) if len(set(names)) == len(names) else [str(path) for path in paths]
    if len(set(called)) < len(called):
        raise UsageProblem(f"one run was given twice: {listed(called)}")
    return dict(zip(called, paths, strict=True))


LONG_NAME = 24
"""Of a run: in tables and figures there is no room for longer ones."""


def _shortened(names: list[str]) -> list[str]:
    """``fleet-7-seed-0-default`` and ``fleet-7-seed-0-no-op`` are called ``default`` and ``no-op``."""
    if len(names) < 2 or max(map(len, names)) <= LONG_NAME:
        return names
    words = [re.split(r"(?<=[-_. ])", name) for name in names]
    alike = list(takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
    rest = ["".join(of[len(alike) :]) for of in words]
    return rest if all(rest) else names


def _plans(paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {name: read_plan(RunPaths(path)) for name, path in paths.items()}


def write_study(run_dirs: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> Path:
    """Write one HTML page of several runs, the first against each of the others; returns its path.

    Raises:
        RunDirectoryProblem: no such run, an unreadable record, or the file cannot be written.
        UsageProblem: fewer than two runs, one named twice, or two that have no model in common.
    """
    from .tables.report import Study, render_study

    paths = _named(run_dirs)
    beat(f"reading the records of {len(paths)} runs")
    results = {name: read_run(path) for name, path in paths.items()}
    plans = _plans(paths)
    comparison = compare(results, {name: str(plan["dataset"]) for name, plan in plans.items()})
    facts = {
        name: _head(RunPaths(path), plans[name], results[name], _presets(plans[name])) for name, path in paths.items()
    }
    make_folder(Path(out).parent)
    write_atomic(Path(out), render_study(Study(results, comparison, facts)).encode("utf-8", "backslashreplace"))
    return Path(out)


def comparison_text(comparison: Comparison, form: str, details: bool = False) -> str:
    """:class:`Comparison` for printing: a line per run, with ``details`` also ranks, the differences of all measures
    and the models that changed most. ``csv`` has the differences with every figure.

    Raises:
        UsageProblem: no such format.
    """
    if form == "csv":
        return csv_bytes(comparison.differences).decode().rstrip("\n")
    tables = [line_texts(comparison.lines)]
    notes = list(comparison.notes)
    if details:
        tables += [overview_texts(comparison), difference_texts(comparison), changed_models(comparison)]
        notes += comparison.differing
    told = "\n".join(f"note: {shown(note, 400)}" for note in notes)
    first, *others = (formatted(table, form) for table in tables if len(table))
    return "\n\n".join(part for part in (first, told, *others) if part)


def write_comparison(comparison: Comparison, folder: str | PathLike[str]) -> None:
    """``lines.csv``, ``runs.csv``, ``differences.csv`` and ``models.csv`` in ``folder``.

    Raises:
        RunDirectoryProblem: they cannot be written.
    """
    make_folder(Path(folder))
    for name in ("lines", "runs", "differences", "models"):
        write_atomic(Path(folder) / f"{name}.csv", csv_bytes(getattr(comparison, name)))


def write_report(
    run_dir: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    by: Sequence[str] = (),
    plots: str | PathLike[str] | None = None,
) -> Path:
    """Write the HTML report of a run; returns its path.

    Args:
        run_dir: as ``evaluate`` left it.
        out: the file; ``report.html`` in the run directory when unset.
        by: columns to group by; those that tell the models apart when empty.
        plots: a folder for every figure as SVG and PNG; not written when unset.

    Raises:
        RunDirectoryProblem: no such run, an unreadable record, or a file that cannot be written.
        UsageProblem: no such column.
    """
    from .tables.report import render_page
    from .tables.report.charts import figures
    from .tables.report.drawing import save

    beat("reading the records")
    run = load_run(run_dir, by)
    beat(f"drawing the page of {len(run.results)} models")
    path = RunPaths(Path(run_dir)).report if out is None else Path(out)
    make_folder(path.parent)
    write_atomic(path, render_page(run).encode("utf-8", "backslashreplace"))
    if plots is not None:
        make_folder(Path(plots))
        for name, draw in figures(run).items():
            figure = draw()
            for kind in ("svg", "png"):
                write_atomic(Path(plots) / f"{name}.{kind}", save(figure, kind))
    return path


def load_run(run_dir: str | PathLike[str], by: Sequence[str] = ()) -> Run:
    """Results, curves and settings of a run, as the report and its figures take them.

    ``trojai_seam.tables.report.charts`` has one function per figure, from a :class:`Run` to a matplotlib figure.

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
        UsageProblem: no such column.
    """
    from .tables.report import Run

    paths = RunPaths(Path(run_dir))
    results = read_run(run_dir, by)
    done = results.loc[results["status"] == "done", "model_id"]
    plan = read_plan(paths)
    several, presets = bool(plan.get("presets")), _presets(plan)
    return Run(
        name=f"{shown(plan['round']['name'])}, {', '.join(map(shown, presets))}",
        results=results,
        curves={str(model_id): read_curves(paths.record(str(model_id))) for model_id in done},
        attack_curves=_attack_curves(paths, map(str, done)) if plan.get("trace_attack") else {},
        facts=_head(paths, plan, results, presets),
        settings={name: shown(value) for name, value in _settings(presets if several else plan["unlearning"])},
        versions=_versions(plan),
        command=evaluate_command(plan, str(run_dir)),
        by=by,
    )


def _attack_curves(paths: RunPaths, models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """By measure and model, of those that have a trace."""
    found: dict[str, dict[str, Any]] = {"acc": {}, "asr": {}}
    for model in models:
        for measure, curves in attack_curves(read_attack_trace(paths.record(model))).items():
            if curves:
                found[measure][model] = curves
    return found


def _presets(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """The presets of a run by name; a round with several kinds of models has one for each."""
    return plan.get("presets") or {plan["unlearning"]["preset"]: plan["unlearning"]}


def _head(paths: RunPaths, plan: Mapping[str, Any], results: pd.DataFrame, presets: Iterable[str]) -> dict[str, str]:
    """What a reader must know of a run before any figure."""
    dates = sorted(path.stat().st_mtime for path in (paths.records, paths.plan) if path.exists())
    versions = ", ".join(f"{name.replace('_', '-')} {shown(value)}" for name, value in plan.get("versions", {}).items())
    limits = [f"{name.replace('_', ' ')} {plan[name]}" for name in LIMITS if plan.get(name) is not None]
    limits += [name.replace("_", " ") for name in MEASURED if plan.get(name)]
    done = results[results["status"] == "done"]
    return {
        "evaluated": datetime.fromtimestamp(dates[-1], UTC).strftime("%Y-%m-%d %H:%M UTC") if dates else "",
        "round": shown(plan["round"]["name"]),
        "dataset": shown(plan["dataset"], 300),
        "preset": ", ".join(map(shown, presets)),
        "changed options": ", ".join(shown(text, 300) for text in done["changed_options"].dropna().unique()[:3]),
        "seed": shown(plan["seed"]),
        "protocol": ", ".join([shown(plan["protocol"]), *limits]),
        "device": shown(plan.get("device", "")),
        "versions": versions,
        "command": shown(evaluate_command(plan, str(paths.run_dir)), 2000),
    }


def _versions(plan: Mapping[str, Any]) -> dict[str, str]:
    """Of the run, and of what made the report where that may differ."""
    of_run = {name: shown(value) for name, value in plan.get("versions", {}).items()}
    here = {"python": python_version(), "matplotlib": version("matplotlib"), "numpy": version("numpy")}
    return {**of_run, **{f"{name} (report)": value for name, value in here.items()}}


def _settings(node: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        full = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            yield from _settings(value, full)
        elif value is not None:
            yield full, value


def _rows(paths: RunPaths, whole: bool) -> list[dict[str, Any]]:
    """Of all expected models; ``whole``: with what NIST's files say of those that have no record."""
    files = read_expected_files(paths) if whole else {}
    expected = {model_id: {**facts, **files.get(model_id, {})} for model_id, facts in read_expected(paths).items()}
    return [dict(row) for row in with_expected(read_rows(paths), expected)]
