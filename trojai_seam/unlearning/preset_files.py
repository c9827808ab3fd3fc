"""Presets: named settings as data, one JSON file each, with where they come from and on what they were chosen.

Ours are in the folder ``presets``; ``docs/presets.md`` has the measurements behind them. A package brings its own by an
entry point whose value is the importable package that holds ``NAME.json``::

    [project.entry-points."trojai_seam.presets"]
    fst-like = "my_package"

and a file of one's own is named by its path. Published scripts measure their stop rules on whatever loader they are
given, sometimes the test set; here every stop rule sees the fit examples only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ..errors import ConfigProblem, UsageProblem
from ..registry import near_names
from .config import UnlearnConfig
from .settings import Settings, findings_of

DEFAULT_PRESET = "default"
GROUP = "trojai_seam.presets"
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


class Preset(Settings):
    """One preset."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    summary: str = Field(min_length=1, max_length=160)
    source: Source
    chosen: Chosen | Literal["as published", "nothing to choose"]
    settings: UnlearnConfig

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """The settings bear the name of the preset."""
        if isinstance(given, Mapping) and isinstance(given.get("settings"), Mapping):
            return {**given, "settings": {"preset": given.get("name"), **given["settings"]}}
        return given

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
            return cls.model_validate(json.loads(text))
        except (ValueError, RecursionError) as problem:
            found = findings_of(problem) if isinstance(problem, ValidationError) else [f"is no JSON: {problem}"]
            raise ConfigProblem(path, found) from None
        except ConfigProblem as problem:
            raise ConfigProblem(path, [f"settings.{finding}" for finding in problem.findings]) from None


def preset_names() -> list[str]:
    """Of ours and of what other packages bring, sorted."""
    return sorted({path.stem for path in _OURS.glob("*.json")} | set(_brought()))


def presets() -> Iterator[Preset]:
    """All of them, by name.

    Raises:
        ConfigProblem: one is wrong.
    """
    return (get_preset(name) for name in preset_names())


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
    if name in {path.stem for path in _OURS.glob("*.json")}:
        preset = Preset.read(_OURS / f"{name}.json")
    elif name in (brought := _brought()):
        preset = Preset.read(_file_of(name, brought[name]))
    else:
        raise UsageProblem(near_names("preset", name, preset_names()))
    if preset.name != name:
        raise ConfigProblem(f"preset {name}", [f"its file says name {preset.name!r}"])
    return preset


def _brought() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}


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
