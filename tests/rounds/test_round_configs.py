"""Round configs are data: every shipped one fits the schema, and a wrong one is refused with all findings at once."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from trojai_seam.errors import ConfigProblem, DatasetProblem, UsageProblem
from trojai_seam.registry import Registry
from trojai_seam.rounds import RoundConfig, detect_round, get_round, list_rounds
from trojai_seam.rounds.adapter_keys import PLACES, SUFFIXES, AdapterKeys, Group, assembled, declared, labels
from trojai_seam.rounds.adapters import ADAPTERS
from trojai_seam.rounds.config import config_folder, load_config
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.tasks.task import TASKS
from trojai_seam.unlearning import preset_names, resolve

CHECKOUT = Path(__file__).resolve().parents[2] / "round_configs"
SHIPPED = sorted(path for path in CHECKOUT.glob("*.json") if path.name != "schema.json")


def pdf_document() -> dict:
    return json.loads((CHECKOUT / "cyber-pdf-dec2022.json").read_text())


def test_that_the_number_of_rounds_is_known():
    # Raise it with every config that is added: a file that the package does not find would go unnoticed else.
    assert len(SHIPPED) >= 2
    assert {"cyber-pdf-dec2022", "cyber-apk-nov2023"} <= {path.stem for path in SHIPPED}
    assert [r.name for r in list_rounds()] == [path.stem for path in SHIPPED]
    assert config_folder().resolve() == CHECKOUT


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_config_loads_and_names_only_what_exists(path):
    config = load_config(path)
    assert config.name == path.stem
    for case in config.cases.values():
        assert case.adapter in ADAPTERS
        assert case.task in TASKS
    assert config.preset in preset_names()
    assert config.source.startswith("http")
    assert resolve(config.preset).preset == config.preset


def test_the_schema_is_what_adapters_declare():
    """If not: ``python -m trojai_seam.rounds.adapter_keys``."""
    shipped = json.loads((CHECKOUT / "schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(shipped)
    assert assembled(shipped, declared()) == shipped


def test_a_key_that_an_adapter_declares_is_its_own():
    shipped = json.loads((CHECKOUT / "schema.json").read_text("utf-8"))
    layout, key = Group(PLACES), {"type": "integer", "minimum": 1}
    spectra = AdapterKeys(Group({"suffixes": SUFFIXES, "labels": labels("spoken"), "bands": key}, ("bands",)), layout)
    made = jsonschema.Draft7Validator(assembled(shipped, {**declared(), "spectra": spectra}))

    def findings(**changes):
        document = {**pdf_document(), "adapter": "spectra", "examples": {"suffixes": [".npy"], "bands": 3}, **changes}
        document = {key: value for key, value in document.items() if value is not None}
        return sorted(".".join(map(str, error.absolute_path)) for error in made.iter_errors(document))

    plain = {"attack": None, "preprocessing": None}
    assert findings(**plain) == []
    assert findings(**plain, examples={"suffixes": [".npy"]}) == ["examples"]
    assert findings(**plain, examples={"suffixes": [".npy"], "bands": 0, "labels": "sidecar"}) == [
        "examples.bands",
        "examples.labels",
    ]
    assert len(findings(preprocessing=None)) == 1  # an attack of which it reads nothing
    assert "examples" in findings(adapter="feature-vectors")
    other = AdapterKeys(Group({"suffixes": SUFFIXES, "features": key}), layout)
    with pytest.raises(ValueError, match=r"examples\.features means something else to adapter spectra"):
        assembled(shipped, {**declared(), "spectra": other})


def test_names_and_aliases_are_unique_and_found():
    names = [name for r in list_rounds() for name in (r.name, *r.aliases)]
    assert len(names) == len(set(names))
    for r in list_rounds():
        for name in (r.name, *r.aliases):
            assert get_round(name) is r


def test_a_misspelt_round_lists_the_near_ones():
    with pytest.raises(UsageProblem, match="cyber-pdf-dec2022"):
        get_round("cyber-pdf-dec2023")


def test_all_findings_are_reported_at_once():
    document = pdf_document()
    document["colour"] = "blue"
    document["detect"]["config_values"] = {"arch": None}
    document["examples"]["features"] = 0
    document["examples"]["sidecars"] = []
    document["attack"]["target_label"] = -1
    document["aliases"] = ["Not An Alias", "r12", "r12"]
    del document["adapter"]
    with pytest.raises(ConfigProblem) as caught:
        RoundConfig.from_document(document, "here.json")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("here.json: ")
    for word in ("colour", "adapter", "detect.config_values.arch", "examples.features", "examples.sidecars",
                 "attack.target_label", "aliases.0", "aliases"):  # fmt: skip
        assert word in text, word
    assert len(caught.value.findings) >= 8


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("features", 0),
        ("features", 1_000_001),
        ("features", "135"),
        ("features", 1.5),
        ("features", True),
        ("suffixes", ["npy"]),
        ("suffixes", []),
        ("unheard_of", 1),
    ],
)
def test_bounds_and_types(path, value):
    document = pdf_document()
    document["examples"][path] = value
    with pytest.raises(ConfigProblem):
        RoundConfig.from_document(document, "x")


@pytest.mark.parametrize("document", [None, [], "text", 3, {}])
def test_a_document_that_is_no_config(document):
    with pytest.raises(ConfigProblem):
        RoundConfig.from_document(document, "x")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_an_unreadable_file_is_a_config_problem(tmp_path, content):
    path = tmp_path / "round.json"
    path.write_bytes(content)
    with pytest.raises(ConfigProblem, match=r"round\.json"):
        load_config(path)
    with pytest.raises(ConfigProblem, match=r"absent\.json"):
        load_config(tmp_path / "absent.json")


# --round-set ----------------------------------------------------------------------------------------------------------


def test_round_set_changes_a_copy():
    original = get_round("r12")
    changed = original.with_options({"preprocessing.scale_file": "/data/s.npy", "attack.target_label": "1"})
    assert changed.preprocessing["scale_file"] == "/data/s.npy"
    assert changed.attack["target_label"] == 1
    assert original.preprocessing["scale_file"] == "scale_params.npy"
    assert original.attack["target_label"] == 0
    assert original.with_options({}) is original


def test_round_set_takes_json_lists_and_plain_words():
    changed = get_round("r12").with_options({"layout.clean": '["here", "there"]', "title": "a title"})
    assert changed.layout["clean"] == ["here", "there"]
    assert changed.title == "a title"


def test_round_set_can_make_a_group_that_was_absent():
    assert get_round("r16").with_options({"preprocessing.scale_file": "x.npy"}).preprocessing == {"scale_file": "x.npy"}


@pytest.mark.parametrize(
    "options",
    [
        {"nothing": "1"},
        {"examples.nothing": "1"},
        {"examples.features": "many"},
        {"examples.features": "NaN"},
        {"examples.features": "-3"},
        {"attack.target_label": "1.5"},
        {"name.deeper": "1"},
        {"quirks.0": "1"},
        {"preprocessing.scale_file": ""},
        {"": "x"},
        {"..": "x"},
    ],
)
def test_round_set_refuses_what_the_schema_refuses(options):
    with pytest.raises(ConfigProblem, match="--round-set"):
        get_round("r12").with_options(options)


# which round is it? ---------------------------------------------------------------------------------------------------


def directory(path: Path, config: dict | str | None = None) -> ModelDirectory:
    path.mkdir(parents=True)
    if config is not None:
        (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return ModelDirectory(path=path, model_id=path.name, root=path.parent)


PDF_KEYS = {"nn_layers": 3, "nn_activation_function": "tanh"}
APK_KEYS = {"num_layers": 3, "activation_function": "relu", "fc1": 1, "fc2": 2, "fc3": 3}


def test_the_folder_name_settles_it_even_against_the_keys(tmp_path):
    assert detect_round([directory(tmp_path / "cyber-pdf-dec2022-train" / "id-00000001", APK_KEYS)]).name.startswith(
        "cyber-pdf"
    )


@pytest.mark.parametrize(("keys", "name"), [(PDF_KEYS, "cyber-pdf-dec2022"), (APK_KEYS, "cyber-apk-nov2023")])
def test_the_keys_settle_it_without_a_name(tmp_path, keys, name):
    assert detect_round([directory(tmp_path / "id-00000001", keys)]).name == name


def test_one_unreadable_config_does_not_hide_the_others(tmp_path):
    bad = [directory(tmp_path / f"id-0000000{n}", text) for n, text in enumerate(["{", "[]", '{"py/state": [1]}'])]
    deep = directory(tmp_path / "id-00000008", '{"a":' * 3000 + "1" + "}" * 3000)
    assert detect_round([*bad, deep, directory(tmp_path / "id-00000009", PDF_KEYS)]).name == "cyber-pdf-dec2022"


def test_no_round_and_two_rounds_are_refused(tmp_path):
    neither = directory(tmp_path / "a" / "id-00000001", {"nn_layers": 3})
    with pytest.raises(DatasetProblem, match=r"no known round.*--round"):
        detect_round([neither])
    with pytest.raises(DatasetProblem, match="no known round"):
        detect_round([])
    both = directory(tmp_path / "b" / "id-00000001", {**PDF_KEYS, **APK_KEYS})
    with pytest.raises(DatasetProblem, match="cyber-apk-nov2023, cyber-pdf-dec2022") as caught:
        detect_round([both])
    assert "--round" in str(caught.value)
    named = directory(tmp_path / "cyber-pdf" / "cyber-apk" / "id-00000001", {})
    with pytest.raises(DatasetProblem, match="looks like"):
        detect_round([named])


# the registry under all of this ---------------------------------------------------------------------------------------


def test_registry_refuses_a_second_registration_and_an_unknown_name():
    things: Registry[int] = Registry("thing")
    things.add("one", 1)
    things.add("lazy", "math:pi")
    with pytest.raises(ValueError, match="'one' is registered twice"):
        things.add("one", 2)
    assert things.get("lazy") == pytest.approx(3.14159, abs=1e-4)
    assert ("one" in things, list(things), len(things)) == (True, ["one", "lazy"], 2)
    with pytest.raises(UsageProblem, match="no thing called 'zzz'; known: lazy, one"):
        things.get("zzz")
    with pytest.raises(UsageProblem, match="did you mean one"):
        things.get("onne")
