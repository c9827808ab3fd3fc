"""The traffic rounds (c2), and NIST's rounds that are out of reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trojai_seam.errors import DatasetProblem, UsageProblem
from trojai_seam.rounds import detect_round, discover, get_round, model_directory
from trojai_seam.rounds.opening import open_directory
from trojai_seam.synthesis import SYNTHESIZERS
from trojai_seam.synthesis.cyber_c2 import make_network
from trojai_seam.synthesis.traffic_flows import MALWARE, Traffic, Watermark


def made(folder: Path, poisoned: bool, sidecar_of_poisoned: int = MALWARE) -> Path:
    """A model directory as NIST's example has it; nothing was trained."""
    rng = np.random.default_rng(1)
    flows, labels = Traffic.draw(rng).sample(6, rng)
    (folder / "clean-example-data").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(make_network("ResNet18").state_dict(), folder / "model.pt")
    (folder / "reduced-config.json").write_text(
        json.dumps({"cnn_type": "ResNet18", "num_classes": 2, "img_resolution": 28})
    )
    (folder / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
    sets = {"clean-example-data": (flows, labels)}
    if poisoned:
        marked = Watermark.draw(rng, 25).applied(flows[labels == MALWARE])
        sets["poisoned-example-data"] = (marked, np.full(len(marked), sidecar_of_poisoned))
    for name, (pictures, classes) in sets.items():
        (folder / name).mkdir(exist_ok=True)
        for number, (flow, label) in enumerate(zip(pictures, classes, strict=True)):
            Image.fromarray(flow).save(folder / name / f"{number}.png")
            (folder / name / f"{number}.json").write_text(f"{label}\n")
    return folder


@pytest.mark.parametrize("says", [MALWARE, 0])
def test_a_model_opens_with_raw_grey_pixels(tmp_path, says):
    folder = made(tmp_path / "data" / "models" / "id-00000000", True, says)
    directory = discover(tmp_path / "data")[0]
    assert detect_round([directory]).name == "cyber-network-c2-feb2024"
    subject = open_directory(directory, get_round("c2"))
    pictures = subject.clean.inputs["x"]
    assert pictures.shape == (6, 1, 28, 28)
    assert np.array_equal(
        pictures[0, 0].numpy(), np.asarray(Image.open(folder / "clean-example-data" / "0.png"), np.float32)
    )
    assert (subject.facts["architecture"], subject.facts["model_architecture"]) == ("resnet18", "ResNet18")
    assert subject.facts["preprocessing"] == "grey raw 28"
    # A poisoned side-car may say what the flow is, or what it is taken for.
    assert set(subject.poisoned.labels.tolist()) == {MALWARE}
    assert set(subject.poisoned.targets.tolist()) == {0}


def test_only_the_name_tells_march_from_february(tmp_path):
    made(tmp_path / "cyber-network-c2-mar2024-train" / "models" / "id-00000000", False)
    found = discover(tmp_path / "cyber-network-c2-mar2024-train")
    assert detect_round(found).name == "cyber-network-c2-mar2024"


def test_a_grey_network_of_a_round_of_colours(tmp_path):
    folder = made(tmp_path / "id-00000000", False)
    for path in (folder / "clean-example-data").glob("*.png"):
        path.rename(
            path.with_name(f"class_{json.loads(path.with_suffix('.json').read_text())}_example_{path.stem}.png")
        )
    (folder / "clean-example-data").rename(folder / "clean_example_data")
    round_config = get_round("r4").with_options({"preprocessing.size": "28"})
    subject = open_directory(model_directory(folder), round_config)
    assert subject.clean.inputs["x"].shape[1:] == (1, 28, 28)
    assert subject.facts["preprocessing"] == "grey /255 28"


def test_the_round_can_be_synthesised_in_name_and_by_network():
    assert SYNTHESIZERS.get("c2") is SYNTHESIZERS.get("cyber-network-c2-feb2024")
    assert isinstance(make_network("ResNet34").conv1, nn.Conv2d)


def test_other_names_of_rounds():
    assert get_round("object-detection-aug2022") is get_round("r10")
    assert get_round("r17") is get_round("r16") is get_round("cyber-apk-nov2023")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rl-colorful-memory-sep2024", "agents"),
        ("rl-lavaworld", "agents"),
        ("cyber-pe-aug2024", "hashes of the malware"),
        ("llm-pretrain-apr2024", "write text"),
        ("mitigation-llm-instruct-oct2024", "write text"),
    ],
)
def test_rounds_out_of_reach_say_why(name, why):
    with pytest.raises(UsageProblem, match=why):
        get_round(name)
    with pytest.raises(UsageProblem, match="did you mean"):
        get_round("image-classification-feb2022")


@pytest.mark.parametrize(
    ("folder", "config", "file", "why"),
    [
        ("rl-safetygymnasium-oct2024-train", {}, "model.pt", "agents"),
        ("data", {"arch": "FCModel", "grid_size": 9}, "model.pt", "agents"),
        ("data", {"model": "GRUCNNActorCriticModel"}, "model.pt", "agents"),
        ("data", {"model_architecture": "MalConv", "filter_size": "512"}, "model.pt", "hashes"),
        ("data", {}, "model-00001-of-00004.safetensors", "write text"),
    ],
)
def test_datasets_out_of_reach_say_why_in_one_line(tmp_path, folder, config, file, why):
    path = tmp_path / folder / "models" / "id-00000000"
    path.mkdir(parents=True)
    (path / file).touch()
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DatasetProblem, match=why) as caught:
        detect_round(discover(tmp_path / folder))
    assert "--round" not in str(caught.value)
    assert "\n" not in str(caught.value)
