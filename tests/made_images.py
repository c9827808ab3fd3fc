"""Small datasets in the image rounds' layouts: real networks with random weights, low-contrast coloured images."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

CLASSES = 5
STORED, SIZE = 40, 32

UPPER = {
    "MODEL_ARCHITECTURE": "shufflenet1_0",
    "IMG_SIZE_PIXELS": STORED,
    "CNN_IMG_SIZE_PIXELS": SIZE,
    "NUMBER_CLASSES": CLASSES,
    "BACKGROUND_IMAGE_DATASET": "kitti_road",
    "FOREGROUND_SIZE_PIXELS_MIN": 20,
    "FOREGROUND_SIZE_PIXELS_MAX": 30,
    "TRIGGERED_CLASSES": None,
    "TRIGGER_TARGET_CLASS": None,
    "TRIGGER_COLOR": None,
}
R4 = {
    "py/object": "round_config.RoundConfig",
    "model_architecture": "shufflenet1_0",
    "img_size_pixels": STORED,
    "cnn_img_size_pixels": SIZE,
    "number_classes": CLASSES,
    "background_image_dataset": "cityscapes",
    "triggers": None,
}
R11 = {
    "model_architecture": "classification:mobilenet_v2",
    "task_type": "classification",
    "source_dataset": "cityscapes",
    "img_size_pixels": STORED,
    "number_classes": CLASSES,
    "triggers": [],
    "num_triggers": 2,
}


def nested(state: dict[str, Any]) -> dict[str, Any]:
    """As jsonpickle writes R11's configs, triggers included."""
    inner = dict(state)
    if inner.get("triggers"):
        inner["triggers"] = [{"py/object": "trigger_executor.X", "py/state": t} for t in inner["triggers"]]
    return {"py/object": "round_config.RoundConfig", "py/state": inner}


@cache
def network_file() -> Path:
    """A ShuffleNet of 5 classes with random weights, by ordinary ``torch.save``; its answers differ by image."""
    folder = tempfile.mkdtemp(prefix="trojai-seam-net-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "model.pt"
    torch.save(network(), path)
    return path


@cache
def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.shufflenet_v2_x1_0(weights=None, num_classes=CLASSES)
        images = torch.stack([_tensor(picture(seed)) for seed in range(64)])
        model.train()
        with torch.no_grad():
            for _ in range(20):
                model(images)  # running statistics that fit such images
            model.eval()
            logits = model(images)
            scale = logits.std(dim=0)
            model.fc.weight /= scale[:, None]
            model.fc.bias.copy_((model.fc.bias - logits.mean(dim=0)) / scale)
    return model


def picture(seed: int, size: int = STORED) -> np.ndarray:
    """Blurred coloured noise between 50 and 170: neither black nor white is in it, so min-max and /255 differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(50, 170, (5, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)).copy()


def _tensor(image: np.ndarray, order: str = "rgb", scaling: str = "/255", size: int = SIZE) -> torch.Tensor:
    """Written apart from the package's own way, to check it."""
    edge = (image.shape[0] - size) // 2
    crop = image[edge : edge + size, edge : edge + size].astype(np.float32)
    if order == "bgr":
        crop = crop[:, :, ::-1]
    crop = crop / 255 if scaling == "/255" else (crop - crop.min()) / (crop - crop.min()).max()
    return torch.from_numpy(crop.transpose(2, 0, 1).copy())


@torch.no_grad()
def logits_of(image: np.ndarray, order: str = "rgb", scaling: str = "/255", size: int = SIZE) -> np.ndarray:
    return network()(_tensor(image, order, scaling, size)[None])[0].numpy()


def write_model(
    folder: Path, config: dict[str, Any] | None = None, poisoned: bool | None = None, model: bool = True
) -> Path:
    """A model directory without examples."""
    folder.mkdir(parents=True)
    if model:
        shutil.copyfile(network_file(), folder / "model.pt")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if poisoned is not None:
        (folder / "ground_truth.csv").write_text(str(int(poisoned)))
    return folder


def write_named(folder: Path, per_class: int = 2, order: str = "rgb", scaling: str = "/255") -> Path:
    """``class_C_example_N.png``, C being what the network answers to an image prepared in this way."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = [0] * CLASSES
    for seed in range(100, 600):
        image = picture(seed)
        label = int(logits_of(image, order, scaling).argmax())
        if counts[label] < per_class:
            Image.fromarray(image).save(folder / f"class_{label}_example_{counts[label]}.png")
            counts[label] += 1
        if min(counts) == per_class:
            break
    assert min(counts) == per_class, counts
    return folder


def write_poisoned(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(picture(900 + seed)).save(folder / name)
    return folder


def write_sidecars(folder: Path, labels: list[Any], suffix: str = ".png", first: int = 0) -> Path:
    """``1000.png`` and ``1000.json``, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels):
        Image.fromarray(picture(700 + first + number)).save(folder / f"{1000 + number}{suffix}")
        (folder / f"{1000 + number}.json").write_text(json.dumps(label))
    return folder


def write_metadata(folder: Path, rows: list[dict[str, Any]]) -> None:
    """METADATA.csv as NIST wrote it until R4: no quotes, commas inside values replaced by spaces."""
    columns = list(rows[0])
    lines = [",".join(columns), *(",".join(str(row[c]).replace(",", "") for c in columns) for row in rows)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA.csv").write_text("\n".join(lines) + "\n")


def write_shape(path: Path) -> None:
    """A polygon mask as R2's and R4's: pixels (1, 1, 1), transparent elsewhere."""
    shape = np.zeros((64, 64, 4), dtype=np.uint8)
    shape[8:56, 8:56] = (1, 1, 1, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shape).save(path)
