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
from .plan import Plan

Stamp = tuple[int, int]
"""Which file lies under a path: its inode and modification time in nanoseconds."""


@dataclass(frozen=True)
class Assignment:
    """What all units of one command have in common.

    Attributes:
        plan: the settings that decide the numbers.
        paths: where the records go.
        budget: bounds for reading model files.
        networks: the user's own constructors, absolute; ``plan.networks`` is its hash.
        cache: folder for what many models share, absolute; None to compute everything.
        staging: where records are put on a machine that cannot reach ``paths``.
    """

    plan: Plan
    paths: RunPaths
    budget: Budget
    networks: Path | None = None
    cache: Path | None = None
    staging: RunPaths | None = None

    def to_json(self) -> str:
        """One line."""
        plan = {**self.plan.document(), "changed_options": dict(self.plan.changed_options)}
        document = {"plan": plan, "run_dir": str(self.paths.run_dir), "budget": asdict(self.budget)}
        places = {name: None if path is None else str(path) for name, path in self._places().items()}
        return json.dumps({**document, **places})

    def _places(self) -> dict[str, Path | None]:
        staging = None if self.staging is None else self.staging.run_dir
        return {"networks": self.networks, "cache": self.cache, "staging": staging}

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
                **{name: plan[name] for name in ("protocol", "seed", "device", "threads", "networks", "stacked")},
                changed_options=plan["changed_options"],
            ),
            paths=RunPaths(Path(document["run_dir"])),
            budget=Budget(**document["budget"]),
            **{name: None if document[name] is None else Path(document[name]) for name in ("networks", "cache")},
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
        one = self.directory
        metadata = dict(one.metadata)
        return json.dumps(
            {"path": str(one.path), "model_id": one.model_id, "root": str(one.root), "metadata": metadata}
        )

    @staticmethod
    def from_json(text: str, assignment: Assignment) -> WorkUnit:
        """The same unit again."""
        document = json.loads(text)
        directory = ModelDirectory(
            path=Path(document["path"]),
            model_id=document["model_id"],
            root=Path(document["root"]),
            metadata=document["metadata"],
        )
        return WorkUnit(directory, assignment)


def stamp(path: Path) -> Stamp | None:
    """Which file lies under ``path`` now; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
