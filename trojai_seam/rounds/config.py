"""Round configs: JSON data checked against one schema, loaded into a frozen dataclass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigProblem, shown
from .regular_files import decoded

if TYPE_CHECKING:
    from ..tasks import Subject


@dataclass(frozen=True)
class RoundConfig:
    """One TrojAI round as data. ``document`` is the whole JSON; the other fields are its top-level keys.

    A round whose models do several things has ``variants`` instead of an adapter and a task; :meth:`cases` are whole
    configs again, and ``case`` says which of them this is.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    source: str
    preset: str
    detect: Mapping[str, Any]
    layout: Mapping[str, Any]
    adapter: str = ""
    task: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict)
    attack: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    preset_one_example: str | None = None
    poisoned_examples: str = "auto"
    checkpoint_entry: str | None = None
    promised_accuracy: float | None = None
    errata: tuple[Mapping[str, Any], ...] = ()
    quirks: tuple[str, ...] = ()
    variants: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    network: str | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    case: str = ""

    @staticmethod
    def from_document(document: Any, source: str) -> RoundConfig:
        """Check ``document`` against the schema.

        Raises:
            ConfigProblem: with every finding.
        """
        findings = _findings(document)
        if not findings:
            for value, case in _cases(document).items():
                findings += [f"variants.cases.{value}: {finding}" for finding in _findings(case)]
            for name in document.get("models", {}):
                findings += [f"models.{name}: {finding}" for finding in _findings(_of_model(document, name))]
        if findings:
            raise ConfigProblem(source, findings)
        values: dict[str, Any] = {
            f.name: tuple(document[f.name]) if f.name in ("aliases", "errata", "quirks") else document[f.name]
            for f in fields(RoundConfig)
            if f.name in document
        }
        return RoundConfig(**values, document=document)

    @property
    def presets(self) -> tuple[str, ...]:
        """All that :meth:`preset_for` may answer, the round's own first."""
        cases = [self, *self.cases.values()]
        names = [name for case in cases for name in (case.preset, case.preset_one_example) if name]
        return tuple(dict.fromkeys(names))

    @property
    def reading(self) -> str:
        """How files are read: which way up pictures are, and what is skipped in texts."""
        pictures = any(case.adapter in ("image-classification", "object-detection") for case in self.cases.values())
        way = "turned as their orientation tag says" if self.preprocessing.get("orientation") == "exif" else "as stored"
        texts = "a byte-order mark (UTF-8, UTF-16, UTF-32) in a text file is skipped"
        return f"pictures are read {way}; {texts}" if pictures else texts

    @cached_property
    def cases(self) -> Mapping[str, RoundConfig]:
        """Whole configs by the value that selects them; the config itself under ``""`` if it has no variants."""
        if not self.variants:
            return {"": self}
        cases = _cases(self.document)
        return {
            value: replace(RoundConfig.from_document(case, f"{self.name} ({value})"), case=value)
            for value, case in cases.items()
        }

    def preset_for(self, examples: int, case: str | None = None) -> str:
        """The preset to unlearn a model of this ``case`` with on so many clean examples, if none is asked for."""
        one = self.cases.get(case or "", self)
        return one.preset_one_example if one.preset_one_example and examples == 1 else one.preset

    def of_model(self, model_id: str) -> RoundConfig:
        """The round as it is for one of its ``models``: what is said of that one replaces the rest, in groups key by
        key. Rounds that list no models are the same for all."""
        if model_id not in self.models:
            return self
        one = RoundConfig.from_document(_of_model(self.document, model_id), f"{self.name} ({model_id})")
        return replace(one, case=self.case)

    def preset_of(self, subject: Subject) -> str:
        """The preset to unlearn ``subject`` with on all its clean examples, if none is asked for."""
        return self.preset_for(len(subject.clean), subject.case)

    def with_options(self, options: Mapping[str, str]) -> RoundConfig:
        """This config with ``{"preprocessing.scale_file": "/data/scale.npy"}`` applied and checked again.

        Values are JSON where they parse as JSON, else plain strings. They also replace what variants have to say.

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
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = text
            node[last] = value
            if path and "variants" in self.document:
                for case in self.document["variants"]["cases"]:
                    _replace(document, ["variants", "cases", case, *path], last, value)
        return RoundConfig.from_document(document, "--round-set")


OWN_ADAPTERS = ("labelled-images", "backdoorbench")


def is_own(round_config: RoundConfig) -> bool:
    """Whether the models are not NIST's, so that nothing is usual of their accuracy but that it is above chance."""
    return round_config.adapter in OWN_ADAPTERS


def config_folder() -> Path:
    """Where the shipped round configs are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(resources.files("trojai_seam"))) / "round_configs"
    return inside if inside.is_dir() else inside.parent.parent / "round_configs"


def shipped_names() -> list[str]:
    """Names and aliases of all rounds that are shipped, without a look at what else they say."""
    documents = [json.loads(p.read_text("utf-8")) for p in config_folder().glob("*.json") if p.name != "schema.json"]
    return [name for document in documents for name in (document["name"], *document.get("aliases", []))]


def load_config(path: Path) -> RoundConfig:
    """Read one round config.

    Raises:
        ConfigProblem: it is not readable JSON, or does not fit the schema.
    """
    try:
        document = json.loads(decoded(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigProblem(path, [f"is not a readable JSON file: {problem}"]) from None
    return RoundConfig.from_document(document, str(path))


def _findings(document: Any) -> list[str]:
    import jsonschema

    errors = jsonschema.Draft7Validator(config_schema()).iter_errors(document)
    return [
        f"{'.'.join(str(p) for p in error.absolute_path) or 'top level'}: {shown(error.message)}"
        for error in sorted(errors, key=lambda e: [str(p) for p in e.absolute_path])
    ]


def _cases(document: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The document once per variant: the variant's keys replace those of the round, in groups key by key."""
    shared = {key: value for key, value in document.items() if key != "variants"}
    cases = {}
    for value, variant in document.get("variants", {}).get("cases", {}).items():
        case = dict(shared)
        for key, item in variant.items():
            if key != "class_paths":
                case[key] = {**case.get(key, {}), **item} if isinstance(item, dict) else item
        cases[value] = case
    return cases


_OF_MODELS = ("layout", "examples", "preprocessing", "attack")


def _of_model(document: Mapping[str, Any], model_id: str) -> Mapping[str, Any]:
    own = document["models"][model_id]
    merged = {key: value for key, value in document.items() if key != "models"}
    for key in _OF_MODELS:
        if key in own:
            merged[key] = {**merged.get(key, {}), **own[key]}
    if "checkpoint_entry" in own:
        merged["checkpoint_entry"] = own["checkpoint_entry"]
    return merged


def _replace(node: Any, path: list[str], last: str, value: Any) -> None:
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and last in node:
        node[last] = value


@cache
def config_schema() -> Any:
    """What a round's JSON may say: JSON Schema, draft 7."""
    return json.loads((config_folder() / "schema.json").read_text("utf-8"))
