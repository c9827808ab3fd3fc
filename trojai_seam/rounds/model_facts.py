"""What NIST says about a model, under names that are the same in every round, so that results can be grouped by them.

Read from config.json and METADATA.csv alone: a model that cannot be opened still belongs to its group, and lowers the
coverage of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import DatasetProblem, shown
from .config import RoundConfig
from .model_directory import ModelDirectory

MOST_KEYS, MOST_DEPTH, MOST_TEXT = 400, 6, 30_000
_NOTHING = ("", "nan", "null")
_LISTED_TRIGGER = re.compile(r"triggers?[._](\d{1,2})[._](.+)")
_TASK_PREFIX = re.compile(r"[a-z_]+:(?=[a-z])")

# Stable name → names in NIST's files (lower case), in order of preference.
_PLAIN: dict[str, tuple[str, ...]] = {
    "model_architecture": ("model_architecture",),
    "embedding": ("embedding",),
    "embedding_flavor": ("embedding_flavor",),
    "source_dataset": ("source_dataset", "background_image_dataset", "source_dataset_background"),
    "adversarial_training": ("adversarial_training_method",),
    "trigger_count": ("number_triggers",),
    "trigger_organization": ("trigger_organization",),
}
# The same for what each trigger says of itself; several triggers are joined by "and".
_OF_TRIGGERS: dict[str, tuple[str, ...]] = {
    "trigger_type": ("trigger_type", "type", "trigger_executor_name"),
    "trigger_option": (
        "trigger_type_option",
        "instagram_filter_type",
        "polygon_side_count",
        "trigger_polygon_side_count",
        "trigger_executor_option",
        "trigger_option",
    ),
    "trigger_condition": ("condition",),
}


_SAID_IN_TRIGGERS = ("type", "condition")  # elsewhere these words are about something else


def model_facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    """Columns that NIST's files tell, and all plain values of both files as JSON: ``nist_config``, ``nist_metadata``.

    A round's own ``columns`` come first. What nothing tells is left out. Clean models have no trigger columns, whatever
    their config lists.

    Raises:
        DatasetProblem: ``config.json`` or ``ground_truth.csv`` is unreadable.
    """
    metadata = flat(directory.metadata)
    config = flat(directory.config)
    merged = {**config, **{name: value for name, value in metadata.items() if name not in config}}
    found: dict[str, str | None] = {
        column: _first(merged, tuple(key.lower() for key in keys)) for column, keys in round_config.columns.items()
    }
    for column, keys in _PLAIN.items():
        found[column] = found.get(column) or _first(merged, keys)
    for column, keys in _OF_TRIGGERS.items():
        found[column] = found.get(column) or _of_triggers(merged, keys)
    if found["model_architecture"]:
        found["model_architecture"] = _TASK_PREFIX.sub("", found["model_architecture"])
    if found["trigger_count"] is None and isinstance(directory.config.get("triggers"), list):
        found["trigger_count"] = str(len(directory.config["triggers"]))
    if directory.poisoned is False:
        found = {column: value for column, value in found.items() if not column.startswith("trigger_")}
    facts: dict[str, Any] = {column: value for column, value in found.items() if value is not None}
    if "trigger_count" in facts:
        facts["trigger_count"] = int(facts["trigger_count"]) if facts["trigger_count"].isdigit() else None
    return {**facts, "nist_config": _document(config), "nist_metadata": _document(metadata)}


def readable_facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    """:func:`model_facts` and ``poisoned``, as far as the files can be read: for models that fail or never ran."""
    facts: dict[str, Any] = {}
    try:
        facts["poisoned"] = directory.poisoned
        facts.update(model_facts(directory, round_config))
    except DatasetProblem:
        return facts  # the row of the model says what is wrong with the file
    return facts


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values by dotted lower-case name: ``{"triggers": [{"type": "x"}]}`` gives ``{"triggers.0.type": "x"}``.

    Long lists, and what comes after the first 400 values or lies deeper than six levels, are left out.
    """
    values: dict[str, Any] = {}
    for name, value in _walk(document, "", 0):
        values.setdefault(name, value)
        if len(values) >= MOST_KEYS:
            break
    return values


def _walk(node: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | Mapping):
        children = [(str(key).lower()[:80], value) for key, value in node.items()]
    elif isinstance(node, list) and len(node) <= 8:
        children = [(str(number), value) for number, value in enumerate(node)]
    else:
        if isinstance(node, (str, int, float, bool)) and not (isinstance(node, float) and not math.isfinite(node)):
            yield name, node[:200] if isinstance(node, str) else node
        return
    if depth < MOST_DEPTH:
        for key, value in children:
            yield from _walk(value, ".".join(part for part in (name, key) if part), depth + 1)


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((text for text in (_text(values.get(key)) for key in keys) if text is not None), None)


def _of_triggers(values: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    by_trigger: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        listed = _LISTED_TRIGGER.fullmatch(name)
        number, rest = (listed[1], listed[2]) if listed else ("", name)
        inside = bool(listed) or rest.startswith("trigger.")
        key = rest.rpartition(".")[2] if inside else rest
        if key in keys and (inside or key not in _SAID_IN_TRIGGERS) and (text := _text(value)) is not None:
            by_trigger.setdefault(number, {}).setdefault(key, "instagram" if _is_filter(key, text) else text)
    told = [next(facts[key] for key in keys if key in facts) for facts in by_trigger.values()]
    return " and ".join(sorted(set(told))) or None


def _is_filter(key: str, text: str) -> bool:
    """R11 calls the Instagram filter itself the type."""
    return key == "type" and text.endswith("XForm")


def _text(value: Any) -> str | None:
    """``value`` as one spelling, whether it came from JSON or CSV (``3``, ``"3.0"``); None for nothing."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return None
    text = shown(value).strip()
    if text.lower() == "none":
        return "none"  # R4 writes so where it means that there is none
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def _document(values: Mapping[str, Any]) -> str | None:
    """``values`` as JSON of at most 30 000 characters: the first ones that fit."""
    kept: dict[str, Any] = {}
    size = 2
    for name, value in values.items():
        size += len(json.dumps(name)) + len(json.dumps(value)) + 4
        if size > MOST_TEXT:
            break
        kept[name] = value
    return json.dumps(kept, allow_nan=False) if kept else None
