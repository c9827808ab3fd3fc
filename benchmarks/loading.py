"""Loading a model file: time and peak memory of the inert reader beside those of torch.load, which runs what is in it.

    python benchmarks/loading.py [--sizes 100,500] [--caches warm,cold] [--repeats 5] [--device cpu] [--folder DIR]

Makes its files itself, in both containers of torch.save: a ResNet-50 and a BERT of width 512 (some 100 MB), a VGG-16
and a BERT of width 1024 (some 500 MB). Every measurement is a fork of a process that has imported everything and loaded
nothing; the ways take turns, and what is printed is the least of the repeats, wall and processor time each: what is
above the least belongs to others who use the machine. All ways end with every weight read once, so that a mapped file
has to come into memory too. *Warm*: the file is in the page cache; *cold*: it was thrown out of it. Peak is what the
process held above what it began with. Ours includes checksums of all records (torch checks none) and building the
network from a constructor; ``+ sha`` is with the file's SHA-256 beside it, as ``evaluate`` records it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
import transformers.models.bert.modeling_bert  # now, not in the first measurement
from torch import nn

from trojai_seam.loading import read_model
from trojai_seam.networks import rebuild
from trojai_seam.networks.registry import registered
from trojai_seam.rounds.opening import _sha256_meanwhile


def bert(width: int, layers: int) -> nn.Module:
    config = transformers.BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width
    )
    return transformers.BertForTokenClassification(config)


FILES: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "100": {"resnet50": torchvision.models.resnet50, "bert-512x3": lambda: bert(512, 3)},
    "500": {"vgg16": torchvision.models.vgg16, "bert-1024x8": lambda: bert(1024, 8)},
}


def with_torch(path: Path, device: str) -> nn.Module:
    return torch.load(path, map_location=device, weights_only=False)


def mapped(path: Path, device: str) -> nn.Module:
    return torch.load(path, map_location=device, weights_only=False, mmap=True)


def ours(path: Path, device: str) -> nn.Module:
    return rebuild(read_model(path, defer_checksums=True), {}, device)


def ours_hashed(path: Path, device: str) -> nn.Module:
    digest = _sha256_meanwhile(path)
    model = ours(path, device)
    digest.result()
    return model


WAYS = {"torch": with_torch, "torch mmap": mapped, "ours": ours, "ours + sha": ours_hashed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,500")
    parser.add_argument("--caches", default="warm,cold")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one when unset")
    given = parser.parse_args()
    torch.set_num_threads(1)
    registered()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {given.device}; least of")
    print(f"{given.repeats}; ms of wall time (processor time), peak MiB; ratios are ours over torch.load\n")
    print(
        "| file | MB | container | cache | torch | torch mmap | ours | ours + sha | wall ratio | CPU ratio | memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in given.sizes.split(","):
            for name, make in FILES[size].items():
                for container in ("zip", "legacy"):
                    path = folder / f"{name}.{container}.pt"
                    if not path.exists():
                        in_fork(lambda path=path, make=make, zipped=container == "zip": save(make, path, zipped))
                    for cache in given.caches.split(","):
                        print(row(path, name, container, cache, given.repeats, given.device), flush=True)
                    if given.folder is None:
                        path.unlink()


def save(make: Callable[[], nn.Module], path: Path, zipped: bool) -> dict:
    torch.manual_seed(0)
    torch.save(make(), path, _use_new_zipfile_serialization=zipped)
    return {}


def row(path: Path, name: str, container: str, cache: str, repeats: int, device: str) -> str:
    ways = [way for way in WAYS if container == "zip" or way != "torch mmap"]
    seen: dict[str, list[dict]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            prepare(path, cache)
            seen[way].append(in_fork(lambda way=way: measure(WAYS[way], path, device)))
    least = {way: {key: min(one[key] for one in some) for key in some[0]} for way, some in seen.items()}
    cells = []
    for way in WAYS:
        figures = least.get(way)
        cells.append(
            "-"
            if figures is None
            else f"{figures['wall'] * 1e3:.0f} ({figures['cpu'] * 1e3:.0f}), {figures['peak'] / 2**20:.0f} MiB"
        )
    ratios = [f"{least['ours'][key] / least['torch'][key]:.2f}" for key in ("wall", "cpu", "peak")]
    return f"| {name} | {path.stat().st_size / 1e6:.0f} | {container} | {cache} | {' | '.join(cells + ratios)} |"


def prepare(path: Path, cache: str) -> None:
    """Bring the file into the page cache, or out of it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if cache == "cold":
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while os.read(handle, 1 << 24):
                pass
    finally:
        os.close(handle)


def measure(load: Callable[[Path, str], nn.Module], path: Path, device: str) -> dict:
    if device != "cpu":
        torch.zeros(1, device=device)  # the context is not what is measured
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    began_with, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    model = load(path, device)
    total = sum(float(tensor.sum()) for tensor in model.state_dict().values())
    if device != "cpu":
        torch.cuda.synchronize()
    figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**figures, "peak": memory("VmHWM") - began_with, "total": total}


def memory(name: str) -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def in_fork(work: Callable[[], dict]) -> dict:
    """What ``work`` says, done by a child process."""
    there, back = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(back, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(back)
    with os.fdopen(there) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("a measurement failed; its error stands above")
    return json.loads(text)


if __name__ == "__main__":
    main()
