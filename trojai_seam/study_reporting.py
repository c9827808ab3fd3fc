"""What is made from the runs of a study: one table and one page, for Python as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from .batch.command import evaluate_command
from .batch.files import make_folder, write_atomic
from .batch.paths import RunPaths, StudyPaths
from .batch.plan import read_plan
from .batch.study import presets_of, read_study, study_runs
from .errors import UsageProblem, listed, shown
from .heartbeat import beat
from .reporting import read_run
from .tables import csv_bytes
from .tables.formats import formatted
from .tables.study_lines import StudyTable, pooled, study_table
from .tables.study_texts import difference_texts, failure_texts, group_texts, measure_texts, study_notes
from .unlearning import get_preset

Place = str | PathLike[str]


def read_study_table(places: Sequence[Place], baseline: str | None = None) -> StudyTable:
    """The table of studies or of run directories, which need not have been made by one command.

    Args:
        places: folders of studies, or run directories.
        baseline: the preset that others are compared to, by name or file; when unset that of the first study that has
            one, else the first preset.

    Raises:
        RunDirectoryProblem: no such run or study, or an unreadable record.
        UsageProblem: no run, a run that was given twice, no such preset, or two of one name.
    """
    return _table([Path(place) for place in places], baseline)


def write_study_table(places: Sequence[Place], folder: Place, baseline: str | None = None) -> StudyTable:
    """Write ``study.csv``, ``study.md``, ``study.tex``, ``study.html`` and ``rows.csv`` into ``folder``.

    Args:
        places: folders of studies, or run directories.
        folder: made if it is not there.
        baseline: as for :func:`read_study_table`.

    Raises:
        RunDirectoryProblem: no such run or study, an unreadable record, or the files cannot be written.
        UsageProblem: as for :func:`read_study_table`.
    """
    from .tables.report.methods import StudyPage, render_methods

    runs = study_runs([Path(place) for place in places])
    beat(f"reading the records of {len(runs)} runs")
    table = _table([Path(place) for place in places], baseline)
    plans = {run: read_plan(RunPaths(run)) for run in runs}
    beat("drawing the page of the study")
    facts = [_facts(run, plan) for run, plan in plans.items()]
    page = StudyPage(table, _head(list(plans.values()), table), facts, _commands([Path(place) for place in places]))
    paths = StudyPaths(Path(folder))
    make_folder(paths.folder)
    for path, content in (
        (paths.table, csv_bytes(table.lines)),
        (paths.rows, csv_bytes(table.rows.drop(columns=["attacked", "clean"]))),
        (paths.markdown, _whole(table, "markdown").encode("utf-8", "backslashreplace")),
        (paths.latex, _whole(table, "latex").encode("utf-8", "backslashreplace")),
        (paths.page, render_methods(page).encode("utf-8", "backslashreplace")),
    ):
        write_atomic(path, content)
    return table


def study_text(table: StudyTable) -> str:
    """The two tables of all models with their notes, for the terminal."""
    parts = [measure_texts(table), difference_texts(table)]
    notes = "\n".join(f"note: {shown(note, 400)}" for note in study_notes(table))
    return "\n\n".join([*(formatted(part, "text") for part in parts if len(part)), notes])


def _table(places: Sequence[Path], baseline: str | None) -> StudyTable:
    studies = [read_study(paths) for place in places if (paths := StudyPaths(place)).plan.exists()]
    rows = _pooled(study_runs(places))
    if baseline is None:
        kept = (study.get("baseline") for study in studies)
        there = set(rows["preset"])  # a study that was interrupted may not have come so far
        return study_table(rows, next((name for name in kept if name in there), None))
    files = {given: name for study in studies for given, name in presets_of(study).items()}
    if baseline.endswith(".json") and baseline not in files:
        files[baseline] = get_preset(baseline).name
    return study_table(rows, files.get(baseline, baseline))


def _pooled(runs: Sequence[Path]) -> pd.DataFrame:
    resolved = [run.resolve() for run in runs]
    twice = sorted({str(run) for run in resolved if resolved.count(run) > 1})
    if twice:
        raise UsageProblem(f"one run was given twice: {listed(twice)}")
    read = [(read_run(run), read_plan(RunPaths(run))) for run in runs]
    if not any(len(frame) for frame, _ in read):
        raise UsageProblem("the study has no rows yet: none of its runs has begun")
    return pooled([(frame, plan) for frame, plan in read if len(frame)])


def _whole(table: StudyTable, form: str) -> str:
    titled = [
        ("Presets", measure_texts(table)),
        (f"Differences to {table.baseline}", difference_texts(table)),
        *group_texts(table),
        ("Failed rows", failure_texts(table)),
    ]
    mark = "%" if form == "latex" else "##"
    parts = [f"{mark} {shown(title, 100)}\n\n{formatted(frame, form)}" for title, frame in titled if len(frame)]
    notes = "\n".join(f"{'%' if form == 'latex' else '-'} {shown(note, 400)}" for note in study_notes(table))
    return "\n\n".join([*parts[:1], notes, *parts[1:]]) + "\n"


def _head(plans: Sequence[Mapping[str, Any]], table: StudyTable) -> dict[str, str]:
    """What a reader must know before any figure."""

    def told(values: Sequence[Any]) -> str:
        return ", ".join(dict.fromkeys(shown(value, 300) for value in values))

    status = table.rows["status"].value_counts()
    counts = ", ".join(f"{status[name]} {name}" for name in ("done", "failed", "missing") if name in status)
    versions = [f"{name.replace('_', '-')} {v}" for plan in plans for name, v in plan.get("versions", {}).items()]
    return {
        "datasets": told([plan["dataset"] for plan in plans]),
        "rounds": told([plan["round"]["name"] for plan in plans]),
        "seeds": told(sorted({int(plan["seed"]) for plan in plans})),
        "examples": told(list(table.overall["examples"])),
        "protocol": told([plan["protocol"] for plan in plans]),
        "device": told([plan.get("device", "") for plan in plans]),
        "versions": told(versions),
        "rows": f"{counts} in {len(plans)} runs",
    }


def _commands(places: Sequence[Path]) -> list[str]:
    """That made studies among ``places``."""
    plans = [read_study(paths) for place in places if (paths := StudyPaths(place)).plan.exists()]
    return [shown(command, 4000) for plan in plans for command in plan.get("commands", [])]


def _facts(run: Path, plan: Mapping[str, Any]) -> dict[str, str]:
    return {"run": shown(run.name, 120), "command": shown(evaluate_command(plan, str(run)), 2000)}
