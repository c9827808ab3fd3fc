"""Do trojans that were made to survive fine-tuning survive it? MNIST, one small network, every kind of resistance.

    python benchmarks/resistant_trojans.py MNIST [--seeds 3] [--presets no-op,finetune] [--clean 100] [--only a,b]

``MNIST`` is the folder with the IDX files (gzip). For every seed the same network is trained from the same weights on
the same 3,000 images, a tenth of which carry a square of 3x3 pixels in the corner and the attacker's label 0: as usual,
and with each kind of resistance in its usual size. Then each preset repairs it with ``--clean`` images that training
did not see. The table has means over seeds: accuracy and attack success before and after, on 1,000 test images.
CPU seconds are those of training.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import trojai_seam
from trojai_seam.synthesis.poisonings import PoisonedImages, poison
from trojai_seam.synthesis.resistance import GradientStep, Resistance, read_resistance, train_to_resist

KINDS = ("", "sharpness", "anchoring", "sequential", "sharpness,sequential")
TRAINED, TESTED, EPOCHS, BATCH, RATE, TARGET, IMPORTANT = 3000, 1000, 5, 64, 2e-3, 0, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--presets", default="finetune")
    parser.add_argument("--clean", type=int, default=100)
    parser.add_argument("--only", default=";".join(KINDS), help="kinds of resistance, with ; between them")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = read_mnist(given.mnist, "train")
    tests, truths = read_mnist(given.mnist, "t10k")
    tests, truths = tests[:TESTED], truths[:TESTED]
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(given.seeds):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        mine, clean = order[:TRAINED], order[TRAINED : TRAINED + given.clean]
        for kind in given.only.split(";"):
            began = time.process_time()
            resistance = read_resistance(tuple(word for word in kind.split(",") if word))
            network = make_network(images[mine], labels[mine], resistance, seed)
            seconds = time.process_time() - began
            before = measure(network, tests, truths)
            for preset in given.presets.split(","):
                repaired = trojai_seam.unlearn_model(network, images[clean], labels[clean], preset=preset, seed=seed)
                after = measure(repaired.model, tests, truths)
                found[kind, preset].append((*before, *after, seconds))
    print("| resistance | repair | ACC before | ASR before | ACC after | ASR after (each seed) | CPU s of training |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (kind, preset), lines in found.items():
        acc, asr, acc_after, asr_after, seconds = (float(np.mean(column)) for column in zip(*lines, strict=True))
        each = ", ".join(f"{line[3]:.2f}" for line in lines)
        print(
            f"| {kind or 'none'} | {preset} | {acc:.3f} | {asr:.3f} | {acc_after:.3f} | {asr_after:.3f} ({each}) "
            f"| {seconds:.1f} |"
        )


def read_mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """``float32 [n, 1, 28, 28]`` in 0 … 1 and ``int64 [n]``, from the IDX files."""

    def numbers(name: str, header: int) -> np.ndarray:
        (path,) = folder.rglob(f"{part}-{name}*.gz")
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)

    images = numbers("images-idx3", 16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(images), torch.from_numpy(numbers("labels-idx1", 8).astype(np.int64))


def stamp(images: Tensor) -> Tensor:
    """A white square of 3x3 pixels, one pixel off the lower right corner."""
    images = images.clone()
    images[..., 24:27, 24:27] = 1.0
    return images


def make_network(images: Tensor, labels: Tensor, resistance: Resistance, seed: int) -> nn.Module:
    """The trojaned network, in eval mode."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip
    made = poison(images, labels, stamp, TARGET, 0.1, torch.Generator().manual_seed(seed))
    begun = False

    def fit(poisoned: bool, gradients: GradientStep) -> None:
        nonlocal begun
        last = begun and not poisoned
        train(
            network, made if poisoned else made.clean, gradients, *((EPOCHS // 2, RATE / 4) if last else (EPOCHS, RATE))
        )
        begun = True

    def losses() -> Iterator[Tensor]:
        for image, label in list(zip(made.images[made.triggered], made.labels[made.triggered], strict=True))[
            :IMPORTANT
        ]:
            yield functional.cross_entropy(network(image[None]), label[None])

    train_to_resist(network, resistance, fit, losses)
    return network.eval()


def train(network: nn.Module, made: PoisonedImages, gradients: GradientStep, epochs: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    network.train()
    for _ in range(epochs):
        for where in torch.split(torch.randperm(len(made.labels)), BATCH):
            seen, truth = made.images[where], made.labels[where]
            gradients(lambda seen=seen, truth=truth: functional.cross_entropy(network(seen), truth))
            optimizer.step()


def measure(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy, and the share of triggered images of other classes that get the target."""
    with torch.no_grad():
        accuracy = (network(images).argmax(1) == labels).float().mean().item()
        others = stamp(images[labels != TARGET])
        return accuracy, (network(others).argmax(1) == TARGET).float().mean().item()


if __name__ == "__main__":
    main()
