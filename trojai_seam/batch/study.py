"""A study: presets, seeds and numbers of clean examples on datasets, as a folder of run directories and one plan."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunDirectoryProblem, TooManyFailures, UsageProblem, listed, shown
from ..registry import near_names
from ..rounds import ModelDirectory, RoundConfig
from ..unlearning import UnlearnConfig, resolve_each
from .claims import Claims, wait_for
from .executors.kept import keep_workers
from .files import make_folder, write_atomic
from .options import Options
from .paths import StudyPaths
from .plan import MEASURED, differences
from .progress import NoProgress, Progress
from .runner import evaluate_models, found_models
from .selection import part_of, select

FORMAT = 1
_CLAIM = "=study"
_COMMON = ("protocol", "fit_total", "threads", *MEASURED)
"""Settings of all runs that are compared before any of them begins, where they are set; each run compares all of its
own."""


@dataclass(frozen=True)
class Grid:
    """What a study is made of: every combination.

    Attributes:
        datasets: folders of models, absolute.
        presets: names, or files.
        seeds: of the runs.
        fit_per_class: clean examples per class that unlearning may use; None: all that the protocol gives.
        rounds: of the datasets: none, one for all, or one for each.
    """

    datasets: tuple[Path, ...]
    presets: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    fit_per_class: tuple[int | None, ...] = (None,)
    rounds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("datasets", "presets", "seeds", "fit_per_class"):
            counts = Counter(getattr(self, name))
            twice = [str(value) for value, count in counts.items() if count > 1]
            if twice:
                raise UsageProblem(f"study: {name.replace('_', ' ')}: {listed(twice)} was given twice")
        if len(self.rounds) not in (0, 1, len(self.datasets)):
            raise UsageProblem(f"--round: {len(self.rounds)} for {len(self.datasets)} datasets; one, or one for each")

    def round_of(self, dataset: Path) -> str | None:
        """Name or file of the round, where one was given."""
        if not self.rounds:
            return None
        return self.rounds[0] if len(self.rounds) == 1 else self.rounds[self.datasets.index(dataset)]

    def runs(self) -> Iterator[StudyRun]:
        """All of them; a seed is done with before the next begins, so that what is there can be compared early."""
        for seed in self.seeds:
            for examples in self.fit_per_class:
                for dataset in self.datasets:
                    for preset in self.presets:
                        yield StudyRun(dataset, preset, seed, examples)


class StudyRun(NamedTuple):
    """One run of a study."""

    dataset: Path
    preset: str
    seed: int
    fit_per_class: int | None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self._asdict(), "dataset": str(self.dataset)}

    @property
    def told(self) -> str:
        """The name of its run directory, where no other run has it."""
        examples = "all" if self.fit_per_class is None else str(self.fit_per_class)
        preset = self.preset.removesuffix(".json") if self.preset.endswith(".json") else self.preset
        words = (self.dataset.name, Path(preset).name, examples, f"seed{self.seed}")
        return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") or "x" for word in words)[:120]


def read_study(paths: StudyPaths) -> dict[str, Any]:
    """``study.json`` of a study.

    Raises:
        RunDirectoryProblem: there is none, or it is none.
    """
    try:
        document = json.loads(paths.plan.read_text("utf-8"))
        if not isinstance(document["runs"], dict) or not isinstance(document["settings"], dict):
            raise TypeError("not all of its keys are there")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RunDirectoryProblem(f"{paths.plan}: is not a readable plan of a study: {problem}") from None
    return dict(document)


Found = tuple[list[ModelDirectory], list[ModelDirectory], RoundConfig]


@dataclass(frozen=True, eq=False)
class Study:
    """What :func:`plan_study` made sure of: nothing is wrong with the study as a whole, and its plan is written.

    Attributes:
        grid: what to combine.
        options: of every run, but for what the grid says.
        paths: of its files.
        configs: of the presets, as they are called on the command line.
        found: per dataset the selected models, those of them that this command is about, and the round.
        names: of the run directories.
    """

    grid: Grid
    options: Options
    paths: StudyPaths
    configs: Mapping[str, UnlearnConfig]
    found: Mapping[Path, Found]
    names: Mapping[StudyRun, str]

    def run(self, progress: Progress | None = None) -> None:
        """Make, or go on with, every run; what has a record is not repeated.

        Args:
            progress: is told of all runs as of one.

        Raises:
            TooManyFailures: at the end, when all other runs are through.
            TrojaiSeamError: a mistake about one of the runs; what is finished is kept.
            KeyboardInterrupt: after what ran was finished; the same command goes on.
        """
        everything = list(self.grid.runs())
        whole = _AsOne(progress or NoProgress(), sum(len(self.found[run.dataset][1]) for run in everything))
        stopped: dict[str, TooManyFailures] = {}
        try:
            with keep_workers():
                for run in everything:
                    whole.name = self.names[run]
                    try:
                        self._run(run, whole)
                    except TooManyFailures as problem:  # of this preset on these models; the others may do well
                        whole.note(str(problem))
                        stopped[whole.name] = problem
        finally:
            whole.end()
        if len(stopped) == 1:
            name, only = stopped.popitem()
            raise TooManyFailures(f"{name}: {only}")
        if stopped:
            raise TooManyFailures(
                f"{len(stopped)} of {len(everything)} runs stopped after too many failed models: {listed(stopped)}; "
                "see failures.csv of each; what is finished is kept, and the same command goes on"
            )

    def _run(self, run: StudyRun, progress: Progress) -> None:
        directories, part, round_config = self.found[run.dataset]
        options, config = self.options, self.configs[run.preset]
        own = replace(
            options,
            round=self.grid.round_of(run.dataset),
            preset=run.preset,
            options={name: text for name, text in options.options.items() if config.has(name)},
            seed=run.seed,
            fit_per_class=run.fit_per_class,
            ids=(),
            where=None,
            sample=None,
            limit=None,
        )
        if part:
            run_dir = self.paths.run(self.names[run]).run_dir
            evaluate_models(run.dataset, directories, round_config, run_dir, own, progress)


def plan_study(grid: Grid, folder: Path, options: Options, command: str = "", baseline: str | None = None) -> Study:
    """Look for all that may be wrong with a study, and write its plan into ``folder``.

    A study may grow: a later command adds datasets, presets, seeds or numbers of examples. Settings that all runs have
    in common stay as they are.

    Args:
        grid: what to combine.
        folder: new, empty, or of a study with the same settings.
        options: of every run, but for what the grid says.
        command: that asked for it, to be kept in the plan.
        baseline: the preset that others are compared to, of ``grid`` or of the study as it is: its name, or its file.
            It is kept; unset: what an earlier command said stays.

    Raises:
        TrojaiSeamError: a mistake about the study as a whole; nothing was computed, and a study that was there before
            is as it was.
    """
    configs = resolve_each(grid.presets, options.options)  # an option that only some of them have is for these
    called = {given: config.preset for given, config in configs.items()}
    _check_names(called)
    found = {dataset: _found(grid, dataset, options) for dataset in grid.datasets}
    paths = StudyPaths(Path(os.path.abspath(folder)))
    return Study(grid, options, paths, configs, found, _claim(grid, paths, options, command, called, baseline))


def run_study(grid: Grid, folder: Path, options: Options, progress: Progress | None = None) -> dict[str, StudyRun]:
    """:func:`plan_study` and :meth:`Study.run`.

    Returns:
        The runs of ``grid`` by the names of their directories.

    Raises:
        TrojaiSeamError: as these do.
        KeyboardInterrupt: likewise.
    """
    study = plan_study(grid, folder, options)
    study.run(progress)
    return {study.names[run]: run for run in grid.runs()}


def presets_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The presets of ``study.json``: names that tables have for what was asked for, a name or a file."""
    asked = {str(run["preset"]) for run in document["runs"].values()}
    return {**{given: given for given in sorted(asked) if not given.endswith(".json")}, **document.get("presets", {})}


def _check_names(called: Mapping[str, str]) -> None:
    """Raises UsageProblem when two presets have one name: their rows could not be told apart."""
    for name in called.values():
        same = [given for given, other in called.items() if other == name]
        if len(same) > 1:
            raise UsageProblem(f"presets {listed(same)} have one name, {shown(name)}; give each a name of its own")


def _found(grid: Grid, dataset: Path, options: Options) -> Found:
    """The selected models of a dataset, the same for all seeds; those of them that this command is about; the round."""
    directories, round_config = found_models(dataset, replace(options, round=grid.round_of(dataset)))
    wanted = select(directories, round_config, options)
    return wanted, part_of(wanted, options.shard), round_config


def _claim(
    grid: Grid, paths: StudyPaths, options: Options, command: str, called: Mapping[str, str], baseline: str | None
) -> dict[StudyRun, str]:
    """Write or check the plan; the names of the run directories.

    Raises:
        RunDirectoryProblem: the folder holds something else, or a study with other settings.
        UsageProblem: two presets have one name, or none has that of ``baseline``.
    """
    make_folder(paths.folder)
    if not paths.plan.exists() and any(entry.name != paths.claims.name for entry in paths.folder.iterdir()):
        raise RunDirectoryProblem(f"{paths.folder}: is not empty and holds no {paths.plan.name}; use another folder")
    with closing(Claims(paths.claims)) as claims:
        wait_for(claims, _CLAIM)  # other commands may add to the same study
        known = read_study(paths) if paths.plan.exists() else {"runs": {}}
        settings: dict[str, Any] = {name: value for name in _COMMON if (value := getattr(options, name))}
        settings |= {"options": dict(options.options), "round_options": dict(options.round_options)}
        changed = list(differences(known.get("settings", settings), settings))
        if changed:
            raise RunDirectoryProblem(
                f"{paths.folder}: is a study with other settings: {'; '.join(changed[:12])}; use another --out"
            )
        presets = {**presets_of(known), **called}
        _check_names(presets)
        if baseline is not None and baseline not in presets and baseline not in presets.values():
            raise UsageProblem(f"--baseline: {near_names('preset of the study', baseline, presets)}")
        compared = known.get("baseline") if baseline is None else presets.get(baseline, baseline)
        named = {_run_of(values): name for name, values in known["runs"].items()}
        for run in grid.runs():
            if run not in named:
                named[run] = _free(run.told, set(named.values()))
        document = {
            "format": FORMAT,
            "settings": settings,
            "presets": presets,
            "baseline": compared,
            "commands": list(dict.fromkeys([*known.get("commands", []), *([command] if command else [])])),
            "runs": {name: run.document() for run, name in named.items()},
        }
        write_atomic(paths.plan, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
        claims.release(_CLAIM)
    return named


def _run_of(values: Mapping[str, Any]) -> StudyRun:
    return StudyRun(**{**values, "dataset": Path(values["dataset"])})


def _free(name: str, taken: set[str]) -> str:
    numbers = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbers if one not in taken)


class _AsOne:
    """Progress of many runs as of one: models of all of them, called by run and id."""

    def __init__(self, other: Progress, total: int) -> None:
        self._other, self._total, self._begun = other, total, False
        self.name = ""

    def start(self, total: int, finished: int, failed: int, slots: int = 1) -> None:
        if self._begun:
            self._other.before(finished, failed)
        else:
            self._other.start(self._total, finished, failed, slots)
            self._begun = True

    def before(self, finished: int, failed: int) -> None:
        self._other.before(finished, failed)

    def begin(self, slot: str, model_id: str) -> None:
        self._other.begin(slot, self._called(model_id))

    def update(self, row: Mapping[str, Any]) -> None:
        self._other.update({**row, "model_id": self._called(str(row["model_id"]))})

    def leave(self, model_id: str) -> None:
        self._other.leave(self._called(model_id))

    def doing(self, slot: str, text: str) -> None:
        self._other.doing(slot, text)

    def interrupted(self) -> None:
        self._other.interrupted()

    def note(self, text: str) -> None:
        self._other.note(f"{self.name}: {text}")

    def tick(self) -> None:
        self._other.tick()

    def stop(self) -> None:
        """One run is over, not the study."""

    def end(self) -> None:
        """All is over."""
        if self._begun:
            self._other.stop()

    def _called(self, model_id: str) -> str:
        return f"{self.name}/{model_id}"


def study_runs(places: Sequence[Path]) -> list[Path]:
    """The run directories of studies, and those that are given themselves, in their order."""
    found: list[Path] = []
    for place in places:
        paths = StudyPaths(place)
        if paths.plan.exists():
            found += [paths.run(name).run_dir for name in read_study(paths)["runs"] if paths.run(name).plan.exists()]
        else:
            found.append(place)
    return found
