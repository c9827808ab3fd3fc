"""The subcommands that read finished runs: ``tables``, ``compare``, ``report``. Each imports what weighs itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageProblem, shown

if TYPE_CHECKING:
    from .batch.paths import StudyPaths

OK = 0
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_result_commands(add: Add) -> None:
    """Declare them; ``add`` takes a name, the function that runs it, and a summary."""
    tables = add("tables", _tables, "rebuild the tables of a run directory from its records, and print them")
    tables.add_argument("run", type=Path, metavar="RUN", help="run directory")
    tables.add_argument(
        "--by",
        type=_names,
        default=[],
        metavar="COLUMN,COLUMN",
        help="print distributions per group: any column of results.csv, config.KEY or metadata.KEY",
    )
    tables.add_argument(
        "--format",
        default="text",
        choices=("text", "csv", "markdown", "latex"),
        help="of the distributions (default: %(default)s); csv has every figure",
    )

    compare = add("compare", _compare, "set runs side by side on the same models: what got better, what worse")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories; the first is compared to")
    compare.add_argument(
        "--format",
        default="text",
        choices=("text", "csv", "markdown", "latex"),
        help="default: %(default)s; csv has every figure of the differences",
    )
    compare.add_argument(
        "--details", action="store_true", help="also ranks, every measure, and the models that changed most"
    )
    compare.add_argument(
        "--out", type=Path, metavar="DIR", help="write lines.csv, runs.csv, differences.csv and models.csv there"
    )

    compare.add_argument("--html", type=Path, metavar="FILE", help="also write them as one page, with figures")

    report = add("report", _report, "write a run as one HTML file that opens anywhere, and its figures")
    report.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run directory; several are set side by side on one page"
    )
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="where (default: report.html in the run directory, of several: here)"
    )
    report.add_argument("--plots", type=Path, metavar="DIR", help="also write every figure as SVG and PNG")
    report.add_argument(
        "--by", type=_names, default=[], metavar="COLUMN,COLUMN", help="group by these (default: what differs)"
    )

    tables.add_argument("--nist", type=Path, metavar="DIR", help="also write the files of NIST's harness there")
    tables.add_argument(
        "--team", default="trojai-seam", metavar="NAME", help="team name in those (default: %(default)s)"
    )


def _tables(given: argparse.Namespace) -> int:
    from .batch.paths import RunPaths, StudyPaths

    study = StudyPaths(given.run)
    if study.plan.is_file():
        return _tables_of_study(given, study)
    from .batch.run_tables import write_tables
    from .reporting import summary_text, write_nist_tables
    from .tables import render, render_summary, summary_frame

    if given.nist is not None:
        write_nist_tables(given.run, given.nist, given.team)
    if given.by or given.format != "text":
        print(summary_text(given.run, given.by, given.format))
        return OK
    results = write_tables(RunPaths(given.run))
    print(render(results), render_summary(summary_frame(results)), sep="\n\n")
    return OK


def _tables_of_study(given: argparse.Namespace, study: StudyPaths) -> int:
    from .study_reporting import study_text, write_study_table

    if given.nist is not None or given.by:
        raise UsageProblem("tables: --nist and --by are for one run; study.csv has trigger, network and dataset")
    table = write_study_table([given.run], given.run)
    files = {"csv": study.table, "markdown": study.markdown, "latex": study.latex}
    told = study_text(table) if given.format == "text" else files[given.format].read_text("utf-8").rstrip("\n")
    print(told)
    return OK


def _compare(given: argparse.Namespace) -> int:
    from .reporting import compare_runs, comparison_text, write_comparison, write_study

    comparison = compare_runs(given.runs)
    print(comparison_text(comparison, given.format, given.details))
    if given.out is not None:
        write_comparison(comparison, given.out)
    if given.html is not None:
        _written(write_study(given.runs, given.html))
    return OK


def _report(given: argparse.Namespace) -> int:
    from .batch.paths import StudyPaths
    from .reporting import write_report, write_study

    study = StudyPaths(given.runs[0])
    if len(given.runs) == 1 and study.plan.is_file() and given.out is None and not given.by and given.plots is None:
        from .study_reporting import write_study_table

        write_study_table(given.runs, study.folder)
        path = study.page
    elif len(given.runs) > 1:
        if given.plots is not None or given.by:
            raise UsageProblem("report: --plots and --by are for one run; several are set side by side")
        path = write_study(given.runs, given.out or Path("report.html"))
    else:
        path = write_report(given.runs[0], given.out, given.by, given.plots)
    _written(path)
    if given.plots is not None:
        _written(given.plots)
    return OK


def _written(path: Path) -> None:
    print(f"written to {shown(str(path), 2000)}")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
