"""What a repair costs: processor seconds and peak memory of single phases and whole presets, by network.

Nothing is trained beforehand: a network has random weights, BatchNorm statistics of its images, and a last layer that
a regression has made right on these. It costs what a trained one costs. Every figure is that of a process of its own,
on one thread, of every checkout in turn; medians are told. Peak memory is that of the process, libraries and all.

python benchmarks/repair_cost.py CHECKOUT [CHECKOUT] [--repeats 5] [--only "resnet18-64 refit;wrn-32 images"]
    [--out FILE.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORKS = {
    "wrn-32": ("WRN-16-1", 32, 50),
    "vgg-32": ("small VGG", 32, 50),
    "resnet18-64": ("ResNet-18", 64, 140),
    "resnet50-224": ("ResNet-50", 224, 75),
    "densenet121-224": ("DenseNet-121", 224, 75),
    "mobilenetv2-224": ("MobileNetV2", 224, 75),
}
"""By name: what it is, pixels, images."""
PARTS = {
    "images": ("images", None),
    "refit": ("images-refit", ("forget",)),
    "refit and distil": ("images-refit", ("forget", "recover")),
    "invert": ("images-refit", ("look",)),
    "images-refit": ("images-refit", None),
}
"""By name: a preset, and which of its phases, or all."""
CLASSES = 10


def network(name: str) -> nn.Module:
    import torchvision

    from trojai_seam.networks.wide_resnet_modules import WideResNet
    from trojai_seam.networks.wide_resnets import WidePlan

    if name == "wrn-32":
        return WideResNet(WidePlan(3, 16, (16, 32, 64), 2, True, False, "fc", CLASSES, 1))
    if name == "vgg-32":
        return small_vgg()
    models = torchvision.models
    made = {"resnet18": models.resnet18, "resnet50": models.resnet50, "densenet121": models.densenet121}
    made["mobilenetv2"] = models.mobilenet_v2
    return made[name.split("-")[0]](num_classes=CLASSES)


def small_vgg() -> nn.Module:
    """Six convolutions of 32 to 128 channels, each with ELU and BatchNorm, and one Linear layer."""
    from torch import nn

    parts: list[nn.Module] = []
    inputs = 3
    for width in (32, 64, 128):
        for _ in range(2):
            parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.ELU(), nn.BatchNorm2d(width)]
            inputs = width
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(128 * 16, CLASSES))


def right_on(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """BatchNorm statistics of the images, then the last layer by ridge regression."""
    import torch
    from torch import nn
    from torch.nn import functional

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        model.train()
        model(images[:25])
        model.eval()
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        seen: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for part in images.split(25):
            model(part)
        handle.remove()
        features = torch.cat(seen)
        middle = features.mean(dim=0)
        apart = features - middle
        moment = apart.T @ apart
        moment += 0.01 * moment.diagonal().mean() * torch.eye(len(moment))
        wanted = 8 * functional.one_hot(labels, CLASSES).float() - 1
        head.weight.copy_(torch.linalg.solve(moment, apart.T @ wanted).T)
        head.bias.copy_(wanted.mean(dim=0) - head.weight @ middle)


def child(name: str, part: str, device: str = "cpu") -> dict[str, Any]:
    """In a process of its own: processor and wall seconds, peak MB, and what the phases say."""
    import torch
    from torch.nn import functional

    from trojai_seam.tasks import ExampleSet, get_task
    from trojai_seam.unlearning import resolve, run

    torch.set_num_threads(1)
    torch.manual_seed(7)
    _, side, count = NETWORKS[name]
    labels = torch.arange(count) % CLASSES
    pictures = functional.interpolate(torch.rand(CLASSES, 3, 4, 4), size=(side, side), mode="bilinear")
    blur = functional.interpolate(torch.rand(count, 3, side // 4, side // 4), size=(side, side), mode="bilinear")
    images = (0.7 * pictures[labels] + 0.3 * blur).clamp(0, 1)
    model = network(name)
    right_on(model, images, labels)
    preset, names = PARTS[part]
    config = resolve(preset)
    if names is not None:
        config = config.changed(phases=tuple(phase for phase in config.phases if phase.name in names))
    fit = ExampleSet({"x": images}, labels, tuple(map(str, range(count))))
    task = get_task("classification", CLASSES)
    model, fit = model.to(device), fit.to(device)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began, worked = time.perf_counter(), time.process_time()
    outcome = run(model, task, fit, config, 0)
    wall, seconds = time.perf_counter() - began, time.process_time() - worked
    status = Path("/proc/self/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
    said = {phase.phase: {"status": phase.status, **phase.figures} for phase in outcome.phases}
    return {"seconds": seconds, "wall": wall, "mb": peak, "phases": said}


def measured(checkout: Path, name: str, part: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    words = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--child", name, part]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=checkout)
    if done.returncode:
        sys.exit(f"{name} {part} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="a network and a part each, between semicolons")
    parser.add_argument("--out", type=Path, help="a Markdown file; otherwise it is printed")
    given = parser.parse_args()
    checkouts = [checkout.resolve() for checkout in given.checkouts]
    cases = [(name, part) for name in NETWORKS for part in PARTS]
    if given.only:
        cases = [(one.split(" ", 1)[0], one.split(" ", 1)[1]) for one in given.only.split(";")]
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for repeat in range(given.repeats):
        for name, part in cases:
            for number, checkout in enumerate(checkouts):
                one = measured(checkout, name, part)
                found[name, part, number].append(one)
                print(f"{repeat + 1} {name} {part} {checkout.name}: {one}", file=sys.stderr, flush=True)
    text = report(found, cases, checkouts, given.repeats)
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, "utf-8")


def report(
    found: dict[tuple[str, str, int], list[dict[str, Any]]],
    cases: list[tuple[str, str]],
    checkouts: list[Path],
    repeats: int,
) -> str:
    """A Markdown table."""
    named = [
        subprocess.run(["git", "-C", checkout, "describe", "--always", "--dirty"], capture_output=True, text=True)  # noqa: S607
        for checkout in checkouts
    ]
    labels = [done.stdout.strip() or checkout.name for done, checkout in zip(named, checkouts, strict=True)]
    lines = [
        "# What a repair costs",
        "",
        f"Made by `benchmarks/repair_cost.py`: processor seconds and peak memory, medians of {repeats}, in turn; "
        f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}, "
        f"torch {version('torch')}, torchvision {version('torchvision')}.",
        "",
        f"| network | pixels | images | what | {' | '.join(labels)} |",
        f"|---|---|---|---|{'---|' * len(labels)}",
    ]
    for name, part in cases:
        cells = []
        for number in range(len(checkouts)):
            some = found[name, part, number]
            seconds, memory = (statistics.median(one[key] for one in some) for key in ("seconds", "mb"))
            cells.append(f"{seconds:.1f} s, {memory:.0f} MB")
        what, side, count = NETWORKS[name]
        lines.append(f"| {what} | {side} | {count} | {part} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
