"""A round whose models do several things: each gets the config of what it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trojai_seam.errors import ConfigProblem, DatasetProblem
from trojai_seam.rounds import RoundConfig
from trojai_seam.rounds.model_directory import ModelDirectory, unwrapped
from trojai_seam.rounds.raw_values import flat
from trojai_seam.rounds.variants import variant_of


def document() -> dict:
    return {
        "name": "several-things",
        "aliases": ["st"],
        "title": "A round for tests",
        "source": "https://example.org",
        "preset": "default",
        "detect": {"names": [], "config_keys": ["kind"]},
        "layout": {"clean": ["examples"], "poisoned": []},
        "examples": {"suffixes": [".npy"]},
        "variants": {
            "key": "kind",
            "cases": {
                "small": {
                    "class_paths": ["nets.Small*"],
                    "adapter": "feature-vectors",
                    "task": "classification",
                    "examples": {"sidecars": ["{name}.json"], "features": 3},
                    "attack": {"target_label": 0},
                },
                "large": {
                    "class_paths": ["nets.Large"],
                    "adapter": "feature-vectors",
                    "task": "classification",
                    "examples": {"sidecars": ["{stem}.json"], "features": 300},
                    "attack": {"target_label": 1},
                },
            },
        },
    }


def config() -> RoundConfig:
    return RoundConfig.from_document(document(), "here.json")


def directory(config: dict | None = None, metadata: dict | None = None) -> ModelDirectory:
    made = ModelDirectory(path=Path("id-00000000"), model_id="id-00000000", root=Path("."), metadata=metadata or {})
    made.__dict__["config"] = config or {}
    return made


def test_a_case_takes_the_round_s_keys_and_its_own():
    small = config().cases["small"]
    assert (small.name, small.adapter, small.attack) == ("several-things", "feature-vectors", {"target_label": 0})
    assert small.examples == {"suffixes": [".npy"], "sidecars": ["{name}.json"], "features": 3}
    assert small.cases == {"": small}


def test_a_case_may_have_a_preset_of_its_own():
    changed = document()
    changed["variants"]["cases"]["large"] |= {"preset": "finetune", "preset_one_example": "no-op"}
    one = RoundConfig.from_document(changed, "here.json")
    assert [one.preset_for(9, case) for case in (None, "small", "large")] == ["default", "default", "finetune"]
    assert (one.preset_for(1, "large"), one.preset_for(1, "small")) == ("no-op", "default")
    assert one.presets == ("default", "finetune", "no-op")
    assert [case.case for case in one.cases.values()] == ["small", "large"]


def test_the_config_then_the_table_then_the_class_decide():
    assert variant_of(config(), directory({"kind": "large"}), "nets.Large").examples["features"] == 300
    assert variant_of(config(), directory({}, {"kind": "large"}), "user.Own").examples["features"] == 300
    assert variant_of(config(), directory(), "nets.SmallOne").examples["features"] == 3
    plain = config().cases["small"]
    assert variant_of(plain, directory({"kind": "large"}), "nets.Large") is plain


@pytest.mark.parametrize(
    ("kind", "class_path", "says"),
    [
        ({}, "collections.OrderedDict", "no kind in its config.json"),
        ({"kind": "medium"}, "nets.Small", "'medium'; several-things has small, large"),
        ({"kind": 3}, "nets.Small", "kind is 3"),
        ({"kind": ["small"]}, "nets.Small", "kind is"),
        ({"kind": "small"}, "nets.Large", "kind is small, but model.pt is a nets.Large, for large"),
    ],
)
def test_what_cannot_be_told_or_is_contradicted_is_one_clear_line(kind, class_path, says):
    with pytest.raises(DatasetProblem, match=says) as caught:
        variant_of(config(), directory(kind), class_path)
    assert str(caught.value).startswith("id-00000000: ")


def test_findings_name_the_case():
    wrong = document()
    wrong["variants"]["cases"]["large"]["examples"]["features"] = 0
    del wrong["variants"]["cases"]["small"]["examples"]["sidecars"]
    with pytest.raises(ConfigProblem) as caught:
        RoundConfig.from_document(wrong, "here.json")
    assert "variants.cases.large: examples.features" in str(caught.value)
    assert "variants.cases.small: examples" in str(caught.value)


@pytest.mark.parametrize("key", ["adapter", "task"])
def test_a_round_has_variants_or_an_adapter_of_its_own(key):
    both = document()
    both[key] = "classification"
    with pytest.raises(ConfigProblem):
        RoundConfig.from_document(both, "here.json")


def test_round_set_reaches_the_variants():
    changed = config().with_options({"examples.features": "7", "examples.suffixes": '[".txt"]'})
    assert [case.examples["features"] for case in changed.cases.values()] == [7, 7]
    assert changed.cases["large"].examples["suffixes"] == [".txt"]
    with pytest.raises(ConfigProblem):
        config().with_options({"variants": "1", "examples.features": "7"})


def test_a_design_factor_is_the_value_that_was_used():
    factor = {"py/object": "dex.Factor", "levels": [False, True], "jitter": None, "level": True, "value": False}
    inside = {"py/object": "dex.Factor", "value": {"py/object": "x.Executor", "text": "a b", "deep": factor}}
    document = {"py/object": "round_config.RoundConfig", "py/state": {"poisoned": factor, "executor": inside}}
    assert unwrapped(json.loads(json.dumps(document))) == {
        "poisoned": False,
        "executor": {"text": "a b", "deep": False},
    }


def test_a_dotted_key_goes_down_where_no_flat_one_is():
    source = {"a.b": 1, "a": {"b": 2, "c": [{"d": 3}]}}
    assert flat(source) == {"a.b": 1, "a.c": [{"d": 3}], "a.c.0.d": 3}
