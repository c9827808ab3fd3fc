"""Round configs: JSON data checked against one schema, loaded into a frozen dataclass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import ConfigProblem, shown


@dataclass(frozen=True)
class RoundConfig:
    """One TrojAI round as data. ``document`` is the whole JSON; the other fields are its top-level keys."""

    name: str
    aliases: tuple[str, ...]
    title: str
    source: str
    adapter: str
    task: str
    preset: str
    detect: Mapping[str, Any]
    layout: Mapping[str, Any]
    examples: Mapping[str, Any]
    attack: Mapping[str, Any]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    poisoned_examples: str = "auto"
    errata: tuple[Mapping[str, Any], ...] = ()
    quirks: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_document(document: Any, source: str) -> RoundConfig:
        """Check ``document`` against the schema.

        Raises:
            ConfigProblem: with every finding.
        """
        import jsonschema

        validator = jsonschema.Draft7Validator(_schema())
        findings = [
            f"{'.'.join(str(p) for p in error.absolute_path) or 'top level'}: {shown(error.message)}"
            for error in sorted(validator.iter_errors(document), key=lambda e: [str(p) for p in e.absolute_path])
        ]
        if findings:
            raise ConfigProblem(source, findings)
        values: dict[str, Any] = {
            f.name: tuple(document[f.name]) if f.name in ("aliases", "errata", "quirks") else document[f.name]
            for f in fields(RoundConfig)
            if f.name in document
        }
        return RoundConfig(**values, document=document)

    def with_options(self, options: Mapping[str, str]) -> RoundConfig:
        """This config with ``{"preprocessing.scale_file": "/data/scale.npy"}`` applied and checked again.

        Values are JSON where they parse as JSON, else plain strings.

        Raises:
            ConfigProblem: the result does not fit the schema.
        """
        if not options:
            return self
        document = json.loads(json.dumps(self.document))
        for name, text in options.items():
            *path, last = name.split(".")
            node = document
            for part in path:
                node = node.setdefault(part, {}) if isinstance(node, dict) else None
            if not isinstance(node, dict):
                raise ConfigProblem("--round-set", [f"{shown(name)}: {shown(path[-1])!r} is not a group"])
            try:
                node[last] = json.loads(text)
            except (ValueError, RecursionError):
                node[last] = text
        return RoundConfig.from_document(document, "--round-set")


def config_folder() -> Path:
    """Where the shipped round configs are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(resources.files("trojai_seam"))) / "round_configs"
    return inside if inside.is_dir() else inside.parent.parent / "round_configs"


def load_config(path: Path) -> RoundConfig:
    """Read one round config.

    Raises:
        ConfigProblem: it is not readable JSON, or does not fit the schema.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigProblem(path, [f"is not a readable JSON file: {problem}"]) from None
    return RoundConfig.from_document(document, str(path))


@cache
def _schema() -> Any:
    return json.loads((config_folder() / "schema.json").read_text("utf-8"))
