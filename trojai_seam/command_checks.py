"""Mistakes on the command line that can be seen before anything of weight is imported."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .batch.executors import EXECUTORS
from .choices import DEVICES, PROTOCOLS, RETRIES, preset_names
from .errors import UsageProblem, listed, shown
from .registry import near_names

_CHOICES = {"executor": ("auto", *EXECUTORS), "protocol": PROTOCOLS, "retry": RETRIES}
_AT_LEAST_ONE = ("limit", "sample", "workers", "workers_per_gpu", "threads", "fit_per_class", "fit_total", "seeds")


def check_command(given: argparse.Namespace) -> None:
    """Look at what was given without importing torch or tables.

    Raises:
        UsageProblem: a name that nobody knows (near ones are listed), a number out of bounds, or a missing path.
        DatasetProblem: the folder of a data set to measure on is missing.
    """
    for name, known in _CHOICES.items():
        value = getattr(given, name, None)
        if value is not None and value not in known:
            raise UsageProblem(f"--{name}: {near_names(name, value, known)}")
    for name in _AT_LEAST_ONE:
        value = getattr(given, name, None)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number < 1:
                raise UsageProblem(f"--{name.replace('_', '-')} {number}: expected at least 1")
    shard = getattr(given, "shard", None)
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise UsageProblem(f"--shard {shard[0]}/{shard[1]}: expected i/n with 1 <= i <= n")
    device = getattr(given, "device", None)
    if device is not None and not DEVICES.fullmatch(device):
        raise UsageProblem(f"--device {shown(device)!r}: expected auto, cpu, cuda, cuda:N or cuda:N,M")
    _check_names(given)
    _check_paths(given)


def _check_names(given: argparse.Namespace) -> None:
    presets = [name for name in _presets(given) if not name.endswith(".json")]
    if presets:
        known = set(preset_names())
        for preset in presets:
            if preset not in known:
                raise UsageProblem(near_names("preset", preset, known))
    name = getattr(given, "round", None)
    if name is None or given.command_name == "synthesize":
        return
    from .rounds.config import shipped_names

    for one in name.split(",") if given.command_name == "study" else [name]:
        if not one.endswith(".json") and not Path(one).exists():
            known = set(shipped_names())
            if one not in known:
                raise UsageProblem(near_names("round", one, known))


def _presets(given: argparse.Namespace) -> list[str]:
    preset = getattr(given, "preset", None)
    if preset is None:
        return list(getattr(given, "presets", []))
    return [name for name in preset.split(",") if name] if given.command_name == "evaluate" else [preset]


def _check_study(given: argparse.Namespace) -> None:
    if given.show_config:
        return
    if given.out is None:
        raise UsageProblem("study needs --out STUDY, the folder of the study")
    if given.made:
        if given.datasets or given.presets:
            raise UsageProblem("study: --from tabulates runs that exist; it takes neither DATASET nor --presets")
        for run in given.made:
            if not os.path.isdir(run):
                raise UsageProblem(f"{shown(str(run), 2000)}: is not a run directory (there is no such folder)")
        return
    if not given.datasets:
        raise UsageProblem("study needs DATASET, dataset folders or single model directories (or --from RUN)")
    if not given.presets:
        raise UsageProblem("study needs --presets NAME,NAME: what to compare")
    _check_once(given.presets)
    # A file may have another name inside, and a study that exists other presets besides: that is looked at later.
    surely_all = not any(name.endswith(".json") for name in given.presets) and not (given.out / "study.json").exists()
    if given.baseline is not None and given.baseline not in given.presets and surely_all:
        raise UsageProblem(f"--baseline: {near_names('preset of the study', given.baseline, given.presets)}")
    for dataset in given.datasets:
        _check_dataset(dataset)


def _check_once(presets: Sequence[str]) -> None:
    for number, preset in enumerate(presets):
        if preset in presets[:number]:
            raise UsageProblem(f"preset {shown(preset)} was given twice")


def _check_dataset(dataset: Path) -> None:
    if not os.path.exists(dataset):
        raise UsageProblem(f"{shown(str(dataset), 2000)}: no such folder (expected a dataset or a model directory)")


def _check_paths(given: argparse.Namespace) -> None:
    if given.command_name == "evaluate":
        if given.dataset is None:
            raise UsageProblem("evaluate needs DATASET, a dataset folder or one model directory")
        if given.out is None and not given.check and not given.show_config:
            raise UsageProblem("evaluate needs --out RUN, the run directory (or --check)")
        _check_dataset(given.dataset)
        _check_once(_presets(given))
    if given.command_name == "study":
        _check_study(given)
    if given.command_name == "reproduce":
        from .reproduction.sources import check_folder

        check_folder(given.dataset, given.data)
    for run in [*getattr(given, "runs", []), *([given.run] if hasattr(given, "run") else [])]:
        if not os.path.isdir(run):
            raise UsageProblem(f"{shown(str(run), 2000)}: is not a run directory (there is no such folder)")


class Parser(argparse.ArgumentParser):
    """A parser that says which option or command may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with code 2."""
        early = str(getattr(self, "early_option", ""))
        if early in self._chosen()._option_string_actions:
            message = f"{early} stands before the command; options come after it: {self.command_given} … {early}"
            print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
            sys.exit(2)
        print(f"{self.prog}: error: {message}{self._meant(message)} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)

    def _meant(self, message: str) -> str:
        known: Sequence[str]
        if found := re.search(r"unrecognized arguments: (--?[\w-]+)", message):
            known = sorted({option for parser in (self, self._chosen()) for option in parser._option_string_actions})
        elif found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            known = re.findall(r"[\w-]+", found[2])
        else:
            return ""
        near = difflib.get_close_matches(found[1], known, n=3, cutoff=0.6)
        return f"; did you mean {listed(near)}?" if near else ""

    def _chosen(self) -> argparse.ArgumentParser:
        """The parser of the command that was given, or this one."""
        return self._commands().get(str(getattr(self, "command_given", "")), self)

    def _commands(self) -> Mapping[str, argparse.ArgumentParser]:
        """The parsers of all commands, if there are any."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices
        return {}

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse does; remembers the command for its messages."""
        words = list(sys.argv[1:] if args is None else args)
        place = next((at for at, word in enumerate(words) if word in self._commands()), len(words))
        self.command_given = words[place] if place < len(words) else None
        own = self._option_string_actions
        first = words[0].split("=")[0] if 0 < place < len(words) else "-h"
        self.early_option = first if first.startswith("-") and first not in own else ""
        return super().parse_args(words, namespace)
