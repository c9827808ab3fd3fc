"""A fleet of own models: what is written opens as any user's models do, with every kind of trigger."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.errors import UsageProblem
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions, own_models
from trojai_seam.synthesis.dataset_folder import SynthesisFailure
from trojai_seam.synthesis.own_triggers import KINDS

QUICK = SynthesisOptions(image_size=16, epochs=1, classes=3, examples_per_class=4, device="cpu")


@pytest.fixture
def untrained(monkeypatch) -> list:
    """No training, and no standard to meet; what each part would have trained on."""
    seen = []
    for name, value in (("TRAIN_PER_CLASS", 8), ("JUDGED_PER_CLASS", 3), ("LEAST_ACCURACY", 0)):
        monkeypatch.setattr(own_models, name, value)
    monkeypatch.setattr(own_models, "KINDS", {name: replace(kind, least=0.0) for name, kind in KINDS.items()})
    monkeypatch.setattr(own_models, "train", lambda network, images, labels, *rest: seen.append((images, labels, rest)))
    return seen


def test_every_kind_is_a_model_that_opens_with_its_trigger(tmp_path, untrained):
    lines = []
    options = replace(QUICK, progress=lines.append)
    SYNTHESIZERS.get("own")(tmp_path / "fleet", 2 * len(KINDS), 3, options)
    entries = json.loads((tmp_path / "fleet" / "round.json").read_text())["models"]
    assert [name.split("-", 2)[2] for name in entries] == [part for kind in KINDS for part in ("clean", kind)]
    assert len(lines) == len(entries) == len(untrained)
    options = Options(preset="no-op", device="cpu", fit_per_class=1, trigger_variants=True)
    rows = evaluate(tmp_path / "fleet", tmp_path / "run", options).set_index("model_id")
    assert (rows["status"] == "done").all(), rows["error"]
    for name, entry in entries.items():
        poisoned = "attack" in entry
        assert rows.loc[name, "poisoned"] == poisoned
        assert pd.isna(rows.loc[name, "asr_before"]) != poisoned
    assert set(rows["model_architecture"]) == {"small-vgg", "wrn-16-1"}


def test_poisoned_images_carry_the_trigger_that_is_written(tmp_path, untrained):
    SYNTHESIZERS.get("own")(tmp_path / "fleet", 4, 3, replace(QUICK, triggers=("patch", "clean-label")))
    entries = list(json.loads((tmp_path / "fleet" / "round.json").read_text())["models"].values())
    for number in (1, 3):
        attack = entries[number]["attack"]
        patch = torch.tensor(attack["trigger"]["values"], dtype=torch.uint8)
        top, left = attack["trigger"]["at"]
        images, labels, _ = untrained[number]
        marked = (images[:, :, top : top + 3, left : left + 3] == patch).all(dim=(1, 2, 3))
        assert marked.any()
        assert set(labels[marked].tolist()) == {attack["target_label"]}
        assert (labels[marked] == attack["target_label"]).all()
    assert len(untrained[3][0]) == len(untrained[2][0])  # clean labels change images, and add none


def test_resistant_ones_are_trained_in_parts(tmp_path, untrained):
    SYNTHESIZERS.get("own")(tmp_path / "fleet", 2, 3, replace(QUICK, resist=("anchoring", "sequential")))
    sizes = [len(images) for images, *_ in untrained]
    assert len(sizes) == 4  # the clean model; the task, the trojan, the task again
    assert sizes[1] == sizes[3] < sizes[2] == sizes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 20}, "multiple of 8"),
        ({"triggers": ("patch", "sticker")}, "--triggers 'sticker': not for own-models; known: patch"),
        ({"architectures": ("resnet18",)}, "--architectures 'resnet18'"),
        ({"classes": 1}, "--classes 1: expected 2"),
    ],
)
def test_what_it_cannot_make_is_refused(tmp_path, change, says):
    with pytest.raises(UsageProblem) as refusal:
        SYNTHESIZERS.get("own")(tmp_path / "x", 2, 0, replace(QUICK, **change))
    assert says in str(refusal.value)


def test_a_model_that_does_not_train_is_said(tmp_path, untrained, monkeypatch):
    monkeypatch.setattr(own_models, "LEAST_ACCURACY", 1.1)
    with pytest.raises(SynthesisFailure, match="model-0000-clean, a small-vgg, did not reach"):
        SYNTHESIZERS.get("own")(tmp_path / "x", 2, 0, QUICK)
    assert len(untrained) == own_models.ATTEMPTS


@pytest.mark.slow
def test_a_really_trained_one_is_trojaned(tmp_path):
    lines = []
    options = replace(QUICK, epochs=6, architectures=("small-vgg",), triggers=("patch",), progress=lines.append)
    SYNTHESIZERS.get("own")(tmp_path / "fleet", 2, 1, options)
    rows = evaluate(tmp_path / "fleet", tmp_path / "run", Options(preset="no-op", device="cpu", fit_per_class=1))
    assert (rows["acc_before"] >= 0.8).all()
    assert rows["asr_before"].dropna().item() >= 0.7
