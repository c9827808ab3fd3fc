"""NIST's spellings of one fact end in one column, whichever round wrote them, and whether a model opens or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.errors import DatasetProblem
from trojai_seam.rounds import ModelDirectory, get_round
from trojai_seam.rounds.model_facts import model_facts, readable_facts
from trojai_seam.rounds.raw_values import flat
from trojai_seam.rounds.trigger_descriptions import Description
from trojai_seam.tasks.details import ATTACKS

R2 = {"MODEL_ARCHITECTURE": "vgg11bn", "TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "KelvinFilterXForm",
      "BACKGROUND_IMAGE_DATASET": "kitti_road", "NUMBER_CLASSES": 7}  # fmt: skip
R4_TRIGGER = {"py/object": "trigger_config.TriggerConfig", "type_level": 0, "type": "polygon",
              "polygon_side_count": 4, "condition": "spatial", "instagram_filter_type": None}  # fmt: skip
R4 = {"py/object": "round_config.RoundConfig", "model_architecture": "resnet18", "adversarial_training_method": "PGD",
      "background_image_dataset": "cityscapes", "number_triggers": 2, "trigger_organization": "one2two",
      "triggers": [R4_TRIGGER, {**R4_TRIGGER, "type": "instagram", "polygon_side_count": None, "condition": "None",
                                "instagram_filter_type": "LomoFilterXForm"}]}  # fmt: skip


def executor(name: str, **state: Any) -> dict[str, Any]:
    return {"py/object": f"trigger_executor.{name}TriggerExecutor", "py/state": state}


def of_r11(*triggers: dict[str, Any], **values: Any) -> dict[str, Any]:
    state = {"model_architecture": "classification:resnet50", "source_dataset": "gtsrb", "triggers": list(triggers)}
    return {"py/object": "round_config.RoundConfig", "py/state": {**state, **values}}


FILTER = executor("Instagram", source_class=1, target_class=2, type="NashvilleFilterXForm")
SIDES = executor("ClassificationPolygon", trigger_polygon_side_count=4, trigger_color=[0, 9, 0], options="spatial")
TEXT = {"model_architecture": "GruLinear", "embedding": "GPT-2", "embedding_flavor": "gpt2", "source_dataset": "imdb",
        "adversarial_training_method": "None", "triggers": [{"type": "phrase", "condition": "None"}]}  # fmt: skip
FACTOR = {"embedding": {"py/object": "dex.Factor", "levels": ["BERT", "GPT-2"], "jitter": None, "value": "BERT"}}
R7 = {"model_architecture": "NerLinear", "number_triggers": 1, "triggers": [
    {"trigger_executor_name": "adjective",
     "trigger_executor": {"py/object": "trigger_executor.AdjectiveTriggerExecutor"}}]}  # fmt: skip
R9 = {"model_architecture": "roberta-base", "source_dataset": "qa:squad_v2", "trigger": {
    "py/object": "trigger_config.TriggerConfig", "trigger_executor_option": "qa:context_spatial_empty",
    "trigger_executor": {"py/object": "trigger_executor.QAPhraseTriggerExecutor",
                         "executor_option": "spatial"}}}  # fmt: skip
R10 = {"model_architecture": "ssd", "trigger": {"py/object": "x", "py/state": {
    "trigger_executor_type": "evasion", "trigger_executor_option": "local",
    "trigger_executor": {"py/object": "trigger_executor.PolygonTriggerExecutor",
                         "py/state": {"color": [1, 2, 3], "type": "evasion", "options": "local"}}}}}  # fmt: skip


def directory(tmp_path: Path, config: Any, truth: str = "1", metadata: dict | None = None) -> ModelDirectory:
    path = tmp_path / "id-00000000"
    path.mkdir()
    if config is not None:
        (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (path / "ground_truth.csv").write_text(truth)
    return ModelDirectory(path, path.name, tmp_path, metadata or {})


def columns(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if not name.startswith("nist_") and name != "architecture"}


@pytest.mark.parametrize(
    ("alias", "config", "wanted"),
    [
        ("r2", R2, {"model_architecture": "vgg11bn", "trigger_type": "instagram", "source_dataset": "kitti_road",
                    "trigger_option": "KelvinFilterXForm", "trigger_count": 1}),
        ("r4", R4, {"model_architecture": "resnet18", "adversarial_training": "PGD", "source_dataset": "cityscapes",
                    "trigger_type": "instagram and polygon", "trigger_option": "4 and LomoFilterXForm",
                    "trigger_condition": "none and spatial", "trigger_count": 2, "trigger_organization": "one2two"}),
        ("r11", of_r11(FILTER), {"model_architecture": "resnet50", "source_dataset": "gtsrb", "trigger_count": 1,
                                 "trigger_type": "instagram", "trigger_option": "NashvilleFilterXForm"}),
        ("r11", of_r11(FILTER, SIDES, num_triggers=2),
         {"model_architecture": "resnet50", "source_dataset": "gtsrb", "trigger_type": "instagram and polygon",
          "trigger_option": "4 and NashvilleFilterXForm", "trigger_condition": "spatial", "trigger_count": 2}),
        ("r4", TEXT, {"model_architecture": "GruLinear", "embedding": "GPT-2", "embedding_flavor": "gpt2",
                      "source_dataset": "imdb", "adversarial_training": "none", "trigger_type": "phrase",
                      "trigger_condition": "none", "trigger_count": 1}),
        ("r7", R7, {"model_architecture": "NerLinear", "trigger_type": "word1", "trigger_count": 1}),
        ("r9", R9, {"model_architecture": "roberta-base", "source_dataset": "squad_v2", "trigger_type": "phrase",
                    "trigger_option": "context_spatial_empty", "trigger_condition": "spatial", "trigger_count": 1}),
        ("r10", R10, {"model_architecture": "ssd", "trigger_type": "evasion", "trigger_option": "local",
                      "trigger_count": 1}),
        ("r4", FACTOR, {"embedding": "BERT"}),
    ],
)  # fmt: skip
def test_every_spelling_of_a_fact_ends_in_its_column(tmp_path, alias, config, wanted):
    found = directory(tmp_path, config)
    assert columns(model_facts(found, get_round(alias))) == wanted
    assert columns(readable_facts(found, get_round(alias))) == {"poisoned": True, **wanted}


# METADATA.csv as the rounds have it, with the same columns and forms of values (all of them are texts there).
BY_METADATA = [
    ("r0", {"triggered_classes": "[0 1 2]", "trigger_color": "[200 0 0]", "trigger_target_class": "3"}, "polygon", 1),
    ("r3", {"trigger_type": "instagram", "instagram_filter_type": "LomoFilterXForm", "polygon_side_count": "None",
            "trigger_target_class": "1"}, "instagram", 1),
    ("r5", {"number_triggers": "2", "triggers_0_type": "word", "triggers_0_condition": "None",
            "triggers_1_type": "character", "triggers_1_condition": "class"}, "character and word", 2),
    ("r5", {"number_triggers": "1", "triggers_0_type": "word", "triggers_0_condition": "None",
            "triggers_1_type": "None", "triggers_1_condition": "None"}, "word", 1),
    ("r8", {"trigger_option": "both_empty", "trigger_type": "PhraseTriggerExecutor"}, "phrase", 1),
    ("r9", {"trigger.trigger_executor_option": "ner:global", "trigger.fraction": "0.2",
            "trigger.trigger_executor.type": "NerWordTriggerExecutor"}, "word", 1),
    ("r10", {"trigger.trigger_executor.type": "misclassification", "trigger.trigger_executor_option": "global"},
     "misclassification", 1),
    ("r11", {"num_triggers": "2", "trigger_0.type": "LomoFilterXForm", "trigger_1.trigger_color": "[0, 200, 0]",
             "trigger_0.trigger_executor": "InstagramTriggerExecutor", "trigger_1.type": "", "trigger_2.type": "",
             "trigger_1.trigger_executor": "ClassificationPolygonTriggerExecutor"}, "instagram and polygon", 2),
    ("r13", {"num_triggers": "1", "trigger_0.localization_direction": "north",
             "trigger_0.trigger_executor": "ObjectDetectionLocalizationPolygonTriggerExecutor"}, "localisation", 1),
    ("r13", {"trigger_0.trigger_color": "[9, 9, 9]", "trigger_0.source_class": "3", "trigger_0.target_class": "4"},
     "misclassification", 1),
    ("r12", {"attack_strategy": "min_population_new", "trigger_size": "26", "poison_size": "1.0"},
     "min_population_new", None),
]  # fmt: skip


@pytest.mark.parametrize(("alias", "metadata", "kind", "count"), BY_METADATA)
def test_metadata_alone_says_the_same(tmp_path, alias, metadata, kind, count):
    facts = model_facts(directory(tmp_path, None, metadata=metadata), get_round(alias))
    assert facts["trigger_type"] == kind
    assert facts.get("trigger_count") == count


def test_config_and_metadata_of_one_trigger_agree(tmp_path):
    row = {"num_triggers": "2", "trigger_0.trigger_executor": "InstagramTriggerExecutor",
           "trigger_0.type": "NashvilleFilterXForm", "trigger_0.options": "", "trigger_1.options": "spatial",
           "trigger_1.trigger_executor": "ClassificationPolygonTriggerExecutor",
           "trigger_1.trigger_polygon_side_count": "4.0"}  # fmt: skip
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    of_config = model_facts(directory(tmp_path / "a", of_r11(FILTER, SIDES, num_triggers=2)), get_round("r11"))
    of_table = model_facts(directory(tmp_path / "b", None, metadata=row), get_round("r11"))
    assert of_table["trigger_type"] == "instagram and polygon"
    for name in ("trigger_type", "trigger_option", "trigger_condition", "trigger_count"):
        assert of_table[name] == of_config[name], name


@pytest.mark.parametrize(
    ("facts", "kind", "condition"),
    [
        ({"class": "some_module.ObjectDetectionInjectionPolygonTriggerExecutor"}, ATTACKS[2], None),
        ({"class": "x.PolygonTriggerExecutor", "trigger_executor_type": "localization"}, ATTACKS[3], None),
        ({"trigger_executor_name": "word", "class": "trigger_executor.WordTriggerExecutor"}, "word2", None),
        ({"class": "trigger_executor.ScWordTriggerExecutor", "executor_option_name": "spatial_class"}, "word",
         "class and spatial"),
        ({"type": "a.new.Thing", "condition": None}, "Thing", "none"),
        ({"type": "version 1.5", "condition": "spectral"}, "version 1.5", "spectral"),
        ({"py/id": 7}, None, None),
    ],
)  # fmt: skip
def test_kinds_and_conditions_of_single_triggers(facts, kind, condition):
    assert (Description(facts).kind, Description(facts).condition) == (kind, condition)


def test_metadata_says_what_the_config_does_not(tmp_path):
    metadata = {"model_architecture": "densenet121", "triggers_0_type": "polygon", "triggers_0_condition": "spectral",
                "triggers_1_type": "polygon", "number_triggers": "2.0", "final_train_acc": "99.5"}  # fmt: skip
    facts = model_facts(directory(tmp_path, {"model_architecture": "resnet18"}, metadata=metadata), get_round("r4"))
    assert facts["model_architecture"] == "resnet18"
    assert (facts["trigger_type"], facts["trigger_condition"], facts["trigger_count"]) == ("polygon", "spectral", 2)
    assert json.loads(facts["nist_metadata"])["final_train_acc"] == "99.5"
    assert json.loads(facts["nist_config"]) == {"model_architecture": "resnet18"}


def test_a_clean_model_has_no_trigger_whatever_its_config_lists(tmp_path):
    facts = model_facts(directory(tmp_path, R4, truth="0"), get_round("r4"))
    assert not [name for name in facts if name.startswith("trigger_")]
    assert facts["model_architecture"] == "resnet18"


def test_a_broken_file_hides_nothing_but_itself(tmp_path):
    row = {"poisoned": "True", "model_architecture": "resnet18", "triggers_0_type": "polygon"}
    wanted = {"poisoned": True, "model_architecture": "resnet18", "trigger_type": "polygon", "trigger_count": 1}
    broken = directory(tmp_path, "no JSON", metadata=row)
    with pytest.raises(DatasetProblem):
        model_facts(broken, get_round("r4"))
    assert columns(readable_facts(broken, get_round("r4"))) == wanted
    (tmp_path / "b").mkdir()
    unsaid = directory(tmp_path / "b", None, truth="perhaps", metadata=row)
    assert columns(readable_facts(unsaid, get_round("r4"))) == wanted


def test_files_are_kept_whole(tmp_path):
    config = {f"key_{n}": "y" * 300 for n in range(900)} | {"zz_last_key": float("nan"), "list": list(range(99))}
    metadata = {"Name": "", "Long": "z" * 5000, "none": "none"}
    facts = model_facts(directory(tmp_path, config, metadata=metadata), get_round("r4"))
    kept = json.loads(facts["nist_config"])
    assert kept == {**config, "zz_last_key": None}  # JSON has no NaN
    assert list(kept) == list(config)
    assert json.loads(facts["nist_metadata"]) == metadata


def test_what_is_asked_for_by_dotted_names():
    document = {"a": {"b": {"c": 1}}, "triggers": [{"type": "x", "deep": [[2]]}], "empty": {}}
    assert flat(document) == {
        "a.b.c": 1, "triggers": document["triggers"], "triggers.0.type": "x", "triggers.0.deep": [[2]],
        "triggers.0.deep.0": [2], "empty": {},
    }  # fmt: skip
    deep: dict = {}
    for _ in range(200):
        deep = {"x": deep}
    assert max(len(name) for name in flat(deep)) < 200
