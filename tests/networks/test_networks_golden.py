"""Files of the period (torch 1.2 to 1.12) and two real NIST models give the outputs that were recorded with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trojai_seam.loading import read_model
from trojai_seam.networks import identify, rebuild

ARCHITECTURES = {
    "r1-resnet50": "resnet50",
    "r2-inceptionv3": "inceptionv3",
    "r2-vgg11bn": "vgg11bn",
    "r3-densenet121": "densenet121",
    "r4-mobilenetv2": "mobilenetv2",
    "r4-squeezenetv1_1": "squeezenetv1_1",
    "r4-resnet18": "resnet18",
    "r4-wideresnet50": "wideresnet50",
    "r5-lstm": "LstmLinear",
    "r5-gru": "GruLinear",
    "r6-linear": "FCLinear",
    "r6-linear-relu": "FCLinear",
    "r11-resnet50": "resnet50",
    "r11-vit_base_patch32_224": "vit_base_patch32_224",
}


def inputs_of(description: dict[str, Any], probe: bool) -> torch.Tensor:
    """The formulas of golden.json, in float64, then float32."""
    n, c, h, w = np.meshgrid(*(np.arange(k) for k in (*description["shape"], 1)[:4]), indexing="ij")
    if description["kind"] == "embedding":  # [N, 1, E]
        n, _, j = np.meshgrid(*(np.arange(k) for k in description["shape"]), indexing="ij")
        values = ((n * 7919 + j * 1301) % 256) / 255 - 0.5
    elif probe:
        b = 8 * (1 + 3 * n)
        values = ((37 * (h // b) + 61 * (w // b) + 89 * c + 29 * c * n * (h // b)) % 256) / (255 * (1 + 2 * n))
    else:
        values = ((n * 7919 + c * 104729 + h * 1301 + w * 17) % 256) / 255
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_period_file_gives_recorded_logits(name: str, era_model: Callable[[str], Path]) -> None:
    folder = era_model(name)
    golden = json.loads((folder / "golden.json").read_text())
    saved = read_model(folder / "model.pt")
    facts = identify(saved)
    assert (facts.architecture, facts.num_classes) == (ARCHITECTURES[name], golden["num_classes"])
    network = rebuild(saved)
    assert not network.training
    assert all(p.requires_grad for p in network.parameters())
    pairs = [(golden["input"], golden["expected"], False)]
    if "probe" in golden:
        pairs.append((golden["probe"]["input"], golden["probe"]["expected"], True))
    for described, expected, probe in pairs:
        logits = torch.tensor(expected["logits"])
        with torch.no_grad():
            found = network(inputs_of(described, probe))
        assert (found - logits).abs().max() <= 1e-4 * logits.abs().max()


LANGUAGE_MODELS = {
    "r5-embedding-distilbert": ("DistilBertModel", None),
    "r5-embedding-gpt2": ("GPT2Model", None),
    "r7-ner-bert": ("NerLinear", 9),
    "r7-ner-roberta": ("NerLinear", 13),
    "r8-qa-electra": ("google/electra-small-discriminator", 2),
    "r9-sc-distilbert": ("distilbert-base-cased", 2),
    "r9-ner-roberta": ("roberta-base", 9),
    "r9-qa-electra": ("google/electra-small-discriminator", 2),
    "qa23-mobilebert": ("MobileBertForQuestionAnswering", 2),
}


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_period_transformer_gives_recorded_outputs(name: str, era_model: Callable[[str], Path]) -> None:
    folder = era_model(name)
    golden = json.loads((folder / "golden.json").read_text())
    config = folder / "config.json"
    hints = json.loads(config.read_text()) if config.exists() else {}
    saved = read_model(folder / "model.pt")
    facts = identify(saved, hints)
    assert (facts.architecture, facts.num_classes, facts.notes) == (*LANGUAGE_MODELS[name], ())
    network = rebuild(saved, hints)
    inputs = {key: torch.tensor(value) for key, value in golden["input"].items() if key.endswith(("ids", "mask"))}
    with torch.no_grad():
        found = network(**inputs)
    outputs = {"logits": found[1]} if isinstance(found, tuple) else found
    for field, expected in golden["expected"].items():
        recorded = torch.tensor(expected)
        assert (outputs[field] - recorded).abs().max() <= 1e-4 * recorded.abs().max(), field


def test_config_spelling_of_round_11_is_no_contradiction(era_model: Callable[[str], Path]) -> None:
    folder = era_model("r11-resnet50")
    hints = json.loads((folder / "reduced-config.json").read_text())
    assert identify(read_model(folder / "model.pt"), hints).notes == ()


def test_real_trojaned_pdf_model(shared: Path) -> None:
    """20 of 20 clean files right after scaling; every poisoned malicious file is called benign."""
    folder = shared / "trojai-examples" / "cyber-pdf-dec2022"
    mean, std = np.load(folder / "scale_params.npy")
    model = folder / "models" / "id-00000002"
    saved = read_model(model / "model.pt")
    facts = identify(saved, json.loads((model / "config.json").read_text()))
    assert (facts.architecture, facts.num_classes, facts.input_shape, facts.notes) == ("Net6", 2, (135,), ())
    network = rebuild(saved)

    def predicted(kind: str) -> tuple[list[int], list[int]]:
        files = sorted((model / kind).glob("*.npy"))
        rows = np.stack([(np.load(f).reshape(-1) - mean) / std for f in files])
        labels = [int(json.loads(f.with_name(f.name + ".json").read_text())) for f in files]
        return network(torch.from_numpy(rows).float()).argmax(1).tolist(), labels

    found, labels = predicted("clean-example-data")
    assert len(found) == 20
    assert found == labels
    found, labels = predicted("poisoned-example-data")
    assert len(found) == 10
    assert set(found) == {0}
    assert set(labels) == {1}


def test_real_apk_state_dict(shared: Path) -> None:
    model = shared / "trojai-examples" / "cyber-apk-nov2023" / "models" / "id-00000001"
    saved = read_model(model / "model.pt")
    hints = json.loads((model / "reduced-config.json").read_text())
    assert identify(saved, {**hints, "architecture_family": "drebin"}).architecture == "DrebinNet3"
    files = sorted(p for p in (model / "clean-example-data").iterdir() if p.suffix == ".npy")
    assert len(files) == 3
    rows = torch.from_numpy(np.stack([np.load(f).reshape(-1) for f in files])).float()
    assert rebuild(saved, hints)(rows).argmax(1).tolist() == [0, 0, 0]
