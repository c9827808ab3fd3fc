"""Published presets must resolve to the published values, field by field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trojai_seam.errors import ConfigProblem, UsageProblem
from trojai_seam.unlearning import PRESETS, resolve


def test_authors_trojai_is_the_authors_trojai_script() -> None:
    config = resolve("authors-trojai")
    forget, recover = config.forget, config.recover
    assert (config.method, config.batch_size, config.trainable, config.batch_norm) == ("seam", 32, "all", "train")
    assert config.feature_noise == 0
    assert (forget.label_sampling, forget.fresh_labels) == ("uniform", True)
    assert (forget.optimizer, forget.learning_rate, forget.weight_decay) == ("adam", 5e-4, 5e-4)
    assert (forget.beta1, forget.beta2, forget.schedule, forget.draws_per_epoch) == (0.9, 0.999, "constant", None)
    assert (forget.max_epochs, forget.stop.chance_multiple, forget.stop.patience) == (300, 2.0, 10)
    assert (forget.stop.accuracy, forget.stop.chance_margin, forget.stop.consecutive) == (None, None, False)
    assert (recover.optimizer, recover.learning_rate, recover.weight_decay) == ("adam", 5e-4, 5e-5)
    assert (recover.beta1, recover.beta2, recover.schedule, recover.draws_per_epoch) == (0.9, 0.5, "constant", None)
    assert (recover.max_epochs, recover.stop.accuracy, recover.stop.patience) == (300, 0.99, 10)
    assert (recover.stop.decline_after, recover.stop.decline_tolerance) == (50, 1e-3)


def test_authors_cifar_is_the_authors_cifar_script() -> None:
    config = resolve("authors-cifar")
    forget, recover = config.forget, config.recover
    assert forget.label_sampling == "wrong-only"
    assert (forget.learning_rate, forget.weight_decay) == (3e-5, 5e-5)
    assert (forget.stop.chance_multiple, forget.stop.patience) == (2.0, 1)
    assert (recover.beta1, recover.beta2) == (0.5, 0.9)
    assert (recover.learning_rate, recover.weight_decay) == (5e-4, 5e-5)
    assert (recover.stop.accuracy, recover.stop.patience) == (0.92, 10)


def test_backdoor_toolbox_is_its_defence() -> None:
    config = resolve("backdoor-toolbox")
    forget, recover = config.forget, config.recover
    assert forget.label_sampling == "wrong-only"
    assert (forget.learning_rate, recover.learning_rate) == (1e-3, 1e-3)
    assert (forget.weight_decay, recover.weight_decay) == (0.0, 0.0)
    assert (forget.max_epochs, forget.stop.chance_multiple, forget.stop.accuracy) == (10, 2.0, 0.6)
    assert (recover.max_epochs, recover.stop.accuracy, recover.stop.patience) == (100, 0.97, 1)


def test_finetune_only_recovers_and_no_op_does_nothing() -> None:
    assert resolve("finetune").forget.max_epochs == 0
    assert resolve("finetune").recover == resolve("default").recover
    assert (resolve("no-op").forget.max_epochs, resolve("no-op").recover.max_epochs) == (0, 0)


def test_fine_tuning_of_images_differs_from_images_in_nothing_but_forgetting() -> None:
    """Else a difference between their rows would not be what forgetting does."""
    images, finetune = resolve("images"), resolve("images-finetune")
    assert images.forget.max_epochs > 0
    assert replace(images, preset=finetune.preset, forget=finetune.forget) == finetune
    assert finetune.forget.max_epochs == 0


def test_every_preset_passes_its_own_check_and_bears_its_name() -> None:
    assert len(PRESETS) >= 6
    for name in PRESETS:
        PRESETS.get(name).check()
        assert PRESETS.get(name).preset == name


def test_a_misspelt_preset_lists_near_ones() -> None:
    with pytest.raises(UsageProblem, match="authors-trojai"):
        resolve("author-trojai")


def test_options_change_nested_values_with_their_types() -> None:
    config = resolve(
        "default",
        {"forget.learning_rate": "1e-5", "recover.stop.accuracy": "0.5", "forget.fresh_labels": "false",
         "forget.max_steps": "7", "recover.draws_per_epoch": "none"},
    )  # fmt: skip
    assert (config.forget.learning_rate, config.recover.stop.accuracy) == (1e-5, 0.5)
    assert (config.forget.fresh_labels, config.forget.max_steps, config.recover.draws_per_epoch) == (False, 7, None)
    assert config.forget.weight_decay == resolve("default").forget.weight_decay


def test_wrong_options_are_all_reported_in_one_line() -> None:
    with pytest.raises(ConfigProblem) as caught:
        resolve("default", {"forget.lr": "1", "batch_size": "many", "forget": "1", "batch_size.x": "1"})
    text = str(caught.value)
    assert len(caught.value.findings) == 4
    assert "\n" not in text
    assert "learning_rate" in text  # what is known there
    assert "'many'" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", "0"), ("forget.learning_rate", "nan"), ("forget.beta1", "1.0"), ("trainable", "body"),
     ("forget.label_sampling", "all"), ("recover.schedule", "steps"), ("forget.stop.patience", "0")],
)  # fmt: skip
def test_values_out_of_range_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigProblem, match=name.replace(".", r"\.")):
        resolve("default", {name: value})
