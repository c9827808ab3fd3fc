"""The page ``docs/settings.md``, made from the schemas of what ``--set`` and ``--round-set`` change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .batch.executors import EXECUTORS
from .rounds.config import config_schema
from .unlearning.config import UnlearnConfig
from .unlearning.phase_kinds import PHASES, PhaseKind, PhaseSettings
from .unlearning.preset_files import get_preset, our_presets
from .unlearning.settings import Settings
from .unlearning.training_settings import StopRule, TrainingSettings, Views

HEAD = """# Settings

Made from the program by `python -m trojai_seam.settings_reference`. A preset is a list of phases with the settings
below; `--set KEY=VALUE` changes one of them, as does `options={"KEY": value}` in Python:

| written | changes |
|---|---|
| `batch_size=16` | a setting of the whole run |
| `forget.learning_rate=1e-4` | one of the phase called `forget` |
| `forget.stop.patience=3` | one of a group within that phase |
| `max_epochs=10` | that setting of every phase that has it |
| `recover.stop.accuracy=none` | unsets a setting that may be unset |

A value out of range, a misspelt name and a value of the wrong type are refused before anything is computed. Rates and
shares are plain numbers, not per cent.
"""
EXECUTION = """## Settings of executors

Who does the work. `--executor-set KEY=VALUE` changes one of them; those of common use have an option of their own
(`--workers 4` is `--executor-set workers=4`). No number depends on them.
"""
ROUNDS = """## Settings of a round

How a dataset is read: `--round-set KEY=VALUE` changes one of them. A JSON file of such keys describes a round of your
own ([Adding a round](adding-a-round.md), [Your own models](own-models.md)).
"""
PRESETS = """## What presets set

What is not listed is at the default given above; a – stands where the phase has no such setting. `trojai-seam presets
--verbose` says where a preset comes from and on what it was chosen.
"""
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What is to be said of one setting."""

    kind: str
    """Type and range."""
    default: str
    meaning: str


def reference_page() -> str:
    """All settings of our kinds of phases, of our presets, of executors and of rounds, as Markdown."""
    return "\n".join([HEAD, *_settings(), *_presets(), *_executors(), *_rounds()])


def rows_of(settings: type[Settings]) -> dict[str, Row]:
    """Every setting by its name, but for what options cannot change."""
    schema = settings.model_json_schema()
    rows = _rows(schema, schema.get("$defs", {}))
    return {name: row for name, row in rows.items() if name not in ("kind", "preset", "phases")}


def _settings() -> Iterator[str]:
    every, training = rows_of(PhaseSettings), rows_of(TrainingSettings)
    yield from _table("The whole run", "", rows_of(UnlearnConfig))
    yield from _table("Every phase", "", every)
    trained = [f"`{name}`" for name, kind in _kinds() if issubclass(kind.settings, TrainingSettings)]
    text = f"Phases of these kinds have them: {', '.join(trained)}."
    yield from _table("Every phase that trains", text, _without(training, every))
    yield from _table("Group views", _first_paragraph(Views), rows_of(Views))
    yield from _table("Group stop", _first_paragraph(StopRule), rows_of(StopRule))
    for name, kind in _kinds():
        trains = issubclass(kind.settings, TrainingSettings)
        beside = " Also has the settings of every phase that trains." if trains else ""
        text = f"{_first_paragraph(kind.settings)} Works on {', '.join(kind.serves)}.{beside}"
        yield from _table(f"Kind {name}", text, _without(rows_of(kind.settings), training if trains else every))


def _kinds() -> Iterator[tuple[str, PhaseKind[Any]]]:
    """Of this package; others document their own."""
    for name in PHASES:
        kind = PHASES.get(name)
        if kind.settings.__module__.startswith(f"{__package__}."):
            yield name, kind


def _presets() -> Iterator[str]:
    yield PRESETS
    for name in our_presets():
        preset = get_preset(name)
        config, default = preset.settings, UnlearnConfig()
        phases = [_options(phase) for phase in config.phases]
        bare = [_options(type(phase).model_validate({"kind": phase.kind})) for phase in config.phases]
        yield from (f"### {name}", "", f"{preset.summary[:1].upper()}{preset.summary[1:]}.", "")
        whole = [f"`{key}={config.options[key]}`" for key in rows_of(UnlearnConfig)
                 if config.options[key] != default.options[key]]  # fmt: skip
        if whole:
            yield from (f"Whole run: {', '.join(whole)}.", "")
        if phases:
            yield f"| setting | {' | '.join(phase.name for phase in config.phases)} |"
            yield f"|---{'|---' * len(phases)}|"
            yield f"| `kind` | {' | '.join(f'`{phase.kind}`' for phase in config.phases)} |"
            changed = [key for one, other in zip(phases, bare, strict=True) for key in one if one[key] != other[key]]
            for key in dict.fromkeys(changed):
                yield f"| `{key}` | {' | '.join(_code(one[key]) if key in one else '–' for one in phases)} |"
            yield ""


def _options(phase: PhaseSettings) -> dict[str, Any]:
    """By the names that options have for them, without the phase's own."""
    named = UnlearnConfig(phases=(phase,)).options
    return {
        key.removeprefix(f"{phase.name}."): value for key, value in named.items() if key.startswith(f"{phase.name}.")
    }


def _executors() -> Iterator[str]:
    yield EXECUTION
    for name in EXECUTORS:
        settings = EXECUTORS.get(name).settings
        yield from _table(f"Executor {name}", _first_paragraph(settings), rows_of(settings))


def _rounds() -> Iterator[str]:
    schema = config_schema()
    yield ROUNDS
    yield from ("| key | type and range | meaning |", "|---|---|---|")
    for name, row in _rows(schema, schema["definitions"]).items():
        if row.meaning:
            yield f"| `{name}` | {row.kind} | {row.meaning} |"
    yield ""


def _rows(schema: Schema, definitions: Mapping[str, Schema], above: str = "") -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for name, described in schema.get("properties", {}).items():
        field = _resolved(described, definitions)
        group = _GROUPS.get(field.get("title", ""))
        if group is not None:
            changed = ", ".join(f"`{key}={value}`" for key, value in field["default"].items()
                                if value != field["properties"][key].get("default"))  # fmt: skip
            rows[name] = Row(f"[group](#group-{group})", changed or "as the group", _text(described["description"]))
        elif field.get("properties"):
            rows.update(_rows(field, definitions, f"{above}{name}."))
        else:
            rows[above + name] = Row(
                _type(field, definitions), _code(field.get("default")), _text(field.get("description", ""))
            )
    return rows


_GROUPS = {Views.__name__: "views", StopRule.__name__: "stop"}


def _resolved(field: Schema, definitions: Mapping[str, Schema]) -> Schema:
    if "$ref" not in field:
        return field
    return {**definitions[field["$ref"].rsplit("/", 1)[1]], **{key: field[key] for key in field if key != "$ref"}}


def _type(field: Schema, definitions: Mapping[str, Schema]) -> str:
    """``integer, 1 to 65536``; ``one of `adam`, `sgd```."""
    if choices := field.get("anyOf", field.get("oneOf")):
        return " or ".join(_type(_resolved(choice, definitions), definitions) for choice in choices)
    if "enum" in field:
        return ", ".join(map(_code, field["enum"]))
    name = str(field.get("type", "value"))
    kind = {"null": "unset", "object": "group", "array": "list", "string": "text"}.get(name, name)
    return f"{kind}{_range(field)}"


def _range(field: Schema) -> str:
    least, above = field.get("minimum"), field.get("exclusiveMinimum")
    most, below = field.get("maximum"), field.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f", {least:.12g} to {most:.12g}"
    words = (("at least", least), ("above", above), ("at most", most), ("below", below))
    return "".join(f", {word} {bound:.12g}" for word, bound in words if bound is not None)


def _without(rows: Mapping[str, Row], others: Mapping[str, Row]) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if others.get(name) != row}


def _table(title: str, text: str, rows: Mapping[str, Row]) -> Iterator[str]:
    yield from (f"## {title}", "")
    if text:
        yield from (text, "")
    yield from ("| setting | type and range | default | meaning |", "|---|---|---|---|")
    yield from (f"| `{name}` | {row.kind} | {row.default} | {row.meaning} |" for name, row in rows.items())
    yield ""


def _code(value: Any) -> str:
    if value is None or value == "":
        return "unset"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _first_paragraph(settings: type[Settings]) -> str:
    return _text((settings.__doc__ or "").split("\n\n")[0])


def _text(description: str) -> str:
    """One line of Markdown from a docstring, or from a schema's words."""
    return " ".join(description.split()).replace("``", "`").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(reference_page(), end="")
