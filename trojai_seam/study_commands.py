"""The subcommand ``study``, and ``evaluate --preset a,b``, its short form. They import what weighs themselves."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .command_options import (
    add_fit_limits,
    add_measures,
    add_protocol,
    add_rounds,
    add_selection,
    add_spread,
    add_unlearning,
    names,
    options,
)
from .errors import TooManyFailures, TrojaiSeamError, shown

if TYPE_CHECKING:
    from .tables.study_lines import StudyTable

OK, SOME_FAILED = 0, 1
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_study_command(add: Add) -> None:
    """Declare it."""
    study = add("study", _study, "run several presets on the same models, and set them side by side in one table")
    study.add_argument(
        "datasets", type=Path, nargs="*", metavar="DATASET", help="dataset folders, or single model directories"
    )
    study.add_argument("--presets", type=names, default=[], metavar="NAME,NAME", help="unlearning presets to compare")
    study.add_argument("--out", type=Path, metavar="STUDY", help="folder of the study, made, continued or extended")
    study.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds, from --seed on (default: 1)")
    study.add_argument("--baseline", metavar="NAME", help="the preset that others are compared to (default: the first)")
    study.add_argument(
        "--from",
        type=Path,
        nargs="+",
        default=[],
        dest="made",
        metavar="RUN",
        help="run nothing: only tabulate these run directories and studies",
    )
    study.add_argument("--config", type=Path, metavar="FILE", help="options by name in a .yaml, .toml or .json file")
    study.add_argument("--show-config", action="store_true", help="only print the options as YAML for --config")
    add_rounds(study, several=True)
    add_unlearning(study, preset=None)
    add_fit_limits(study, several=True)
    add_protocol(study)
    add_measures(study)
    add_spread(study)
    add_selection(study)
    study.add_argument("--retry", metavar="WHICH", help="evaluate again: failed, timeout (of --time-limit), or all")


def _study(given: argparse.Namespace) -> int:
    if given.made:
        from .study_reporting import write_study_table

        return _told(write_study_table(given.made, given.out, given.baseline), given)
    rounds = names(given.round) if given.round else []
    seeds = range(given.seed, given.seed + given.seeds)
    return run_grid(given, given.datasets, given.presets, seeds, given.fit_per_class or [None], rounds)


def evaluate_each(given: argparse.Namespace) -> int:
    """``evaluate`` with several presets."""
    rounds = [given.round] if given.round else []
    given.baseline = None
    return run_grid(given, [given.dataset], names(given.preset), [given.seed], [given.fit_per_class], rounds)


def run_grid(
    given: argparse.Namespace,
    datasets: list[Path],
    presets: list[str],
    seeds: range | list[int],
    fit_per_class: list[int | None],
    rounds: list[str],
) -> int:
    """Make or go on with the study; its table is written whatever ends it."""
    asked = options(argparse.Namespace(**{**vars(given), "preset": None, "round": None, "fit_per_class": None}))
    from .batch.progress import choose_progress
    from .batch.study import Grid, plan_study
    from .study_reporting import write_study_table

    folders = tuple(Path(os.path.abspath(path)) for path in datasets)
    grid = Grid(folders, tuple(presets), tuple(seeds), tuple(fit_per_class), tuple(rounds))
    command = shlex.join(["trojai-seam", *given.words])
    study = plan_study(grid, given.out, asked, command, given.baseline)
    try:
        study.run(choose_progress(given.quiet, given.verbose))
    except TooManyFailures:
        _told(write_study_table([given.out], given.out), given)
        raise
    except BaseException:
        with suppress(TrojaiSeamError):  # nothing has begun, or what is in the way of tables was in the way of runs
            write_study_table([given.out], given.out)
        raise
    table = write_study_table([given.out], given.out)
    return _told(table, given, failed=bool((table.rows["status"] == "failed").any()))


def _told(table: StudyTable, given: argparse.Namespace, failed: bool = False) -> int:
    from .batch.paths import StudyPaths
    from .study_reporting import study_text

    if not given.quiet:
        print(study_text(table))
        print(f"\nwritten to {shown(str(StudyPaths(given.out).page), 2000)} and beside it")
    return SOME_FAILED if failed else OK
