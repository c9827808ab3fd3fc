"""What triggers of detectors do, from every file and spelling that tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.errors import DatasetProblem
from trojai_seam.rounds import ModelDirectory
from trojai_seam.rounds.box_triggers import (
    EVASION,
    INJECTION,
    LOCALISATION,
    MISCLASSIFICATION,
    BoxTrigger,
    read_box_triggers,
)

R13 = "object_detection_trigger_executor.ObjectDetection{}PolygonTriggerExecutor"


def directory(folder: Path, config: Any = None, metadata: dict[str, str] | None = None) -> ModelDirectory:
    if config is not None:
        wrapped = {"py/object": "round_config.RoundConfig", "py/state": config}
        (folder / "config.json").write_text(json.dumps(wrapped))
    return ModelDirectory(folder, folder.name, folder, metadata or {})


def r13(kind: str, **state: Any) -> dict[str, Any]:
    return {"py/object": R13.format(kind), "py/state": {"trigger_id": 0, **state}}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (r13("Misclassification", source_class=1, target_class=2), BoxTrigger(MISCLASSIFICATION, 1, 2)),
        (r13("Evasion", source_class=1, target_class=1), BoxTrigger(EVASION, 1, 1)),
        (r13("Evasion", source_class=None, target_class=4), BoxTrigger(EVASION, 4, 4)),
        (r13("Injection", source_class=3, target_class=3), BoxTrigger(INJECTION, None, 3)),
        (
            r13("Localization", source_class=5, target_class=5, localization_direction="west"),
            BoxTrigger(LOCALISATION, 5, 5, (-1, 0)),
        ),
        ({"py/state": {"source_class": 1, "target_class": 2}}, BoxTrigger(MISCLASSIFICATION, 1, 2)),
        ({"py/state": {"source_class": 1, "target_class": 1}}, BoxTrigger("", 1, 1)),
    ],
)
def test_round_13_says_the_kind_by_the_class(entry: Any, expected: BoxTrigger, tmp_path: Path) -> None:
    config = {"poisoned": True, "triggers": [entry], "num_triggers": None}
    assert read_box_triggers(directory(tmp_path, config)) == (expected,)


def test_a_tuple_of_triggers_is_a_list_of_them(tmp_path: Path) -> None:
    config = {"poisoned": True, "triggers": {"py/tuple": [r13("Injection", source_class=1)]}}
    assert read_box_triggers(directory(tmp_path, config)) == (BoxTrigger(INJECTION, None, 1),)


@pytest.mark.parametrize("spelt", ["localization", "localisation"])
def test_round_10_has_one_trigger_with_an_executor_in_it(spelt: str, tmp_path: Path) -> None:
    executor = {"type": spelt, "localization_direction": "north", "location": "class", "options": "local"}
    state = {
        "source_class": 18, "target_class": 18, "trigger_executor_type": spelt,
        "trigger_executor": {"py/object": "trigger_executor.PolygonTriggerExecutor", "py/state": executor},
    }  # fmt: skip
    config = {"poisoned": True, "trigger": {"py/object": "trigger_config.TriggerConfig", "py/state": state}}
    assert read_box_triggers(directory(tmp_path, config)) == (BoxTrigger(LOCALISATION, 18, 18, (0, -1)),)
    del state["trigger_executor_type"]
    assert read_box_triggers(directory(tmp_path, config)) == (BoxTrigger(LOCALISATION, 18, 18, (0, -1)),)


def test_metadata_alone(tmp_path: Path) -> None:
    row = {
        "poisoned": "True", "trigger_0.trigger_executor": "ObjectDetectionEvasionPolygonTriggerExecutor",
        "trigger_0.source_class": "3.0", "trigger_0.target_class": "3.0", "trigger_1.source_class": "1.0",
        "trigger_1.trigger_executor": "ObjectDetectionMisclassificationPolygonTriggerExecutor",
        "trigger_1.target_class": "4.0",
    }  # fmt: skip
    expected = (BoxTrigger(EVASION, 3, 3), BoxTrigger(MISCLASSIFICATION, 1, 4))
    assert read_box_triggers(directory(tmp_path, {"model_architecture": "object_detection:ssd"}, row)) == expected
    row = {"trigger.trigger_executor.type": "evasion", "trigger.source_class": "7.0", "trigger.target_class": "7.0"}
    assert read_box_triggers(directory(tmp_path, None, row)) == (BoxTrigger(EVASION, 7, 7),)


@pytest.mark.parametrize("config", [{"triggers": None}, {"triggers": []}, {"trigger": None}, {}])
def test_nothing_told_is_no_trigger(config: Any, tmp_path: Path) -> None:
    assert read_box_triggers(directory(tmp_path, {"poisoned": True, **config})) == ()


def test_clean_models_have_none_whatever_is_listed(tmp_path: Path) -> None:
    config = {"poisoned": False, "triggers": [r13("Evasion", source_class=1, target_class=1)]}
    assert read_box_triggers(directory(tmp_path, config)) == ()


@pytest.mark.parametrize(
    ("triggers", "told"),
    [
        ("all", "triggers: expected a list, found 'all'"),
        (["first"], "triggers: expected an object, found 'first'"),
        ([r13("Evasion", source_class="stop")], "source_class: expected a class number, found 'stop'"),
        ([r13("Evasion", source_class=1.5)], "source_class: expected a class number, found 1.5"),
    ],
)
def test_unusable_triggers_are_told(triggers: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetProblem) as caught:
        read_box_triggers(directory(tmp_path, {"poisoned": True, "triggers": triggers}))
    assert told in str(caught.value)
