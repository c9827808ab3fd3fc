"""Presets: named settings as data, one JSON file each, with where they come from and on what they were chosen.

Ours are in the folder ``presets``; ``benchmarks/presets.md`` has the measurements behind them. A package brings its own
by an entry point whose value is the importable package that holds ``NAME.json``::

    [project.entry-points."trojai_seam.presets"]
    fst-like = "my_package"

and a file of one's own is named by its path. Published scripts measure their stop rules on whatever loader they are
given, sometimes the test set; here every stop rule sees the fit examples only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError

from ..choices import brought_presets
from ..choices import our_presets as our_presets
from ..choices import preset_names as preset_names
from ..errors import ConfigProblem, UsageProblem
from ..registry import near_names
from .config import UnlearnConfig
from .settings import Settings, findings_of

DEFAULT_PRESET = "default"
_OURS = Path(__file__).with_name("presets")
Text = Field(min_length=1, max_length=1000)


class Source(Settings):
    """Where a method and its settings were published, as far as they were."""

    paper: str | None = Text
    repository: str | None = Text
    file: str | None = Text
    commit: str | None = Text


class Chosen(Settings):
    """What is known of a preset: all of it must be said."""

    on: str = Text
    """On which models and examples the settings were chosen, and by what figure."""
    tried: int | None = Field(ge=0)
    """How many settings were tried; null: not counted."""
    confirmed: str = Text
    """On which models, that nothing was chosen on, it was confirmed, and whether it was."""
    hardware: str = Text


def _as_chosen(given: Any) -> Any:
    """So that a group is told what is wrong with it, and not also that it is no word."""
    return Chosen.model_validate(dict(given)) if isinstance(given, Mapping) else given


class Preset(Settings):
    """One preset."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    summary: str = Field(min_length=1, max_length=160)
    source: Source
    chosen: Annotated[Chosen | Literal["as published", "nothing to choose"], BeforeValidator(_as_chosen)]
    settings: UnlearnConfig

    @classmethod
    def read(cls, path: Path) -> Self:
        """The preset in a file.

        Raises:
            UsageProblem: there is no such file.
            ConfigProblem: it is no preset; all that is wrong with it is named.
        """
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as problem:
            raise UsageProblem(f"{path}: cannot be read as a preset: {problem}") from None
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise ConfigProblem(path, [f"is no JSON: {problem}"]) from None
        findings: list[str] = []
        if isinstance(document, Mapping) and isinstance(document.get("settings"), Mapping):
            name = document.get("name")
            named = {"preset": name, **document["settings"]} if isinstance(name, str) else document["settings"]
            try:
                document = {**document, "settings": UnlearnConfig.from_document(named)}
            except ConfigProblem as problem:
                findings = [f"settings.{finding}" for finding in problem.findings]
                document = {**document, "settings": UnlearnConfig()}  # what else is wrong is said, too
        try:
            preset = cls.model_validate(document)
        except ValidationError as problem:
            findings = [*findings_of(problem), *findings]
        if findings:
            raise ConfigProblem(path, findings)
        return preset


def get_preset(name: str) -> Preset:
    """The preset called ``name``, or in the file ``name`` if that ends in ``.json``.

    Raises:
        UsageProblem: no such preset; near names are listed.
        ConfigProblem: it is wrong; all findings in one message.
    """
    if name.endswith(".json"):
        preset = Preset.read(Path(name))
        if preset.name in preset_names():
            raise ConfigProblem(name, [f"name: there is a preset {preset.name} already; give yours another name"])
        return preset
    if name in our_presets():
        preset = Preset.read(_OURS / f"{name}.json")
    elif name in (brought := brought_presets()):
        preset = Preset.read(_file_of(name, brought[name]))
    else:
        raise UsageProblem(near_names("preset", name, preset_names()))
    if preset.name != name:
        raise ConfigProblem(f"preset {name}", [f"its file says name {preset.name!r}"])
    return preset


def _file_of(name: str, package: str) -> Path:
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        if (path := Path(folder) / f"{name}.json").is_file():
            return path
    raise UsageProblem(f"preset {name}: the package {package}, which is said to bring it, has no {name}.json")


def resolve(preset: str = DEFAULT_PRESET, options: Mapping[str, str] | None = None) -> UnlearnConfig:
    """The config of ``preset`` with ``--set`` options applied.

    Raises:
        UsageProblem: no such preset; near names are listed.
        ConfigProblem: an option is unknown or out of range.
    """
    config = get_preset(preset).settings
    return config.with_options(options) if options else config


def resolve_each(presets: Iterable[str], options: Mapping[str, str]) -> dict[str, UnlearnConfig]:
    """:func:`resolve` for the several presets that a round has for its models: an option that only some of them have is
    for these; one that none has is refused.

    Raises:
        UsageProblem: as :func:`resolve`.
        ConfigProblem: likewise.
    """
    configs = {name: get_preset(name).settings for name in presets}
    known = {option for option in options if any(config.has(option) for config in configs.values())}
    return {
        name: config.with_options({o: text for o, text in options.items() if o not in known or config.has(o)})
        for name, config in configs.items()
    }
