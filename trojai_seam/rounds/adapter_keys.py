"""What a round may tell an adapter: each declares its keys, and ``round_configs/schema.json`` is assembled of them.

``python -m trojai_seam.rounds.adapter_keys`` writes that file anew: all that is no adapter's stays as it stands there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """One group of keys.

    Attributes:
        keys: JSON Schema (draft 7) of every key that may be in it.
        required: those that must be.
        rules: what else holds of the group as a whole, as further keywords of its schema.
    """

    keys: Schema
    required: tuple[str, ...] = ()
    rules: Schema = field(default_factory=dict)


@dataclass(frozen=True)
class AdapterKeys:
    """The groups that an adapter reads; of one that is ``None`` it reads nothing, so that a round cannot have it.

    Attributes:
        examples: which files are examples, and where their labels are.
        layout: where they are.
        preprocessing: how they become inputs.
        attack: what the attacker wants of them.
        required: groups that must be there; ``examples`` and ``layout`` always are.
    """

    examples: Group
    layout: Group
    preprocessing: Group | None = None
    attack: Group | None = None
    required: tuple[str, ...] = ()


GROUPS = tuple(one.name for one in fields(AdapterKeys) if one.name != "required")


def texts(description: str = "", least: int = 1) -> Schema:
    """Schema of a list of texts."""
    items = {"type": "array", **({"minItems": least} if least else {}), "items": {"type": "string", "minLength": 1}}
    return {"description": description, **items} if description else items


def choice(description: str, *values: str) -> Schema:
    """Schema of one of ``values``. Adapters that take others of the same meaning say so with the same description."""
    return {"description": description, "enum": list(values)}


SUFFIXES: Schema = {
    "type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^\\.[a-z0-9]+$"},
}  # fmt: skip
SIDECARS = texts("file names of the label beside an example; {name} is the file name, {stem} the name without suffix")
PLACES: Schema = {"clean": texts(), "poisoned": texts(least=0)}
TARGET_LABEL: Schema = {
    "description": "what the attacker wants a triggered example to be called", "type": "integer", "minimum": 0,
}  # fmt: skip
LOGITS = texts(
    "files with the logits of the clean examples, in the model directory; auto compares with the first that exists", 0
)


def labels(*ways: str) -> Schema:
    """Where the labels of examples are."""
    return choice(
        "images: the class in a name such as class_3_example_0.png or class_3_trigger_1_example_0.png, or a side-car "
        "with a class number or with clean_label and poisoned_label; unknown: clean examples have no labels (-1)",
        *ways,
    )


def assembled(schema: Schema, adapters: Mapping[str, AdapterKeys]) -> dict[str, Any]:
    """``schema`` with what ``adapters`` declare now, by their names.

    Raises:
        ValueError: two adapters mean different things by one key.
    """
    made = deepcopy(dict(schema))
    for group in GROUPS:
        made["properties"][group]["properties"] = _all_keys(group, adapters)
    rules: list[tuple[dict[str, Any], list[str]]] = []
    for name, keys in adapters.items():
        then = dict(_then(keys, made))
        same = next((names for one, names in rules if one == then), None)
        rules.append((then, [name])) if same is None else same.append(name)
    made["allOf"] = [schema["allOf"][0]] + [
        {"if": {"properties": {"adapter": {"enum": names}}, "required": ["adapter"]}, "then": then}
        for then, names in rules
    ]
    return made


def _all_keys(group: str, adapters: Mapping[str, AdapterKeys]) -> dict[str, Any]:
    """Of all adapters; choices of one meaning are joined."""
    found: dict[str, Any] = {}
    for name, keys in adapters.items():
        declared = getattr(keys, group)
        for key, said in ({} if declared is None else declared.keys).items():
            known = found.setdefault(key, dict(said))
            if known == said:
                continue
            if "enum" not in known or {**known, "enum": 0} != {**said, "enum": 0}:
                raise ValueError(f"{group}.{key} means something else to adapter {name} than to others")
            known["enum"] = [*known["enum"], *(value for value in said["enum"] if value not in known["enum"])]
    return found


def _then(keys: AdapterKeys, made: Schema) -> Iterator[tuple[str, Any]]:
    if keys.required:
        yield "required", list(keys.required)
    yield (
        "properties",
        {group: _rule(getattr(keys, group), made["properties"][group]["properties"]) for group in GROUPS},
    )


def _rule(group: Group | None, everything: Schema) -> Any:
    if group is None:
        return False
    rule = {"propertyNames": {"enum": list(group.keys)}, **group.rules}
    narrower = {key: {"enum": said["enum"]} for key, said in group.keys.items() if said != everything[key]}
    if group.required:
        rule["required"] = list(group.required)
    if narrower:
        rule["properties"] = narrower
    return rule


def declared() -> dict[str, AdapterKeys]:
    """By the names of our adapters; imports all of them."""
    from .adapters import ADAPTERS

    return {name: ADAPTERS.get(name).keys for name in ADAPTERS}


def main() -> None:
    """Write the schema anew."""
    from .config import config_folder

    path = config_folder() / "schema.json"
    schema = assembled(json.loads(path.read_text("utf-8")), declared())
    path.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
