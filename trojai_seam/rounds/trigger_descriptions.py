"""What NIST's files say about each trigger of a model, in one form, whichever generation of scripts wrote it.

Config.json has a list ``triggers`` (R4 to R7, R11, R13), one ``trigger`` (R8 to R10, QA 2023) or flat keys (R2, R3);
what a trigger does may be said by its ``type``, by the name or the class of its executor, or only by what it needs (a
polygon has sides, a filter a name). METADATA.csv has flat columns (R0 to R3, R8) or numbered and dotted ones
(``triggers_0_type``, ``trigger_0.type``, ``trigger.trigger_executor.type``).

Sources: config.json and METADATA.csv of the rounds; trojai-round-generation, ``package_round_metadata.py`` of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .model_directory import ModelDirectory, says_nothing

MISCLASSIFICATION, EVASION, INJECTION, LOCALISATION = "misclassification", "evasion", "injection", "localisation"
POLYGON, INSTAGRAM = "polygon", "instagram"

_NUMBERED = re.compile(r"triggers?[._](\d{1,2})[._](.+)")
_NESTED = re.compile(r"trigger\.(.+)")
_SINGLE = ("trigger_type", "trigger_target_class", "trigger_option")  # any of them describes the one trigger
_ATTACK = re.compile(f"{MISCLASSIFICATION}|{EVASION}|{INJECTION}|locali[sz]ation", re.IGNORECASE)
_TEXT = re.compile(r"(Character|Phrase|Word)TriggerExecutor")
_CLASS = re.compile(r"(?:[a-z_]\w*\.)+([A-Z]\w*)")
# Round 7: names of its config, and classes, against the words of its METADATA.csv and of NIST's page.
_ROUND_7 = {"adjective": "word1", "word": "word2", "spacedelim": "phrase"}
_ROUND_7_CLASSES = {"AdjectiveTriggerExecutor": "word1", "SpaceDelimitedTriggerExecutor": "phrase"}
_SAYS_KIND = (
    "trigger_executor_name",
    "class",
    "trigger_executor",
    "trigger_executor_type",
    "trigger_executor.type",
    "trigger_type",
    "type",
)
_OF_POLYGONS = (
    "trigger_polygon_side_count",
    "polygon_side_count",
    "polygon_filepath",
    "trigger_color",
    "color",
    "trigger_size",
)
_OPTIONS = (
    "trigger_type_option",
    "instagram_filter_type",
    "polygon_side_count",
    "trigger_polygon_side_count",
    "trigger_executor_option",
    "trigger_option",
)
_ATTACK_OPTIONS = ("trigger_executor_option", "trigger_executor.options", "options", *_OPTIONS)
_COMBINED_OPTIONS = ("trigger_executor_option", "trigger_option", "executor_option_name")
_CONDITIONS = ("spatial", "spectral", "class")
_EVERYWHERE = ("local", "global")  # where R10's triggers work; they have no condition


class Description(NamedTuple):
    """One trigger.

    Attributes:
        facts: values by lower-case name; those of the executor both under ``trigger_executor.…`` and, where the trigger
            itself has no such name, without that; ``class`` is the executor's class, as pickled.
    """

    facts: Mapping[str, Any]

    @property
    def kind(self) -> str | None:
        """``polygon``, ``instagram``; ``character``, ``word``, ``phrase``; of detectors ``misclassification``,
        ``evasion``, ``injection``, ``localisation``; else what the file calls it, None where it says nothing."""
        said = {name: str(self.facts[name]) for name in _SAYS_KIND if isinstance(self.facts.get(name), str)}
        said = {name: text for name, text in said.items() if not says_nothing(text)}
        for text in said.values():
            if attack := _ATTACK.search(text):
                return attack[0].lower().replace("localization", LOCALISATION)
        for text in said.values():
            if _is_filter(text):
                return INSTAGRAM
            if POLYGON in text.lower():
                return POLYGON
        for name, text in said.items():
            bare = text.rpartition(".")[2]
            if name == "trigger_executor_name":
                return _ROUND_7.get(bare, bare)
            if bare in _ROUND_7_CLASSES:
                return _ROUND_7_CLASSES[bare]
            if executor := _TEXT.search(bare):
                return executor[1].lower()
        if not says_nothing(self.facts.get("instagram_filter_type")):
            return INSTAGRAM
        plain = next((said[name] for name in ("trigger_type", "type", "trigger_executor") if name in said), None)
        if plain is None and any(not says_nothing(self.facts.get(name)) for name in _OF_POLYGONS):
            return POLYGON  # the only kind there was in R0 and R1, which do not say it
        return None if plain is None else _without_module(plain)

    @property
    def condition(self) -> str | None:
        """``none`` where the file says that the trigger always works, None where it says nothing."""
        for name in ("condition", "options"):
            value = self.facts.get(name)
            if name in self.facts and value not in ("", *_EVERYWHERE) and isinstance(value, str | None):
                return "none" if says_nothing(value) else str(value)
        for name in _COMBINED_OPTIONS:
            words = re.split(r"[:_]", str(self.facts.get(name, "")))
            found = [word for word in _CONDITIONS if word in words]
            if found or "normal" in words:
                return " and ".join(sorted(found)) or "none"
        return None

    @property
    def option(self) -> Any:
        """What else tells it apart: sides of a polygon, name of a filter, way of an attack."""
        filters = (value for name in ("type", "trigger_type") if _is_filter(value := self.facts.get(name)))
        named = next(filters, None)
        if named is not None and str(named).endswith("XForm"):
            return named  # R11 calls the filter itself the type
        names = _OPTIONS if self.kind in (POLYGON, INSTAGRAM) else _ATTACK_OPTIONS
        return next((self.facts[name] for name in names if not says_nothing(self.facts.get(name))), None)


def read_descriptions(directory: ModelDirectory, config: Mapping[str, Any]) -> tuple[Description, ...]:
    """All triggers that the files describe, in the order of config.json, else of METADATA.csv.

    Of one trigger the config outranks METADATA.csv, which fills in what the config does not say.

    Args:
        directory: the model directory.
        config: its :attr:`~.ModelDirectory.config_with_classes`, empty where that cannot be read.
    """
    listed = _in_config(config)
    table = dict(_in_metadata(directory.metadata))
    if not listed:
        listed = {number: {} for number in table}
    merged = [{**table.get(number, {}), **facts} for number, facts in sorted(listed.items())]
    return tuple(Description(facts) for facts in merged if facts)


def _in_config(config: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    entries = config.get("triggers")
    if not isinstance(entries, list) and isinstance(config.get("trigger"), Mapping):
        entries = [config["trigger"]]
    if isinstance(entries, list):
        return {number: _flat(entry) for number, entry in enumerate(entries) if isinstance(entry, Mapping)}
    single = _single(config)
    return {0: single} if single else {}


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    own = {str(key).lower(): value for key, value in entry.items()}
    executor = own.get("trigger_executor")
    if not isinstance(executor, Mapping):
        return {**own, "class": own.get("py/object")}
    inner = {str(key).lower(): value for key, value in executor.items()}
    below = {f"trigger_executor.{name}": value for name, value in inner.items()}
    del own["trigger_executor"]
    return {
        **{name: value for name, value in inner.items() if name != "type"},
        **below,
        **own,
        "class": inner.get("py/object"),
    }


def _in_metadata(row: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    found: dict[int, dict[str, Any]] = {}
    for column, value in row.items():
        name = str(column).lower()
        if numbered := _NUMBERED.fullmatch(name):
            found.setdefault(int(numbered[1]), {})[numbered[2]] = value
        elif nested := _NESTED.fullmatch(name):
            found.setdefault(0, {})[nested[1]] = value
    for number, facts in found.items():
        if not all(says_nothing(value) for value in facts.values()):
            short = {name.removeprefix("trigger_executor."): value for name, value in facts.items()}
            yield number, {**{k: v for k, v in short.items() if k != "type"}, **facts}
    if not found and (single := _single(row)):
        yield 0, single


def _single(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one trigger of flat keys; empty where they describe none. A list of no classes is that of a clean model."""
    flat = {str(key).lower(): value for key, value in values.items()}
    if all(says_nothing(flat.get(name)) for name in _SINGLE):
        return {}
    if str(flat.get("triggered_classes")).strip() == "[]":
        return {}
    wanted = ("instagram_filter_type", "polygon_side_count")
    return {name: value for name, value in flat.items() if name.startswith("trigger_") or name in wanted}


def _without_module(text: str) -> str:
    found = _CLASS.fullmatch(text)
    return found[1] if found else text


def _is_filter(value: Any) -> bool:
    return isinstance(value, str) and (value.endswith("XForm") or INSTAGRAM in value.lower())
