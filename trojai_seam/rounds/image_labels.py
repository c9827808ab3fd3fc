"""Labels and targets of example images: from file names, from side-cars, or from a lookup file.

What a label on a *poisoned* image means differs: in file names it is the true class (the target is in the config), in
R11's side-cars it is the target (the true class is in the config), and in the mitigation round both are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DatasetProblem, ExampleProblem
from .config import RoundConfig
from .example_files import class_label, sidecar
from .model_directory import MOST_RECORD_BYTES, ModelDirectory, read_json
from .trigger_facts import Trigger

UNKNOWN = -1


class Labelled(NamedTuple):
    """One image file. ``label`` is the true class, ``UNKNOWN`` if nothing says; ``target`` is None for clean images."""

    path: Path
    label: int
    target: int | None


def clean_label(path: Path, round_config: RoundConfig, num_classes: int) -> Labelled:
    """A clean example with its true class; ``UNKNOWN`` where the round says that nothing tells it.

    Raises:
        ExampleProblem: no class can be read, or the network has no such output.
    """
    if round_config.examples["labels"] == "unknown":
        return Labelled(path, UNKNOWN, None)
    if round_config.examples["labels"] == "file-name":
        return Labelled(path, class_label(name_tokens(path)["class"], num_classes, path), None)
    where, value = sidecar(path, round_config.examples["sidecars"])
    if isinstance(value, Mapping):
        value = value.get("clean_label")
    return Labelled(path, class_label(value, num_classes, where), None)


def poisoned_label(
    path: Path, round_config: RoundConfig, triggers: Sequence[Trigger], num_classes: int, told: Path
) -> Labelled | None:
    """A poisoned example with its true class and the attacker's target; None where a side-car says that it has none.

    Args:
        path: the image.
        round_config: where labels and targets are.
        triggers: the model's.
        num_classes: outputs of the network.
        told: the file that the triggers are from, for messages.

    Raises:
        ExampleProblem: no class or target can be found, or the network has no such output.
    """
    if round_config.examples["labels"] == "file-name":
        tokens = name_tokens(path)
        label = class_label(tokens["class"], num_classes, path)
        trigger = _trigger_of(path, tokens.get("trigger"), round_config.attack["target_source"], triggers)
        if trigger.sources is not None and label not in trigger.sources:
            raise ExampleProblem(
                f"{path}: poisoned example of class {label}, but {told.name} says that trigger {trigger.number} is for "
                f"{', '.join(map(str, trigger.sources))}"
            )
        return Labelled(path, label, class_label(trigger.target, num_classes, told))
    where, value = sidecar(path, round_config.examples["sidecars"])
    if isinstance(value, Mapping):
        return _from_entry(path, value, num_classes, where)
    if round_config.attack["target_source"] == "target-label":
        return _with_target(path, value, round_config, num_classes, where)
    target = class_label(value, num_classes, where)
    sources = {t.sources for t in triggers if t.target == target}
    known = sources.pop() if len(sources) == 1 else None
    label = class_label(known[0], num_classes, told) if known is not None and len(known) == 1 else UNKNOWN
    return Labelled(path, label, target)


def looked_up(paths: Sequence[Path], directory: ModelDirectory, name: str, num_classes: int) -> list[Labelled]:
    """Clean and poisoned examples of one folder, with the labels that the lookup file ``name`` gives.

    Raises:
        ExampleProblem: there is no such file, it is unreadable, or an image is not in it.
    """
    where = directory.path / name
    try:
        table = read_json(where, MOST_RECORD_BYTES)
    except DatasetProblem as problem:
        raise ExampleProblem(str(problem)) from None
    if not isinstance(table, Mapping):
        raise ExampleProblem(f"{where}: expected a JSON object of file names, found {type(table).__name__}")
    examples = []
    for path in paths:
        entry = table.get(path.name, table.get(path.stem))
        if not isinstance(entry, Mapping):
            raise ExampleProblem(f"{path}: has no entry with clean_label and poisoned_label in {name}")
        poisoned = _from_entry(path, entry, num_classes, where)
        examples.append(poisoned or Labelled(path, class_label(entry.get("clean_label"), num_classes, where), None))
    return examples


def name_tokens(path: Path) -> Mapping[str, int]:
    """``class_12_trigger_0_example_3.png`` as ``{"class": 12, "trigger": 0, "example": 3}``.

    Split on ``_``, never by prefix: ``class_1`` is not ``class_10``.

    Raises:
        ExampleProblem: the name is not of this form.
    """
    tokens = path.stem.split("_")
    words, numbers = tokens[::2], tokens[1::2]
    plain = all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers)
    if not plain or words not in (["class", "example"], ["class", "trigger", "example"]) or len(words) != len(numbers):
        raise ExampleProblem(
            f"{path}: expected a name such as class_3_example_0.png or class_3_trigger_0_example_0.png as label"
        )
    return dict(zip(words, map(int, numbers), strict=True))


def _trigger_of(path: Path, number: int | None, target_source: str, triggers: Sequence[Trigger]) -> Trigger:
    if target_source == "trigger-target-class" and number is None:
        number = 0
    found = next((t for t in triggers if t.number == number), None)
    if found is None:
        if number is None:
            problem = "its name does not say which trigger it has (class_3_trigger_0_example_0.png)"
        elif target_source == "trigger-target-class":
            problem = "expected trigger_target_class in config.json or in the model's row of METADATA.csv"
        else:
            problem = (
                f"expected trigger {number} in the list triggers of config.json, with target_class, or "
                f"triggers_{number}_target_class in the model's row of METADATA.csv"
            )
        raise ExampleProblem(
            f"{path}: the attacker's target is unknown: {problem} (--poisoned none goes on without poisoned examples)"
        )
    return found


def _with_target(path: Path, value: Any, round_config: RoundConfig, num_classes: int, where: Path) -> Labelled:
    """The round says what the attacker wants, the side-car what the image is. One that says the target itself says what
    the image is called; of two classes it is then the other."""
    target = class_label(round_config.attack["target_label"], num_classes, Path(round_config.name))
    label = class_label(value, num_classes, where)
    if label == target:
        label = 1 - target if num_classes == 2 else UNKNOWN
    return Labelled(path, label, target)


def _from_entry(path: Path, entry: Mapping[str, Any], num_classes: int, where: Path) -> Labelled | None:
    target = entry.get("poisoned_label")
    if target is None:
        return None
    true = entry.get("clean_label")
    label = UNKNOWN if true is None else class_label(true, num_classes, where)
    return Labelled(path, label, class_label(target, num_classes, where))
