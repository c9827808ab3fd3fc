"""What a run is: the settings that decide its numbers, and the refusal to mix two of them in one directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RunDirectoryProblem, shown
from ..rounds import RoundConfig
from ..unlearning import UnlearnConfig
from .files import PARTIAL, make_folder, write_once
from .paths import RunPaths

FORMAT = 2
LIMITS = ("fit_per_class", "fit_total")
MEASURED = ("retune", "trigger_variants", "trace_attack")
"""Limits and further figures: settings that a plan only has where they are set."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a row apart from the model itself.

    How the work is spread (executor, shard, limit) is left out on purpose: it must not change any number.

    Attributes:
        dataset: the dataset folder, absolute.
        round_config: the round, with ``--round-set`` applied.
        unlearning: the resolved preset with ``--set`` applied.
        presets: likewise all presets that the round has for its kinds of models, by name, where none was asked for; a
            model takes the one that the round names for it. Empty: all take ``unlearning``.
        protocol: how clean examples are split.
        seed: of the run.
        device: ``cpu`` or ``cuda``; they round differently.
        threads: CPU threads per model; another number may sum in another order.
        networks: SHA-256 of the user's ``--networks`` file, empty without one.
        stacked: small networks are unlearned side by side: 0 for never; on a CPU 1, for their number changes nothing;
            else how many, which decides what kernels a GPU chooses, and so the last digits.
        fit_per_class: most clean examples of each class that unlearning may use; unset: all that the protocol gives.
        fit_total: likewise of all classes together.
        retune: whether the network is re-tuned with poisoned examples once all else is measured.
        trigger_variants: whether attack success is measured with triggers that are not quite those of the round.
        trace_attack: whether attack success along the way is measured of stored states, once a run has ended.
    """

    dataset: str
    round_config: RoundConfig
    unlearning: UnlearnConfig
    protocol: str = "held-out"
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    networks: str = ""
    stacked: int = 0
    fit_per_class: int | None = None
    fit_total: int | None = None
    retune: bool = False
    trigger_variants: bool = False
    trace_attack: bool = False
    presets: Mapping[str, UnlearnConfig] = field(default_factory=dict)
    changed_options: Mapping[str, str] = field(default_factory=dict)

    def unlearning_for(self, examples: int, case: str | None) -> UnlearnConfig:
        """What is done to a model of this ``case`` of the round that is fitted on so many examples."""
        return self.presets.get(self.round_config.preset_for(examples, case), self.unlearning)

    def document(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "round": dict(self.round_config.document),
            "unlearning": self.unlearning.as_dict(),
            "presets": {name: config.as_dict() for name, config in self.presets.items()},
            "protocol": self.protocol,
            "seed": self.seed,
            "device": self.device,
            "threads": self.threads,
            "networks": self.networks,
            "stacked": self.stacked,
            **{name: value for name in LIMITS if (value := getattr(self, name)) is not None},
            **{name: True for name in MEASURED if getattr(self, name)},
            "versions": {"trojai_seam": __version__, "torch": version("torch")},
        }

    @property
    def fingerprint(self) -> str:
        """Hash of all settings; together with round, model id and seed it identifies a record."""
        text = json.dumps(self.document(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim_run_directory(plan: Plan, paths: RunPaths) -> None:
    """Make the run directory, or check that it belongs to the same plan.

    Raises:
        RunDirectoryProblem: it holds another plan (the differences are named), something else, or cannot be written.
    """
    make_folder(paths.run_dir)
    if not paths.plan.exists():
        # Parts of an array job arrive here together, so the others' files may appear at any moment.
        ours = (paths.plan.name, paths.records.name, paths.claims.name, paths.log.name)
        if any(entry.name not in ours and not entry.name.endswith(PARTIAL) for entry in paths.run_dir.iterdir()):
            raise RunDirectoryProblem(
                f"{paths.run_dir}: is not empty and holds no plan.json; use a new or empty folder"
            )
        # Commands with other settings may arrive at the same instant, too: one plan stands, and all compare with it.
        write_once(paths.plan, (json.dumps(plan.document(), indent=2, allow_nan=False) + "\n").encode())
    found = list(differences(_read_plan(paths.plan), plan.document()))
    if found:
        raise RunDirectoryProblem(
            f"{paths.run_dir}: was made with other settings: {'; '.join(found[:12])}; "
            "use another --out, or the settings of plan.json"
        )
    make_folder(paths.records)


def read_plan(paths: RunPaths) -> Any:
    """``plan.json`` of a run directory.

    Raises:
        RunDirectoryProblem: there is none, or it is no plan.
    """
    plan = _read_plan(paths.plan)
    if not isinstance(plan, dict) or not {"round", "unlearning", "dataset", "protocol", "seed"} <= plan.keys():
        raise RunDirectoryProblem(f"{paths.plan}: is not a readable plan: not all of its keys are there")
    return plan


def _read_plan(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise RunDirectoryProblem(f"{path}: is not a readable plan: {problem}") from None


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """What two JSON documents do not have in common, as texts."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
    elif old != new:
        yield f"{name} was {shown(json.dumps(old), 300)}, now {shown(json.dumps(new), 300)}"
