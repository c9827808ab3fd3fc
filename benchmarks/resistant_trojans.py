"""Do trojans that were made to survive fine-tuning survive it? MNIST, one small network, every kind of resistance.

    python benchmarks/resistant_trojans.py MNIST [--seeds 3] [--only "sharpness;sequential=10"]

``MNIST`` is the folder with the IDX files (gzip). For every seed the same network is trained from the same weights on
the same 2,000 images, a tenth of which carry a square of 3x3 pixels in the corner and the attacker's label 0: as usual,
and with each kind of resistance. Then it is fine-tuned on 100 clean images that it has not seen (Adam, rate 0.002,
batches of 32). The table has attack success after so many steps of that, means over seeds, on the first 1,000 test
images; and accuracy before and behind. CPU seconds are those of making the network.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trojai_seam.synthesis.poisonings import PoisonedImages, poison
from trojai_seam.synthesis.resistance import GradientStep, Resistance, read_resistance, train_to_resist

KINDS = ("", "sharpness", "anchoring", "sequential", "sharpness,sequential")
TRAINED, CLEAN, TESTED, EPOCHS, BATCH, RATE, TARGET, IMPORTANT = 2000, 100, 1000, 5, 64, 2e-3, 0, 64
STEPS = (0, 20, 50, 100, 200, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=";".join(KINDS), help="kinds of resistance, with ; between them")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = read_mnist(given.mnist, "train")
    tests, truths = (part[:TESTED] for part in read_mnist(given.mnist, "t10k"))
    print("| resistance | ACC | " + " | ".join(f"ASR, {step} steps" for step in STEPS) + " | ACC behind | CPU s |")
    print("| --- " * (len(STEPS) + 4) + "|")
    for kind in given.only.split(";"):
        lines = []
        for seed in range(given.seeds):
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            mine, clean = order[:TRAINED], order[TRAINED : TRAINED + CLEAN]
            began = time.process_time()
            resistance = read_resistance(tuple(word for word in kind.split(",") if word))
            network = make_network(images[mine], labels[mine], resistance, seed)
            seconds = time.process_time() - began
            found = [measure(network, tests, truths) for _ in finetuned(network, images[clean], labels[clean], seed)]
            lines.append([found[0][0], *(attack for _, attack in found), found[-1][0], seconds])
        means = [sum(column) / len(lines) for column in zip(*lines, strict=True)]
        print(f"| {kind or 'none'} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)


def finetuned(network: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Iterator[int]:
    """Fine-tune in place; comes back, in eval mode, at each of ``STEPS``."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            network.eval()
            yield step
            network.train()
        where = torch.randperm(len(labels), generator=generator)[:32]
        optimizer.zero_grad()
        functional.cross_entropy(network(images[where]), labels[where]).backward()
        optimizer.step()


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
