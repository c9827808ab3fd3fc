"""Where NIST's files tell the accuracy on the clean examples, and under which names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trojai_seam.rounds import ModelDirectory, get_round
from trojai_seam.rounds.promised_accuracy import promised_accuracy


def directory(
    folder: Path, metadata: dict[str, Any] | None = None, config: dict[str, Any] | None = None
) -> ModelDirectory:
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return ModelDirectory(path=folder, model_id="id-00000000", root=folder, metadata=metadata or {})


@pytest.mark.parametrize(
    ("metadata", "accuracy"),
    [
        ({"clean_example_acc": "100.0"}, 1.0),  # R3 to R5: percent
        ({"final_example_acc": 99.5}, 0.995),
        ({"example_clean_Accuracy": "0.97"}, 0.97),  # R11: a share
        ({"example_clean_PerClassAccuracy": 0.2, "example_poisoned_Accuracy": 0.1}, None),
        ({"poisoned_example_acc": 98.0}, None),
        ({"test_clean_Accuracy": 0.9}, None),  # of other data
        ({"clean_example_acc": "None"}, None),
        ({"clean_example_acc": "nan"}, None),
        ({"clean_example_acc": -1}, None),
        ({"number_example_images": 20}, None),
    ],
)
def test_names_and_units(metadata: dict[str, Any], accuracy: float | None, tmp_path: Path) -> None:
    found = promised_accuracy(directory(tmp_path, metadata), get_round("r4"))
    assert (None if found is None else found.accuracy) == accuracy
    if found is not None:
        assert "METADATA.csv" in found.source


def test_config_then_the_small_file(tmp_path: Path) -> None:
    (tmp_path / "clean-example-accuracy.csv").write_text("99.0\n")
    assert promised_accuracy(directory(tmp_path), get_round("r4")) == (0.99, "clean-example-accuracy.csv")
    told = promised_accuracy(directory(tmp_path, config={"clean_example_accuracy": 0.5}), get_round("r4"))
    assert told == (0.5, "clean_example_accuracy of the config")
    (tmp_path / "config.json").unlink()
    (tmp_path / "clean-example-accuracy.csv").write_text("no number")
    assert promised_accuracy(directory(tmp_path), get_round("r4")) is None


def test_each_task_has_its_measure(tmp_path: Path) -> None:
    told = {"example_clean_f1": 88.0, "example_clean_map": 0.4, "clean_example_acc": 0.9}
    here = directory(tmp_path, told)
    assert promised_accuracy(here, get_round("nlp-question-answering-sep2021")).accuracy == 0.88  # type: ignore[union-attr]
    assert promised_accuracy(here, get_round("object-detection-feb2023")).accuracy == 0.4  # type: ignore[union-attr]
    assert promised_accuracy(here, get_round("r4")).accuracy == 0.9  # type: ignore[union-attr]


def test_a_round_may_know_better(tmp_path: Path) -> None:
    own = get_round("r4").with_options({"promised_accuracy": "0.76"})
    found = promised_accuracy(directory(tmp_path, {"clean_example_acc": 100.0}), own)
    assert found is not None
    assert found.accuracy == 0.76
