"""One model to evaluate, and the text in which it crosses to another process or machine.

The text is JSON and names everything by path: a worker process needs nothing that is not on disk, and nothing is
pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..loading import Budget
from ..rounds import ModelDirectory, RoundConfig
from ..unlearning import UnlearnConfig
from .paths import RunPaths
from .plan import LIMITS, MEASURED, Plan

_PLAIN = ("protocol", "seed", "device", "threads", "networks", "stacked", *LIMITS, *MEASURED)
"""Settings of a plan that are numbers, texts or flags."""

Stamp = tuple[int, int]
"""Which file lies under a path: its inode and modification time in nanoseconds."""


@dataclass(frozen=True)
class Assignment:
    """What all units of one command have in common.

    Attributes:
        plan: the settings that decide the numbers.
        paths: where the records go.
        budget: bounds for reading model files.
        networks: the user's file of constructors, absolute, with ``:function`` where one is meant; ``plan.networks`` is
            the hash of the code.
        cache: folder for what many models share, absolute; None to compute everything.
        staging: where records are put on a machine that cannot reach ``paths``.
    """

    plan: Plan
    paths: RunPaths
    budget: Budget
    networks: str | None = None
    cache: Path | None = None
    staging: RunPaths | None = None

    def to_json(self) -> str:
        """One line."""
        plan = {**self.plan.document(), "changed_options": dict(self.plan.changed_options)}
        document = {"plan": plan, "run_dir": str(self.paths.run_dir), "budget": asdict(self.budget)}
        places = {"cache": self.cache, "staging": None if self.staging is None else self.staging.run_dir}
        told = {name: None if path is None else str(path) for name, path in places.items()}
        return json.dumps({**document, "networks": self.networks, **told})

    @staticmethod
    def from_json(text: str) -> Assignment:
        """The same assignment again."""
        document = json.loads(text)
        plan = document["plan"]
        return Assignment(
            plan=Plan(
                dataset=plan["dataset"],
                round_config=RoundConfig.from_document(plan["round"], plan["round"]["name"]),
                unlearning=UnlearnConfig.from_document(plan["unlearning"]),
                presets={name: UnlearnConfig.from_document(one) for name, one in plan["presets"].items()},
                **{name: plan[name] for name in _PLAIN if name in plan},
                changed_options=plan["changed_options"],
            ),
            paths=RunPaths(Path(document["run_dir"])),
            budget=Budget(**document["budget"]),
            networks=document["networks"],
            cache=None if document["cache"] is None else Path(document["cache"]),
            staging=None if document["staging"] is None else RunPaths(Path(document["staging"])),
        )


@dataclass(frozen=True)
class WorkUnit:
    """One model of an assignment.

    Attributes:
        directory: the model.
        assignment: how it is to be evaluated.
        seen: the record that the model had when the command began, to be replaced; None if it had none.
    """

    directory: ModelDirectory
    assignment: Assignment
    seen: Stamp | None = None

    @property
    def plan(self) -> Plan:
        """The settings."""
        return self.assignment.plan

    @property
    def record(self) -> Path:
        """Where its record is, or will be written."""
        return (self.assignment.staging or self.assignment.paths).record(self.directory.model_id)

    @property
    def final_record(self) -> Path:
        """Where its record will be in the end."""
        return self.assignment.paths.record(self.directory.model_id)

    def to_json(self) -> str:
        """One line, without the assignment."""
        return json.dumps(self.directory.document())

    @staticmethod
    def from_json(text: str, assignment: Assignment) -> WorkUnit:
        """The same unit again."""
        directory = ModelDirectory.from_document(json.loads(text))
        return WorkUnit(directory, assignment)


def stamp(path: Path) -> Stamp | None:
    """Which file lies under ``path`` now; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
