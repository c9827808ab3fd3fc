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

from ..errors import RunDirectoryProblem, UsageProblem, listed
from ..rounds import ModelDirectory, RoundConfig
from ..unlearning import resolve_each
from .claims import Claims, wait_for
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


def run_study(
    grid: Grid, folder: Path, options: Options, progress: Progress | None = None, command: str = ""
) -> dict[str, StudyRun]:
    """Make, or go on with, every run of ``grid`` in ``folder``; what has a record is not repeated.

    A study may grow: a later command adds datasets, presets, seeds or numbers of examples. Settings that all runs have
    in common stay as they are.

    Args:
        grid: what to combine.
        folder: new, empty, or of a study with the same settings.
        options: of every run, but for what the grid says.
        progress: is told of all runs as of one.
        command: that asked for it, to be kept in the plan.

    Returns:
        The runs of ``grid`` by the names of their directories.

    Raises:
        TrojaiSeamError: a mistake about the study as a whole; nothing was computed then but what is kept.
        KeyboardInterrupt: after what ran was finished; the same command goes on.
    """
    configs = resolve_each(grid.presets, options.options)  # an option that only some of them have is for these
    found = {dataset: _found(grid, dataset, options) for dataset in grid.datasets}
    paths = StudyPaths(Path(os.path.abspath(folder)))
    names = _claim(grid, paths, options, command)
    everything = list(grid.runs())
    whole = _AsOne(progress or NoProgress(), sum(len(found[run.dataset][1]) for run in everything))
    try:
        for run in everything:
            directories, part, round_config = found[run.dataset]
            asked = {name: text for name, text in options.options.items() if configs[run.preset].has(name)}
            own = replace(
                options,
                round=grid.round_of(run.dataset),
                preset=run.preset,
                options=asked,
                seed=run.seed,
                fit_per_class=run.fit_per_class,
                ids=(),
                where=None,
                sample=None,
                limit=None,
            )
            whole.name = names[run]
            if part:
                evaluate_models(run.dataset, directories, round_config, paths.run(names[run]).run_dir, own, whole)
    finally:
        whole.end()
    return {names[run]: run for run in everything}


def _found(
    grid: Grid, dataset: Path, options: Options
) -> tuple[list[ModelDirectory], list[ModelDirectory], RoundConfig]:
    """The selected models of a dataset, the same for all seeds; those of them that this command is about; the round."""
    directories, round_config = found_models(dataset, replace(options, round=grid.round_of(dataset)))
    wanted = select(directories, round_config, options)
    return wanted, part_of(wanted, options.shard), round_config


def _claim(grid: Grid, paths: StudyPaths, options: Options, command: str) -> dict[StudyRun, str]:
    """Write or check the plan; the names of the run directories.

    Raises:
        RunDirectoryProblem: the folder holds something else, or a study with other settings.
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
        named = {_run_of(values): name for name, values in known["runs"].items()}
        for run in grid.runs():
            if run not in named:
                named[run] = _free(run.told, set(named.values()))
        document = {
            "format": FORMAT,
            "settings": settings,
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
