"""What NIST says about a model, under names that are the same in every round, so that results can be grouped by them.

Read from config.json and METADATA.csv alone: a model has the same facts before it is opened, after, when it fails and
when it is never reached. Selections, rows, failures and reports all take them from here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..errors import DatasetProblem, shown
from ..networks.torchvision_classifiers import usual_name
from .config import RoundConfig
from .model_directory import ModelDirectory, as_truth, says_nothing
from .raw_values import as_document
from .trigger_descriptions import MISCLASSIFICATION, Description, read_descriptions

# Stable name → names in NIST's files (lower case), in order of preference.
_PLAIN: dict[str, tuple[str, ...]] = {
    "model_architecture": ("model_architecture",),
    "embedding": ("embedding",),
    "embedding_flavor": ("embedding_flavor",),
    "source_dataset": ("source_dataset", "background_image_dataset", "source_dataset_background"),
    "adversarial_training": ("adversarial_training_method",),
    "trigger_organization": ("trigger_organization",),
}
_COUNTS = ("number_triggers", "num_triggers")
_OF_TRIGGERS = ("trigger_type", "trigger_option", "trigger_condition")
# Some rounds put the task in front: "object_detection:detr", "qa:squad_v2".
_TASK_PREFIX = re.compile(r"(?:classification|object_detection|sc|ner|qa):(?=\S)")


def model_facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    """Columns that NIST's files tell, and both files whole as JSON: ``nist_config``, ``nist_metadata``.

    A round's own ``columns`` come first. What nothing tells is left out. Clean models have no trigger columns, whatever
    their config lists.

    Raises:
        DatasetProblem: ``config.json`` or ``ground_truth.csv`` is unreadable.
    """
    return _facts(directory, round_config, directory.config, directory.config_with_classes, directory.poisoned)


def readable_facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    """:func:`model_facts` and ``poisoned``, as far as the files can be read: for models that fail or never ran.

    A file that cannot be read says nothing; the others still do. The row of the model says what is wrong with it.
    """
    try:
        config, classes = directory.config, directory.config_with_classes
    except DatasetProblem:
        config, classes = {}, {}
    try:
        poisoned = directory.poisoned
    except DatasetProblem:
        poisoned = next(
            (truth for source in (directory.told, config) if (truth := as_truth(source.get("poisoned"))) is not None),
            None,
        )
    return {"poisoned": poisoned, **_facts(directory, round_config, config, classes, poisoned)}


def _facts(
    directory: ModelDirectory,
    round_config: RoundConfig,
    config: Mapping[str, Any],
    config_with_classes: Mapping[str, Any],
    poisoned: bool | None,
) -> dict[str, Any]:
    sources = (_lower(config), _lower(directory.told))
    found: dict[str, Any] = {
        column: _first(sources, tuple(key.lower() for key in keys)) for column, keys in round_config.columns.items()
    }
    for column, keys in _PLAIN.items():
        found[column] = found.get(column) or _first(sources, keys)
    if poisoned is not False:
        triggers = read_descriptions(directory, config_with_classes)
        for column, text in _of_triggers(triggers, round_config.task == "detection").items():
            found[column] = found.get(column) or text
        found["trigger_count"] = _count(_first(sources, _COUNTS), len(triggers))
    else:
        found = {column: value for column, value in found.items() if not column.startswith("trigger_")}
    facts = {column: value for column, value in found.items() if value is not None}
    if "model_architecture" in facts:
        facts["architecture"] = usual_name(facts["model_architecture"])  # until the model's file says it better
    return {**facts, "nist_config": as_document(config), "nist_metadata": as_document(directory.metadata)}


def _of_triggers(triggers: tuple[Description, ...], of_detector: bool) -> dict[str, str | None]:
    """What the triggers say of themselves; different answers of several are joined by "and"."""
    kinds = [_kind(trigger, of_detector) for trigger in triggers]
    columns = (kinds, [trigger.option for trigger in triggers], [trigger.condition for trigger in triggers])
    told = ({text for value in values if (text := _text(value)) is not None} for values in columns)
    # A condition may itself be two words; each is said once.
    parts = [sorted({part for text in texts for part in text.split(" and ")}) for texts in told]
    return {name: " and ".join(texts) or None for name, texts in zip(_OF_TRIGGERS, parts, strict=True)}


def _kind(trigger: Description, of_detector: bool) -> str | None:
    source, target = (_text(trigger.facts.get(name)) for name in ("source_class", "target_class"))
    if of_detector and trigger.kind in (None, "polygon") and None not in (source, target) and source != target:
        return MISCLASSIFICATION  # the only kind that turns one class into another
    return trigger.kind


def _count(said: str | None, described: int) -> int | None:
    if said is not None and said.isascii() and said.isdigit() and len(said) < 10:
        return int(said)
    return described or None


def _lower(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {str(name).lower(): value for name, value in values.items()}


def _first(sources: tuple[Mapping[str, Any], ...], keys: tuple[str, ...]) -> str | None:
    """The first of ``keys`` that has a value, each asked of all ``sources`` before the next."""
    texts = (_text(_at(source, key)) for key in keys for source in sources)
    return next((text for text in texts if text is not None), None)


def _at(source: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted name: as it stands there (METADATA.csv), or in groups (config.json)."""
    node: Any = source
    for part in [key] if key in source else key.split("."):
        node = _lower(node).get(part) if isinstance(node, Mapping) else None
    return node


def _text(value: Any) -> str | None:
    """``value`` as one spelling, whether it came from JSON or CSV (``3``, ``"3.0"``); None for nothing."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return "none"  # R4 writes so where it means that there is none
    if says_nothing(value) or isinstance(value, (Mapping, list)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = _TASK_PREFIX.sub("", shown(value).strip(), count=1) if isinstance(value, str) else shown(value)
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
