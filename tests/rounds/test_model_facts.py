"""NIST's spellings of one fact end in one column, whichever round wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trojai_seam.errors import DatasetProblem
from trojai_seam.rounds import ModelDirectory, get_round
from trojai_seam.rounds.model_facts import flat, model_facts, readable_facts

R2 = {"MODEL_ARCHITECTURE": "vgg11bn", "TRIGGER_TYPE": "instagram", "TRIGGER_TYPE_OPTION": "KelvinFilterXForm",
      "BACKGROUND_IMAGE_DATASET": "kitti_road", "NUMBER_CLASSES": 7}  # fmt: skip
R4_TRIGGER = {"py/object": "trigger_config.TriggerConfig", "type_level": 0, "type": "polygon",
              "polygon_side_count": 4, "condition": "spatial", "instagram_filter_type": None}  # fmt: skip
R4 = {"py/object": "round_config.RoundConfig", "model_architecture": "resnet18", "adversarial_training_method": "PGD",
      "background_image_dataset": "cityscapes", "number_triggers": 2, "trigger_organization": "one2two",
      "triggers": [R4_TRIGGER, {**R4_TRIGGER, "type": "instagram", "polygon_side_count": None, "condition": "None",
                                "instagram_filter_type": "LomoFilterXForm"}]}  # fmt: skip
R11 = {"py/object": "round_config.RoundConfig", "py/state": {
    "model_architecture": "classification:resnet50", "source_dataset": "gtsrb", "adversarial_training_method": None,
    "triggers": [{"py/object": "x", "py/state": {"type": "NashvilleFilterXForm", "condition": "class"}}]}}  # fmt: skip
TEXT = {"model_architecture": "GruLinear", "embedding": "GPT-2", "embedding_flavor": "gpt2", "source_dataset": "imdb",
        "adversarial_training_method": "None", "triggers": [{"type": "phrase", "condition": "None"}]}  # fmt: skip
FACTOR = {"embedding": {"py/object": "dex.Factor", "levels": ["BERT", "GPT-2"], "jitter": None, "value": "BERT"}}


def directory(tmp_path: Path, config: dict | None, truth: str = "1", metadata: dict | None = None) -> ModelDirectory:
    path = tmp_path / "id-00000000"
    path.mkdir()
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    (path / "ground_truth.csv").write_text(truth)
    return ModelDirectory(path, path.name, tmp_path, metadata or {})


@pytest.mark.parametrize(
    ("alias", "config", "wanted"),
    [
        ("r2", R2, {"model_architecture": "vgg11bn", "trigger_type": "instagram", "source_dataset": "kitti_road",
                    "trigger_option": "KelvinFilterXForm"}),
        ("r4", R4, {"model_architecture": "resnet18", "adversarial_training": "PGD", "source_dataset": "cityscapes",
                    "trigger_type": "instagram and polygon", "trigger_option": "4 and LomoFilterXForm",
                    "trigger_condition": "none and spatial", "trigger_count": 2, "trigger_organization": "one2two"}),
        ("r11", R11, {"model_architecture": "resnet50", "source_dataset": "gtsrb", "trigger_type": "instagram",
                      "trigger_condition": "class", "trigger_count": 1}),
        ("r4", TEXT, {"model_architecture": "GruLinear", "embedding": "GPT-2", "embedding_flavor": "gpt2",
                      "source_dataset": "imdb", "adversarial_training": "none", "trigger_type": "phrase",
                      "trigger_condition": "none", "trigger_count": 1}),
        ("r4", FACTOR, {"embedding": "BERT"}),
    ],
)  # fmt: skip
def test_every_spelling_of_a_fact_ends_in_its_column(tmp_path, alias, config, wanted):
    facts = model_facts(directory(tmp_path, config), get_round(alias))
    facts.pop("nist_config"), facts.pop("nist_metadata")
    assert facts == wanted


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


def test_a_broken_config_hides_nothing_but_itself(tmp_path):
    broken = directory(tmp_path, None)
    (broken.path / "config.json").write_text("no JSON")
    with pytest.raises(DatasetProblem):
        model_facts(broken, get_round("r4"))
    assert readable_facts(broken, get_round("r4")) == {"poisoned": True}


def test_hostile_configs_stay_small(tmp_path):
    deep: dict = {}
    for _ in range(50):
        deep = {"x": deep}
    config = {"deep": deep, "long": "y" * 10_000, "many": {str(n): n for n in range(10_000)}, "list": list(range(99))}
    facts = model_facts(directory(tmp_path, config), get_round("r4"))
    assert len(facts["nist_config"]) <= 30_000
    values = flat(config)
    assert len(values) <= 400
    assert len(values["long"]) == 200
    assert max(map(len, values)) < 700
