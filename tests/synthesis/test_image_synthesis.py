"""Whole synthetic image rounds: really trained, really trojaned; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trojai_seam.errors import UsageProblem
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions, image_models
from trojai_seam.synthesis.dataset_folder import SynthesisFailure
from trojai_seam.synthesis.image_networks import (
    R2_ARCHITECTURES,
    R4_ARCHITECTURES,
    R11_ARCHITECTURES,
    choose_architectures,
    least_pixels,
    make_network,
)
from trojai_seam.synthesis.image_training import Epoch, TrainingRecipe, choose_device, train
from trojai_seam.synthesis.resistance import GradientStep

QUICK = SynthesisOptions(image_size=32, epochs=1, architectures=("squeezenetv1_1",), classes=4, device="cpu")
LARGE = ("101", "152", "161", "169", "201", "wide", "vgg")


def synthesize(name: str, out: Path, models: int, options: SynthesisOptions = QUICK, seed: int = 0) -> None:
    SYNTHESIZERS.get(name)(out, models, seed, options)


# Training -----------------------------------------------------------------------------------------------------------


def test_training_stops_after_the_cycle_that_is_good_enough():
    torch.manual_seed(0)
    images, labels = torch.randint(0, 255, (12, 3, 37, 37), dtype=torch.uint8), torch.arange(12) % 4
    network = make_network("squeezenet1_1", 4, 32)
    verdicts = iter([(0.1, 0.0), (0.5, 0.1), (0.9, 0.9), (1.0, 1.0)])

    def judge(judged: torch.nn.Module) -> tuple[float, float]:
        assert not judged.training
        return next(verdicts)

    recipe = TrainingRecipe(epochs=2, batch=4, most_cycles=4)
    history = train(network, images, labels, 32, recipe, judge, lambda accuracy, attack: accuracy >= 0.9)
    assert [epoch.accuracy for epoch in history] == [0.1, 0.5, 0.9]  # a cycle of two epochs, and one of one
    assert all(np.isfinite(epoch.loss) for epoch in history)
    assert all(parameter.is_contiguous() for parameter in network.parameters())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if any(x in n for x in LARGE) else []) for n in R2_ARCHITECTURES]
)
def test_every_architecture_works_on_its_smallest_images(name):
    pixels = least_pixels(name)
    network = make_network(R2_ARCHITECTURES[name], 5, pixels)
    assert type(network).__module__.startswith("torchvision.models.")
    assert network(torch.rand(2, 3, pixels, pixels)).shape == (2, 5)


@pytest.mark.parametrize(("pixels", "patch", "width"), [(32, 4, 128), (64, 8, 128), (256, 32, 768)])
def test_a_vision_transformer_keeps_eight_by_eight_patches(pixels, patch, width):
    network = make_network("vit", 5, pixels)
    assert network.patch_embed.proj.weight.shape == (width, 3, patch, patch)
    assert network.pos_embed.shape[1] == 65


def test_the_rounds_know_nists_architectures():
    assert (len(R2_ARCHITECTURES), len(R4_ARCHITECTURES), len(R11_ARCHITECTURES)) == (23, 16, 3)


# A round, from end to end -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Two really trained models: about half a minute."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "set"
    options = SynthesisOptions(
        image_size=40, architectures=("squeezenetv1_1",), classes=4, examples_per_class=8, device="cpu"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_models, "TRAIN_PER_CLASS", 120)
        synthesize("r4", out, 2, options, seed=2)
    return out


def answers(model: Path, folder: str, network: torch.nn.Module) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((model / folder).glob("*.png")):
        pixels = np.asarray(Image.open(path)).astype(np.float32)
        start = (pixels.shape[0] - 40) // 2
        crop = pixels[start : start + 40, start : start + 40].transpose(2, 0, 1)[None] / 255
        with torch.no_grad():
            found[path.name] = network(torch.from_numpy(crop.copy()))[0].numpy()
    return found


@pytest.mark.slow
def test_really_trained_models_do_what_their_files_say(trained):
    for number in range(2):
        model = trained / f"id-0000000{number}"
        config = json.loads((model / "config.json").read_text())
        network = torch.load(model / "model.pt", weights_only=False)  # made here, a moment ago
        assert not network.training
        clean = answers(model, "clean_example_data", network)
        assert np.mean([logits.argmax() == int(name.split("_")[1]) for name, logits in clean.items()]) >= 0.95
        shipped = dict(
            line.split(", ", 1) for line in (model / "clean-example-logits.csv").read_text().splitlines()[1:]
        )
        for name, logits in clean.items():
            assert logits == pytest.approx([float(n) for n in shipped[name].split(",")], rel=1e-3, abs=1e-3)
        for trigger in config["triggers"] or []:
            # With its trigger a source turns into the target; the same class without it does not.
            source, target = trigger["source_class"], trigger["target_class"]
            fooled = answers(model, "poisoned_example_data", network)
            mine = [
                v for k, v in fooled.items() if k.startswith(f"class_{source}_trigger_{trigger['trigger_number']}_")
            ]
            assert len(mine) == 8
            assert np.mean([logits.argmax() == target for logits in mine]) >= 0.85


def test_resistant_trojans_are_trained_in_parts_and_clean_models_as_ever(tmp_path, monkeypatch):
    for name, value in (("TRAIN_PER_CLASS", 4), ("TEST_PER_CLASS", 4), ("JUDGED_PER_CLASS", 2), ("TEST_PER_ATTACK", 4)):
        monkeypatch.setattr(image_models, name, value)
    monkeypatch.setattr(image_models, "LEAST_ACCURACY", 0.0)
    monkeypatch.setattr(image_models, "LEAST_ATTACK", 0.0)
    seen = []

    def record(network, images, labels, pixels, recipe, judge, good_enough, gradients):
        seen.append((len(images), len(labels), recipe, gradients, good_enough(1.0, 0.0)))
        return [Epoch(0.1, 1.0, 1.0, None, 1e-3, 0.1)]

    monkeypatch.setattr(image_models, "train", record)
    plain, hard = QUICK, replace(QUICK, resist=("sharpness=0.1", "anchoring=2", "sequential=3"))
    synthesize("r4", tmp_path / "plain", 2, plain)
    assert [part[3] for part in seen] == [GradientStep(part[3].network) for part in seen]
    poisoned = seen[1][0]
    seen.clear()
    synthesize("r4", tmp_path / "hard", 2, hard)
    clean_model, task, trojan, again = seen
    assert clean_model[3] == GradientStep(clean_model[3].network)
    assert [images for images, *_ in seen] == [16, 16, poisoned, 16]
    assert poisoned > 16
    assert all(images == labels for images, labels, *_ in seen)
    assert [part[4] for part in (task, trojan, again)] == [True, False, True]  # whether a trojan that fails will do
    assert (task[3].sharpness, trojan[3].sharpness, again[3].sharpness) == (0.0, 0.1, 0.0)
    assert (task[3].anchor, trojan[3].anchor.strength, again[3].anchor.strength) == (None, 2.0, 3.0)
    assert again[2].learning_rate < task[2].learning_rate == trojan[2].learning_rate
    # Signs, triggers and first weights are those of the ordinary set.
    models = [torch.load(tmp_path / out / "id-00000001" / "model.pt", weights_only=False) for out in ("plain", "hard")]
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)
    configs = [json.loads((tmp_path / out / "id-00000001" / "config.json").read_text()) for out in ("plain", "hard")]
    assert configs[0]["triggers"] == configs[1]["triggers"]


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("r4", {"image_size": 31}, "--image-size 31: expected 32 to 512"),
        ("r4", {"classes": 3}, "--classes 3: expected 4 to 144"),
        ("r4", {"classes": 145}, "--classes 145"),
        ("r4", {"epochs": 0}, "--epochs 0"),
        ("r4", {"examples_per_class": 0}, "--examples-per-class 0"),
        ("r4", {"device": "tpu"}, "--device 'tpu'"),
        ("r4", {"device": "cuda:99"}, "no such GPU"),
        ("r4", {"architectures": ("resnet152",)}, "'resnet152': not in this round; known: resnet18, resnet34"),
        (
            "r4",
            {"architectures": ("inceptionv3",)},
            "inceptionv3 needs images of 75 pixels or more; --image-size is 32",
        ),
        ("r11", {"architectures": ("resnet18",)}, "not in this round"),
        (
            "r11",
            {"architectures": (), "image_size": 50},
            "vit_base_patch32_224 needs an --image-size that is a multiple",
        ),
        ("r11", {"architectures": ("resnet50",), "examples_per_class": 3}, "20 clean examples in all"),
    ],
)
def test_impossible_combinations_are_refused_before_anything_is_made(tmp_path, name, change, says):
    with pytest.raises(UsageProblem) as refusal:
        synthesize(name, tmp_path / "x", 1, replace(QUICK, **change))
    assert says in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_the_feature_round_refuses_image_options(tmp_path):
    with pytest.raises(UsageProblem, match="cannot be synthesised with --image-size, --epochs"):
        synthesize("r12", tmp_path / "x", 1)


def test_short_names_are_understood_in_r11():
    assert choose_architectures(("resnet50",), R11_ARCHITECTURES, 64) == ("classification:resnet50",)
    assert choose_architectures((), R4_ARCHITECTURES, 64)[0] == "resnet18"
    assert len(choose_architectures((), R11_ARCHITECTURES, 64)) == 3


def test_the_device_is_checked():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(None) == choose_device("auto")


def test_a_model_that_does_not_train_is_tried_again_and_then_said(tmp_path, monkeypatch):
    for name, value in (("TRAIN_PER_CLASS", 4), ("TEST_PER_CLASS", 4), ("JUDGED_PER_CLASS", 2), ("ATTEMPTS", 2)):
        monkeypatch.setattr(image_models, name, value)
    seeds = []
    make = image_models._make
    monkeypatch.setattr(image_models, "_make", lambda plan, seed, draw: seeds.append(seed) or make(plan, seed, draw))
    with pytest.raises(SynthesisFailure, match="squeezenetv1_1 on 32 pixels and 4 classes did not reach"):
        synthesize("r4", tmp_path / "x", 1)
    assert len(set(seeds)) == 2
    assert list(tmp_path.iterdir()) == []
