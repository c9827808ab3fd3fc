"""What the triggers of a detection round do, from whichever file and spelling tells.

R10's config has one ``trigger`` with ``trigger_executor_type``; R13 lists ``triggers``, whose class name says the kind
(``ObjectDetectionEvasionPolygonTriggerExecutor``); METADATA.csv flattens both to dotted names (``trigger.…``,
``trigger_0.…``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import DatasetProblem, shown
from ..tasks.details import ATTACKS
from .model_directory import ModelDirectory
from .model_directory import says_nothing as _absent
from .trigger_descriptions import Description

MISCLASSIFICATION, EVASION, INJECTION, LOCALISATION = ATTACKS
_FLAT = re.compile(r"triggers?(?:[._](\d{1,2}))?\.(.+)")
DIRECTIONS: Mapping[str, tuple[int, int]] = {"north": (0, -1), "south": (0, 1), "west": (-1, 0), "east": (1, 0)}


class BoxTrigger(NamedTuple):
    """One trigger.

    Attributes:
        kind: of :data:`~trojai_seam.tasks.details.ATTACKS`; empty where nothing says.
        source: class of the objects that it is about, as side-cars count; None for any, or where nothing says.
        target: class that the attacker wants (of evasion: that he wants to vanish); None where nothing says.
        direction: where a localisation trigger moves boxes, as steps of their own width and height.
    """

    kind: str
    source: int | None
    target: int | None
    direction: tuple[int, int] | None = None


def read_box_triggers(directory: ModelDirectory) -> tuple[BoxTrigger, ...]:
    """All triggers of a model; none for a clean one, or where no file tells.

    Raises:
        DatasetProblem: a class, list or trigger entry is not what it should be.
    """
    if directory.poisoned is False:
        return ()
    where = str(directory.path / "config.json")
    config = directory.config
    entries = config.get("triggers")
    if entries is None and isinstance(config.get("trigger"), Mapping):
        entries = [config["trigger"]]
    if entries:
        if not isinstance(entries, list):
            raise DatasetProblem(f"{where}: triggers: expected a list, found {shown(repr(entries), 60)}")
        names = _class_names(directory)
        return tuple(
            _trigger(_flat(entry, where), names[number] if number < len(names) else "", where)
            for number, entry in enumerate(entries)
        )
    rows: dict[str, dict[str, Any]] = {}
    for key, value in directory.told.items():
        found = _FLAT.fullmatch(str(key))
        if found and not _absent(value):
            rows.setdefault(found[1] or "0", {})[found[2]] = value
    where = str(directory.root / "METADATA.csv")
    told = (_trigger(facts, str(facts.get("trigger_executor", "")), where) for _, facts in sorted(rows.items()))
    return tuple(trigger for trigger in told if trigger.target is not None or trigger.source is not None)


def _flat(entry: Any, where: str) -> dict[str, Any]:
    """An entry's values, and those of its executor below them."""
    if not isinstance(entry, Mapping):
        raise DatasetProblem(f"{where}: triggers: expected an object, found {shown(repr(entry), 60)}")
    executor = entry.get("trigger_executor")
    inner = executor if isinstance(executor, Mapping) else {}
    below = {f"trigger_executor.{key}": value for key, value in inner.items()}
    return {**{str(k): v for k, v in inner.items() if k != "type"}, **below, **{str(k): v for k, v in entry.items()}}


def _class_names(directory: ModelDirectory) -> list[str]:
    """``py/object`` of every entry of ``triggers``."""
    entries = directory.config_with_classes.get("triggers")
    if not isinstance(entries, list):
        return []
    return [str(entry.get("py/object", "")) if isinstance(entry, Mapping) else "" for entry in entries]


def _trigger(facts: Mapping[str, Any], class_name: str, where: str) -> BoxTrigger:
    source, target = (_class(facts.get(key), where, key) for key in ("source_class", "target_class"))
    said = Description({**facts, "class": class_name}).kind
    kind = said if said in ATTACKS else ""
    if not kind and source is not None and target is not None and source != target:
        kind = MISCLASSIFICATION  # the only kind that turns one class into another
    told = next((facts[k] for k in ("localization_direction", "localisation_direction") if facts.get(k)), "")
    direction = DIRECTIONS.get(str(told).strip().lower())
    if kind in (EVASION, LOCALISATION):
        source = target = target if source is None else source
    if kind == INJECTION:
        source = None
        target = target if target is not None else _class(facts.get("source_class"), where, "source_class")
    return BoxTrigger(kind, source, target, direction if kind == LOCALISATION else None)


def _class(value: Any, where: str, name: str) -> int | None:
    if _absent(value):
        return None
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or number != number // 1:
        raise DatasetProblem(f"{where}: {name}: expected a class number, found {shown(repr(value), 60)}")
    return int(number)
