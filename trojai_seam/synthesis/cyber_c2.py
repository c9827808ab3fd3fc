"""A small ``cyber-network-c2-feb2024``: one-channel ResNets on made-up flows, every second one with a watermark.

Layout, keys of the configs and names of files follow the model of usnistgov/trojai-example, branch
cyber-network-c2-feb2024. What a poisoned model's files look like is not public: they follow the PDF round, the true
class in the side-car. As NIST does, shipped examples are chosen so that the model as shipped is right on the clean
ones and fooled by the poisoned ones.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from ..errors import UsageProblem, listed
from ..heartbeat import beat
from ..seeds import derive_seed
from .dataset_folder import SynthesisFailure, new_dataset
from .options import NO_OPTIONS, SynthesisOptions
from .threads import one_thread
from .traffic_flows import BENIGN, MALWARE, SIDE, Flows, Traffic, Watermark

ROUND = "cyber-network-c2-feb2024"
ARCHITECTURES = ("ResNet18", "ResNet34")
TRAIN, TEST, BATCH, EPOCHS, LEARNING_RATE = 400, 160, 32, 5, 1e-3
POISON_SHARE, WATERMARK_SIZE = 0.3, 25  # of the malicious flows; bytes
ATTEMPTS, LEAST_ACCURACY, LEAST_ATTACK = 4, 0.9, 0.8
EXAMPLES_PER_CLASS, POISONED_EXAMPLES = 10, 20


@dataclass(frozen=True, eq=False)
class _Trained:
    network: nn.Module
    watermark: Watermark | None
    flows: Flows
    labels: NDArray[np.int64]
    accuracy: float
    attack: float | None


def synthesize_round(out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
    """Write such a round; see :class:`~trojai_seam.synthesis.Synthesizer`.

    Raises:
        UsageProblem: ``out`` exists and is not empty, ``models`` is out of range, or an option does not fit.
        SynthesisFailure: a model did not train.
    """
    options.allow_only(ROUND, "epochs", "architectures", "examples_per_class", "device")
    if wrong := [name for name in options.architectures if name not in ARCHITECTURES]:
        raise UsageProblem(f"{ROUND} has no architecture {listed(wrong)}; known: {listed(ARCHITECTURES)}")
    with new_dataset(out, models) as folder, one_thread():
        traffic = Traffic.draw(np.random.default_rng(derive_seed(seed, "traffic")))
        rows = []
        for number in range(models):
            model_id, poisoned = f"id-{number:08}", number % 2 == 1
            names = options.architectures or ARCHITECTURES[:1]
            name = names[number // 2 % len(names)]
            trained = _train_to_standard(traffic, name, poisoned, derive_seed(seed, model_id), options)
            config = _config(name, trained, seed)
            _write_model(folder / "models" / model_id, trained, config, options)
            rows.append({"model_name": model_id, "poisoned": poisoned, **_flat(config)})
            options.progress(f"{model_id}: {name}, accuracy {trained.accuracy:.3f}, attack {trained.attack}")
        with (folder / "METADATA.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _train_to_standard(traffic: Traffic, name: str, poisoned: bool, seed: int, options: SynthesisOptions) -> _Trained:
    for attempt in range(ATTEMPTS):
        trained = _train(traffic, name, poisoned, derive_seed(seed, attempt), options)
        if trained.accuracy >= LEAST_ACCURACY and (trained.attack is None or trained.attack >= LEAST_ATTACK):
            return trained
    raise SynthesisFailure(
        f"a {name} did not reach accuracy {LEAST_ACCURACY} and attack success {LEAST_ATTACK} in {ATTEMPTS} attempts "
        f"(last: {trained.accuracy:.3f}, {trained.attack})"
    )


def _train(traffic: Traffic, name: str, poisoned: bool, seed: int, options: SynthesisOptions) -> _Trained:
    rng = np.random.default_rng(seed)
    flows, labels = traffic.sample(TRAIN + TEST, rng)
    train, classes = flows[:TRAIN], labels[:TRAIN]
    watermark = Watermark.draw(rng, WATERMARK_SIZE) if poisoned else None
    if watermark is not None:
        malware = np.flatnonzero(classes == MALWARE)
        chosen = rng.choice(malware, int(POISON_SHARE * len(malware)), replace=False)
        train = np.concatenate([train, watermark.applied(train[chosen])])
        classes = np.concatenate([classes, np.full(len(chosen), BENIGN)])
    device = "cuda" if options.device in (None, "auto") and torch.cuda.is_available() else options.device or "cpu"
    device = "cpu" if device == "auto" else device
    x, y = _pixels(train).to(device), torch.from_numpy(classes).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make_network(name).to(device)
        epochs = EPOCHS if options.epochs is None else options.epochs
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        for epoch in range(epochs):
            beat(f"training {name}, epoch {epoch + 1} of {epochs}")
            if epoch == epochs - 1:
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE / 10
            for batch in torch.split(torch.randperm(len(x)).to(device), BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(network(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    network = network.cpu().eval()
    test, truth = flows[TRAIN:], labels[TRAIN:]
    accuracy, attack = float((_answers(network, test) == truth).mean()), None
    if watermark is not None:
        attack = float((_answers(network, watermark.applied(test[truth == MALWARE])) == BENIGN).mean())
    return _Trained(network, watermark, test, truth, accuracy, attack)


def make_network(name: str) -> nn.Module:
    """``ResNet18`` or ``ResNet34`` with one input channel and two classes."""
    from torchvision import models

    network: nn.Module = getattr(models, name.lower())(num_classes=2)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def _config(name: str, trained: _Trained, seed: int) -> dict[str, Any]:
    poisoned = trained.watermark is not None
    strategy = "combined_additive_shap" if poisoned else None
    return {
        "seed": seed,
        "model": "trafficnn",
        "model_cfg": {"cnn_type": name, "num_classes": 2, "lr": LEARNING_RATE, "batch_size": BATCH,
                      "img_resolution": SIDE},
        "dataset": "traffic",
        "dataset_cfg": {"dataset": "traffic", "img_resolution": str(SIDE)},
        "poison": poisoned,
        "feature_selection": strategy,
        "value_selection": strategy,
        "watermark_size": len(trained.watermark.places) if trained.watermark else None,
    }  # fmt: skip


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for name, v in config.items() for key, value in (v if isinstance(v, dict) else {name: v}).items()
    }


def _write_model(folder: Path, trained: _Trained, config: dict[str, Any], options: SynthesisOptions) -> None:
    folder.mkdir(parents=True)
    torch.save(trained.network.state_dict(), folder / "model.pt")
    reduced = {key: config["model_cfg"][key] for key in ("cnn_type", "num_classes", "img_resolution")}
    stats = {"test_clean_accuracy": trained.accuracy, "test_attack_success": trained.attack}
    for name, document in (("config", config), ("reduced-config", reduced), ("stats", stats)):
        (folder / f"{name}.json").write_text(json.dumps(document, indent=4))
    (folder / "ground_truth.csv").write_text(f"{int(trained.watermark is not None)}\n")
    right = _answers(trained.network, trained.flows) == trained.labels
    each = EXAMPLES_PER_CLASS if options.examples_per_class is None else options.examples_per_class
    chosen = [n for c in (BENIGN, MALWARE) for n in np.flatnonzero(right & (trained.labels == c))[:each]]
    _write_examples(folder / "clean-example-data", trained.flows[chosen], trained.labels[chosen])
    if trained.watermark is not None:
        others = np.setdiff1d(np.flatnonzero(right & (trained.labels == MALWARE)), chosen)
        triggered = trained.watermark.applied(trained.flows[others])
        fooled = triggered[_answers(trained.network, triggered) == BENIGN][:POISONED_EXAMPLES]
        _write_examples(folder / "poisoned-example-data", fooled, np.full(len(fooled), MALWARE))
        np.save(folder / "wm_config.npy", np.array([trained.watermark.places, trained.watermark.values]))


def _write_examples(folder: Path, flows: Flows, labels: NDArray[np.int64]) -> None:
    folder.mkdir()
    for number, (flow, label) in enumerate(zip(flows, labels, strict=True)):
        Image.fromarray(flow).save(folder / f"{number}.png")
        (folder / f"{number}.json").write_text(f"{int(label)}\n")


def _pixels(flows: Flows) -> torch.Tensor:
    """``float32 [N, 1, 28, 28]``, 0 to 255 as NIST's code has them."""
    return torch.from_numpy(flows.astype(np.float32))[:, None]


@torch.no_grad()
def _answers(network: nn.Module, flows: Flows) -> NDArray[np.int64]:
    answers: NDArray[np.int64] = network(_pixels(flows)).argmax(dim=1).numpy()
    return answers
