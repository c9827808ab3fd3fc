"""What a model's config or METADATA.csv says about its triggers, whichever generation of NIST's scripts wrote it.

R0 to R3 describe one trigger in flat keys (upper case in R2 and R3, METADATA columns in R0 and R1); R4 lists trigger
objects; R11 lists executor objects with ``py/state``. METADATA.csv flattens the lists to ``triggers_0_…`` (R4) or
``trigger_0.…`` (R11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetProblem, shown
from .model_directory import ModelDirectory
from .model_directory import says_nothing as _absent
from .trigger_descriptions import Description

R4_COLORS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200))
_FLAT_LIST = re.compile(r"triggers?_(\d{1,2})[_.](.+)")


@dataclass(frozen=True)
class Trigger:
    """One trigger.

    Attributes:
        number: its place in the model's list.
        kind: ``polygon``, ``instagram``, or empty where nothing says.
        sources: classes that it turns into ``target``; None for all of them.
        target: the class that the attacker wants.
        filter: name of the Instagram filter.
        color: of the polygon, in the order in which the round writes it.
        size_share: least and largest area of the polygon's square relative to the sign's.
        size_pixels: side of that square, where a round gives it.
        quadrant: of the sign, that the polygon must be in: 1 upper right, 2 upper left, 3 lower left, 4 lower right.
    """

    number: int
    kind: str
    sources: tuple[int, ...] | None
    target: int
    filter: str | None = None
    color: tuple[int, int, int] | None = None
    size_share: tuple[float, float] | None = None
    size_pixels: int | None = None
    quadrant: int | None = None

    def turns(self, label: int) -> bool:
        """Does it turn this class into another?"""
        return label != self.target and (self.sources is None or label in self.sources)


def read_triggers(directory: ModelDirectory) -> tuple[Trigger, ...]:
    """All triggers of a model; none for a clean one, whatever else its config lists.

    Raises:
        DatasetProblem: a class, list or trigger entry is not what it should be.
    """
    if directory.poisoned is False:
        return ()
    config, where = directory.config, directory.path / "config.json"
    entries = config.get("triggers")
    if entries:
        if not isinstance(entries, list):
            raise DatasetProblem(f"{where}: triggers: expected a list, found {shown(repr(entries), 60)}")
        return tuple(_listed(entry, number, where) for number, entry in enumerate(entries))
    facts = (item for source in (directory.told, config) for item in source.items())
    flat = {str(key).lower(): value for key, value in facts if not _absent(value)}
    if "trigger_target_class" in flat:
        single = _single(flat, where if config else directory.root / "METADATA.csv")
        return () if single is None else (single,)
    rows: dict[int, dict[str, Any]] = {}
    for key, value in directory.told.items():
        found = _FLAT_LIST.fullmatch(str(key))
        if found and not _absent(value):
            rows.setdefault(int(found[1]), {})[found[2]] = value
    table = directory.root / "METADATA.csv"
    return tuple(_listed(rows[number], number, table) for number in sorted(rows) if "target_class" in rows[number])


def _listed(entry: Any, number: int, where: Path) -> Trigger:
    if not isinstance(entry, dict):
        raise DatasetProblem(f"{where}: trigger {number}: expected an object, found {shown(repr(entry), 60)}")
    name = f"trigger {number}: "
    told = entry.get("type")
    # R11 calls the filter itself the type.
    filter_name = told if isinstance(told, str) and told.endswith("XForm") else entry.get("instagram_filter_type")
    source = entry.get("source_class")
    quadrant = _number(entry.get("spatial_quadrant"))
    if "options" in entry and entry["options"] != "spatial":
        quadrant = None
    return Trigger(
        number=number,
        kind=Description(entry).kind or "",
        sources=None if _absent(source) else (_class(source, where, name + "source_class"),),
        target=_class(entry.get("target_class"), where, name + "target_class"),
        filter=_text(filter_name),
        color=_color(entry),
        size_share=_share(entry.get),
        quadrant=None if quadrant is None else int(quadrant) or 4,  # R11 counts the lower right as 0
    )


def _single(flat: Mapping[str, Any], where: Path) -> Trigger | None:
    listed = flat.get("triggered_classes")
    sources = None if _absent(listed) else tuple(_class(v, where, "triggered_classes") for v in _values(listed))
    if sources == ():
        return None  # clean models of R0 and R1: []
    option = _text(flat.get("trigger_type_option")) or ""
    pixels = _number(flat.get("trigger_size"))
    return Trigger(
        number=0,
        kind=Description(flat).kind or "",
        sources=sources,
        target=_class(flat["trigger_target_class"], where, "trigger_target_class"),
        filter=_text(flat.get("instagram_filter_type")) or (option if option.endswith("XForm") else None),
        color=_color({"color": flat.get("trigger_color")}),
        size_share=_share(lambda key: flat.get(f"trigger_{key}")),
        size_pixels=None if pixels is None else int(pixels),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and not _absent(value) else None


def _number(value: Any) -> float | None:
    """A finite number, also from METADATA's text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e9 else None


def _values(value: Any) -> list[Any]:
    """A list, also as METADATA writes it: ``[0 3]``, with or without commas."""
    if isinstance(value, list):
        return value
    return str(value).strip().strip("[]()").replace(",", " ").split()


def _class(value: Any, where: Path, name: str) -> int:
    number = _number(value)
    if number is None or number != int(number):
        raise DatasetProblem(f"{where}: {name}: expected a class number, found {shown(repr(value), 60)}")
    return int(number)


def _color(entry: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """The colour; where jsonpickle only points back to an equal one (``py/id``), the one that the level stands for."""
    value = entry.get("color", entry.get("trigger_color"))
    if isinstance(value, (list, str)) and not _absent(value):
        parts = [_number(part) for part in _values(value)]
        whole = [int(part) for part in parts if part is not None and 0 <= part <= 255]
        if len(parts) == len(whole) == 3:
            return whole[0], whole[1], whole[2]
    level = _number(entry.get("color_level"))
    return R4_COLORS[int(level)] if level is not None and 0 <= level < len(R4_COLORS) else None


def _share(get: Callable[[str], Any]) -> tuple[float, float] | None:
    low, high = (_number(get(f"size_percentage_of_foreground_{end}")) for end in ("min", "max"))
    if low is None or high is None or not 0 < low <= high <= 1:
        return None
    return low, high


def trigger_executor(trigger: Any) -> Mapping[str, Any]:
    """The ``trigger_executor`` of a text round's trigger (R7 to R9, QA 2023); empty where there is none."""
    executor = trigger.get("trigger_executor") if isinstance(trigger, Mapping) else None
    return executor if isinstance(executor, Mapping) else {}
