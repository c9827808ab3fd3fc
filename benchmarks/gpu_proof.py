"""One part of gpu_proof.sh, as Markdown: speed and memory of a GPU, or of whatever ``--device`` names, on small sets.

    python benchmarks/gpu_proof.py heads|images|bert|refit|loading --work DIR [--device cuda]
    python benchmarks/gpu_proof.py prepare --work DIR     makes the sets; needs no GPU

Sets that are in DIR are taken as they are: heads of round 5 (four, under 500 names), two models of round 4 at 224
pixels, one BERT of round 7 as wide as NIST's. They are trained too shortly to say anything of fidelity; that is not
what is shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import repair_cost
import torch
from copies import copy_models

from trojai_seam.batch.options import Options
from trojai_seam.batch.runner import evaluate
from trojai_seam.synthesis import SYNTHESIZERS
from trojai_seam.synthesis.options import SynthesisOptions

HEADS, DIFFERENT = 500, 4
ALONE = 8
"""Heads that are unlearned one by one, to compare."""
CLOSED_FORM = ("resnet18-64", "resnet50-224", "densenet121-224")
COLUMNS = ("seconds_load", "seconds_start", "seconds_forget", "seconds_recover", "seconds_score", "peak_memory")


def make(name: str, work: Path) -> Path:
    """The set of this name, made where it is not there."""
    folder = work / name
    if folder.is_dir():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    if name == "heads":
        from head_fleet import make_fleet

        few = work / "few-heads"
        if not few.is_dir():
            make_fleet(few, DIFFERENT, ("LstmLinear", "GruLinear"))
        copy_models(few, folder, HEADS // DIFFERENT)
    elif name == "images":
        options = SynthesisOptions(image_size=224, epochs=2, classes=5, architectures=("resnet18",), device="auto")
        SYNTHESIZERS.get("image-classification-feb2021")(folder, 2, 0, options)
    else:
        options = SynthesisOptions(width=768, epochs=1, architectures=("bert",), examples_per_class=4, device="auto")
        SYNTHESIZERS.get("nlp-named-entity-recognition-may2021")(folder, 1, 0, options)
    return folder


def line(what: str, began: float, rows: pd.DataFrame) -> str:
    """One line of a table: models and seconds, mean seconds of the parts, the most memory."""
    seconds, done = time.perf_counter() - began, rows[rows["status"] == "done"]
    if len(done) < len(rows):
        raise SystemExit(f"{what}: {rows.loc[rows['status'] == 'failed', 'error'].iloc[0]}")
    cells = [f"{done[name].max() if name == 'peak_memory' else done[name].mean():.2f}" for name in COLUMNS]
    return f"| {what} | {len(rows)} | {seconds:.1f} | {3600 * len(rows) / seconds:.0f} | {' | '.join(cells)} |"


def table(work: Path, device: str, name: str, ways: dict[str, dict]) -> str:
    """``evaluate`` in this process, in several ways."""
    dataset = make(name, work)
    head = ("what", "models", "s", "models/h", *COLUMNS)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for number, (what, options) in enumerate(ways.items()):
        began = time.perf_counter()
        given = Options(device=device, executor="serial", **options)
        lines.append(line(what, began, evaluate(dataset, work / f"run-{name}-{number}", given)))
    return "\n".join(lines)


def heads(work: Path, device: str) -> str:
    """Small networks side by side, and one by one."""
    ways = {
        "one by one": {"stack": "off", "limit": ALONE, "preset": "authors-trojai"},
        "side by side": {"stack": "auto", "preset": "authors-trojai"},
    }
    return table(work, device, "heads", ways)


def images(work: Path, device: str) -> str:
    """Few epochs of SEAM in float32 and in short numbers."""
    few = {"forget.max_epochs": "5", "recover.max_epochs": "5"}
    ways = {
        "float32": {"preset": "authors-trojai", "options": few},
        "bf16": {"preset": "authors-trojai", "options": {**few, "precision": "bf16"}},
    }
    return table(work, device, "images", ways)


def bert(work: Path, device: str) -> str:
    """Few epochs of SEAM."""
    few = {"forget.max_epochs": "3", "recover.max_epochs": "3"}
    return table(work, device, "bert", {"float32": {"preset": "authors-trojai-text", "options": few}})


def refit(work: Path, device: str, networks: tuple[str, ...] = CLOSED_FORM) -> str:
    """Networks in closed form."""
    lines = ["| network | pixels | images | s | processor s | host MB | strength |", "|---|---|---|---|---|---|---|"]
    for name in networks:
        what, side, count = repair_cost.NETWORKS[name]
        found = repair_cost.child(name, "refit", device)
        strength = found["phases"]["forget"]["strength"]
        cells = [what, side, count, f"{found['wall']:.1f}", f"{found['seconds']:.1f}", f"{found['mb']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {strength:.3g} |")
    return "\n".join(lines)


def loading(work: Path, device: str, files: tuple[str, ...] = ("resnet50", "bert-512x3")) -> str:
    """Model files onto the device, beside torch.load."""
    import loading as files_of

    lines = ["| file | way | s | processor s | MiB |", "|---|---|---|---|---|"]
    makers = {name: made for some in files_of.FILES.values() for name, made in some.items()}
    work.mkdir(parents=True, exist_ok=True)
    for name in files:
        path = work / f"{name}.pt"
        files_of.save(makers[name], path, True)
        for way in ("torch", "ours"):
            found = [files_of.measure(files_of.WAYS[way], path, device) for _ in range(3)]
            wall, cpu, peak = (min(one[key] for one in found) for key in ("wall", "cpu", "peak"))
            lines.append(f"| {name} | {way} | {wall:.2f} | {cpu:.2f} | {peak / 2**20:.0f} |")
        path.unlink()
    return "\n".join(lines)


PARTS: dict[str, Callable[[Path, str], str]] = {
    "heads": heads,
    "images": images,
    "bert": bert,
    "refit": refit,
    "loading": loading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "prepare"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    if given.part == "prepare":
        for name in ("heads", "images", "bert"):
            print(make(name, given.work))
        return
    print(PARTS[given.part](given.work, given.device))
    if given.device.startswith("cuda"):
        print(f"\nMost GPU memory: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
