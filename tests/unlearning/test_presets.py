"""Published presets must resolve to the published values, field by field; and what can be said of any preset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trojai_seam.errors import ConfigProblem, UsageProblem
from trojai_seam.unlearning import UnlearnConfig, get_preset, preset_names, resolve, resolve_each
from trojai_seam.unlearning.preset_files import Preset


def test_authors_trojai_is_the_authors_trojai_script() -> None:
    config = resolve("authors-trojai")
    forget, recover = config.phases
    assert (config.batch_size, config.trainable, config.batch_norm) == (32, "all", "train")
    assert [(phase.name, phase.kind, phase.labels) for phase in config.phases] == [
        ("forget", "train", "random"),
        ("recover", "train", "true"),
    ]
    assert set(dict(forget.views).values()) == set(dict(recover.views).values()) == {0}
    assert (forget.label_sampling, forget.fresh_labels) == ("uniform", True)
    assert (forget.optimizer, forget.learning_rate, forget.weight_decay) == ("adam", 5e-4, 5e-4)
    assert (forget.beta1, forget.beta2, forget.schedule, forget.examples_per_epoch) == (0.9, 0.999, "constant", None)
    assert (forget.max_epochs, forget.stop.chance_multiple, forget.stop.patience) == (300, 2.0, 10)
    assert (forget.stop.accuracy, forget.stop.chance_margin, forget.stop.consecutive) == (None, None, False)
    assert (recover.optimizer, recover.learning_rate, recover.weight_decay) == ("adam", 5e-4, 5e-5)
    assert (recover.beta1, recover.beta2, recover.schedule, recover.examples_per_epoch) == (0.9, 0.5, "constant", None)
    assert (recover.max_epochs, recover.stop.accuracy, recover.stop.patience) == (300, 0.99, 10)
    assert (recover.stop.decline_after, recover.stop.decline_tolerance) == (50, 1e-3)


def test_the_authors_sentiment_script_differs_in_the_order_alone() -> None:
    images, texts = resolve("authors-trojai"), resolve("authors-trojai-text")
    assert [phase.order for phase in images.phases] == ["shuffled", "shuffled"]
    assert [phase.order for phase in texts.phases] == ["files", "files"]
    as_images = texts.model_copy(
        update={"preset": images.preset, "phases": tuple(phase.changed(order="shuffled") for phase in texts.phases)}
    )
    assert as_images == images


def test_authors_cifar_is_the_authors_cifar_script() -> None:
    forget, recover = resolve("authors-cifar").phases
    assert forget.label_sampling == "wrong-only"
    assert (forget.learning_rate, forget.weight_decay) == (3e-5, 5e-5)
    assert (forget.stop.chance_multiple, forget.stop.patience) == (2.0, 1)
    assert (recover.beta1, recover.beta2) == (0.5, 0.9)
    assert (recover.learning_rate, recover.weight_decay) == (5e-4, 5e-5)
    assert (recover.stop.accuracy, recover.stop.patience) == (0.92, 10)


def test_backdoor_toolbox_is_its_defence() -> None:
    forget, recover = resolve("backdoor-toolbox").phases
    assert forget.label_sampling == "wrong-only"
    assert (forget.learning_rate, recover.learning_rate) == (1e-3, 1e-3)
    assert (forget.weight_decay, recover.weight_decay) == (0.0, 0.0)
    assert (forget.max_epochs, forget.stop.chance_multiple, forget.stop.accuracy) == (10, 2.0, 0.6)
    assert (recover.max_epochs, recover.stop.accuracy, recover.stop.patience) == (100, 0.97, 1)


@pytest.mark.parametrize("name", ["", "images", "text", "detection"])
def test_fine_tuning_is_the_same_recovery_and_nothing_else(name: str) -> None:
    """Else a difference between their rows would not be what forgetting does."""
    whole, tuned = resolve(name or "default"), resolve(f"{name}-finetune".strip("-"))
    assert tuned == whole.changed(preset=tuned.preset, phases=(whole.phase("recover"),))


def test_no_op_has_no_phase() -> None:
    assert resolve("no-op").phases == ()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_is_known_of_it_and_survives_json(name: str) -> None:
    preset = get_preset(name)
    assert preset.settings.preset == preset.name == name
    assert preset.summary
    assert isinstance(preset.chosen, str) or preset.chosen.confirmed
    assert preset.source.repository or preset.chosen != "as published"
    assert UnlearnConfig.from_document(json.loads(json.dumps(preset.settings.as_dict()))) == preset.settings


def test_a_misspelt_preset_lists_near_ones() -> None:
    with pytest.raises(UsageProblem, match="authors-trojai"):
        resolve("author-trojai")


def test_options_change_nested_values_with_their_types() -> None:
    config = resolve(
        "default",
        {"forget.learning_rate": "1e-5", "recover.stop.accuracy": "0.5", "forget.fresh_labels": "false",
         "forget.max_steps": "7", "recover.examples_per_epoch": "none"},
    )  # fmt: skip
    forget, recover = config.phases
    assert (forget.learning_rate, recover.stop.accuracy) == (1e-5, 0.5)
    assert (forget.fresh_labels, forget.max_steps, recover.examples_per_epoch) == (False, 7, None)
    assert forget.weight_decay == resolve("default").phase("forget").weight_decay


def test_an_option_of_no_phase_counts_for_all_that_have_it() -> None:
    config = resolve("images-one-example", {"views.augmentation": "0.7", "count": "9"})
    assert [phase.views.augmentation for phase in config.phases[1:]] == [0.7, 0.7]
    assert config.phase("label").count == 9


def test_an_option_that_only_some_presets_of_a_round_have_is_for_these() -> None:
    some = resolve_each(("images", "images-one-example"), {"label.count": "9", "forget.max_epochs": "2"})
    assert [config.phase("forget").max_epochs for config in some.values()] == [2, 2]
    assert some["images-one-example"].phase("label").count == 9
    with pytest.raises(ConfigProblem, match=r"lable\.count: no such option or phase"):
        resolve_each(("images", "images-one-example"), {"lable.count": "9"})
    with pytest.raises(ConfigProblem, match="method: this option no longer exists"):
        resolve_each(("images", "no-op"), {"method": "seam"})


@pytest.mark.filterwarnings("default::FutureWarning")
@pytest.mark.parametrize(
    ("old", "new"),
    [("forget.draws_per_epoch", "forget.examples_per_epoch"), ("recolouring", "views.color_jitter"),
     ("recover.plain_end", "recover.views.plain_end"), ("feature_noise", "views.noise")],
)  # fmt: skip
def test_old_names_are_understood_with_a_note(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=f"{old} is now called {new}"):
        config = resolve("images", {old: "1"})
    assert config == resolve("images", {new: "1"}) != resolve("images")


def test_wrong_options_are_all_reported_in_one_line() -> None:
    with pytest.raises(ConfigProblem) as caught:
        resolve(
            "default",
            {"forget.lr": "1", "batch_size": "many", "forget": "1", "batch_size.x": "1", "forgot.stop": "1",
             "forget.kind": "refit", "plain_views": "1", "recover.stop.patience": "0"},
        )  # fmt: skip
    text = str(caught.value)
    assert len(caught.value.findings) == 8
    assert "\n" not in text
    assert "learning_rate" in text  # what is known there
    assert "'many'" in text
    assert "did you mean forget?" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", "0"), ("forget.learning_rate", "nan"), ("forget.beta1", "1.0"), ("trainable", "body"),
     ("forget.label_sampling", "all"), ("recover.schedule", "steps"), ("forget.stop.patience", "0")],
)  # fmt: skip
def test_values_out_of_range_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigProblem, match=name.replace(".", r"\.")):
        resolve("default", {name: value})


def document(**changes: object) -> dict[str, object]:
    given = json.loads(Path(__file__).parents[2].joinpath("trojai_seam/unlearning/presets/default.json").read_text())
    return {**given, "name": "mine", **changes}


def test_a_file_of_ones_own_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document()))
    assert resolve(str(path)) == resolve("default").changed(preset="mine")


def test_all_that_is_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    given = document(summary="", licence="MIT")
    del given["chosen"]
    path.write_text(json.dumps(given))
    with pytest.raises(ConfigProblem) as caught:
        Preset.read(path)
    assert sorted(finding.split(":")[0] for finding in caught.value.findings) == ["chosen", "licence", "summary"]
    phases = [{"kind": "train", "name": "forget", "learning_rate": -1}, {"kind": "trian"}, {"kind": "train", "lr": 1}]
    path.write_text(json.dumps(document(settings={"batch_size": 0, "phases": phases}, chosen={"on": "mine"})))
    with pytest.raises(ConfigProblem) as caught:
        Preset.read(path)
    assert str(path) in str(caught.value)
    assert [finding.split(":")[0] for finding in caught.value.findings if "chosen" not in finding] == [
        "settings.batch_size",
        "settings.forget.learning_rate",
        "settings.trian",
        "settings.train.lr",
    ]
    assert "chosen.tried: Field required" in str(caught.value)
    path.write_text(json.dumps(document(name="default")))
    with pytest.raises(ConfigProblem, match="there is a preset default already"):
        resolve(str(path))
    path.write_text("{")
    with pytest.raises(ConfigProblem, match="is no JSON"):
        Preset.read(path)
    with pytest.raises(UsageProblem, match="cannot be read"):
        Preset.read(tmp_path / "none.json")


def test_names_of_phases_are_addresses() -> None:
    twice = [{"kind": "train", "name": "one"}, {"kind": "train", "name": "one"}]
    with pytest.raises(ConfigProblem, match="several phases are called one"):
        UnlearnConfig(phases=twice)
    with pytest.raises(ConfigProblem, match="cannot be called batch_size"):
        UnlearnConfig(phases=[{"kind": "train", "name": "batch_size"}])
    assert UnlearnConfig(phases=[{"kind": "train"}]).phases[0].name == "train"


@pytest.mark.parametrize("name", ["unless_evident", "unless_suspected"])
def test_an_option_of_refit_that_is_gone_says_what_to_use(name):
    with pytest.raises(ConfigProblem, match=r"no longer exists; use forget\.when=unless-evident"):
        resolve("images-refit").with_options({f"forget.{name}": "false"})
