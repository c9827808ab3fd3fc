"""What starting costs: processor seconds and peak memory of whole commands, beside the imports that they cannot do
without.

Every command runs in a process of its own, of every checkout in turn, as often as ``--repeats`` says; its children
count. Medians are told. (``infer`` is not among them: without a calibration, which takes many models, it imports no
network at all.) Datasets are made once: two PDF models, two of images of 32 pixels, two BERT taggers.

python benchmarks/start_cost.py CHECKOUT [CHECKOUT] --work DIR [--repeats 5] [--only "tables;report"] [--out FILE.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

ROUNDS = {
    "pdf": ["r12", "--models", "2"],
    "images": ["r4", "--models", "2", "--image-size", "32", "--classes", "5", "--epochs", "2"],
    "bert": ["r7", "--models", "2", "--architectures", "bert", "--epochs", "1", "--examples-per-class", "4"],
}
IMPORTS = {
    "torch": "import torch",
    "torch, torchvision": "import torch, torchvision",
    "torch, BERT": "import torch; from transformers.models.bert import modeling_bert",
    "pandas, pyarrow": "import pandas, pyarrow",
}
FEW = ["--set", "max_epochs=1", "--device", "cpu", "--limit", "1", "--quiet"]
"""Of images and texts, where one epoch is much longer than the start."""


def commands(work: Path) -> dict[str, tuple[str, list[str]]]:
    """By name: what it is to be compared with, and its words. ``RUN`` is a new folder, ``OLD`` a run with a row."""
    pdf, model = work / "pdf", work / "pdf" / "models" / "id-00000001"
    scale = ["--scale_parameters_filepath", str(pdf / "scale_params.npy")]
    cpu = ["--device", "cpu", "--limit", "1", "--quiet"]
    ours, container = ["trojai_seam"], ["trojai_seam.container"]
    return {
        "evaluate, PDF": ("torch", [*ours, "evaluate", str(pdf), "--out", "RUN", *cpu]),
        "evaluate, PDF, no-op": ("torch", [*ours, "evaluate", str(pdf), "--out", "RUN", *cpu, "--preset", "no-op"]),
        "evaluate, PDF, pool": ("torch", [*ours, "evaluate", str(pdf), "--out", "RUN", *cpu, "--executor", "pool"]),
        "evaluate, image": ("torch, torchvision", [*ours, "evaluate", str(work / "images"), "--out", "RUN", *FEW]),
        "evaluate, BERT": ("torch, BERT", [*ours, "evaluate", str(work / "bert"), "--out", "RUN", *FEW]),
        "evaluate --check, PDF": ("pandas, pyarrow", [*ours, "evaluate", str(pdf), "--check"]),
        "inspect": ("pandas, pyarrow", [*ours, "inspect", str(model)]),
        "tables": ("pandas, pyarrow", [*ours, "tables", "OLD"]),
        "compare": ("pandas, pyarrow", [*ours, "compare", "OLD", "OTHER"]),
        "report": ("pandas, pyarrow", [*ours, "report", "OLD"]),
        "container mitigate": (
            "torch",
            [
                *[*container, "mitigate", "--model_filepath", str(model / "model.pt"), "--output_dirpath", "RUN"],
                *["--dataset", str(model / "clean-example-data"), "--model_output_name", "mitigated.pt", *scale],
                *["--scratch_dirpath", "SCRATCH"],
            ],
        ),
    }


def measured(words: list[str], checkout: Path | None, folder: Path, log: Path) -> tuple[float, float]:
    """Processor seconds and peak MB of one process and its children.

    Peak memory is that of the largest of them.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TROJAI_SEAM_CACHE": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read_text('utf-8')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def prepare(work: Path, checkout: Path, words_of_all: set[str]) -> None:
    """The datasets that the commands name; the PDF one always."""
    work.mkdir(parents=True, exist_ok=True)
    for name, line in ROUNDS.items():
        needed = name == "pdf" or str(work / name) in words_of_all
        if needed and not (work / name).is_dir():
            words = ["-m", "trojai_seam", "synthesize", line[0], "--out", str(work / "new"), *line[1:]]
            shutil.rmtree(work / "new", ignore_errors=True)
            measured(words, checkout, work, work / "log.txt")
            (work / "new").rename(work / name)


def once(name: str, words: list[str], checkout: Path, number: int, work: Path) -> tuple[float, float]:
    """One command of one checkout."""
    new = work / "runs" / f"{number}"
    places = {place: new / place.lower() for place in ("RUN", "SCRATCH")}
    places |= {place: work / f"{place.lower()}-{number}" for place in ("OLD", "OTHER")}
    for place in ("OLD", "OTHER"):
        if place in words and not places[place].is_dir():
            _, line = commands(work)["evaluate, PDF"]
            made = [str(places[place]) if word == "RUN" else word for word in line]
            measured(["-m", *made], checkout, work, work / "log.txt")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    places["SCRATCH"].mkdir()
    line = [str(places.get(word, word)) for word in words]
    return measured(["-m", *line], checkout, work, work / "log.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="names of commands, between semicolons")
    parser.add_argument("--out", type=Path, help="a Markdown file; otherwise it is printed")
    given = parser.parse_args()
    work, checkouts = given.work.resolve(), [checkout.resolve() for checkout in given.checkouts]
    names = given.only.split(";") if given.only else list(commands(work))
    wanted = {name: line for name, line in commands(work).items() if name in names}
    prepare(work, checkouts[-1], {word for _, words in wanted.values() for word in words})
    beside = {name: code for name, code in IMPORTS.items() if name in {compared for compared, _ in wanted.values()}}
    figures: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for repeat in range(given.repeats + 1):
        for name, code in beside.items():
            found = measured(["-c", code], None, work, work / "log.txt")
            if repeat:  # the first time files are read and compiled
                figures[name, -1].append(found)
        for name, (_, words) in wanted.items():
            for number, checkout in enumerate(checkouts):
                found = once(name, words, checkout, number, work)
                if repeat:
                    figures[name, number].append(found)
                    print(f"{repeat} {name}: {found[0]:.2f} s, {found[1]:.0f} MB", file=sys.stderr, flush=True)
    text = report(figures, wanted, checkouts, given.repeats)
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, "utf-8")


def report(
    figures: dict[tuple[str, int], list[tuple[float, float]]],
    wanted: dict[str, tuple[str, list[str]]],
    checkouts: list[Path],
    repeats: int,
) -> str:
    """A Markdown table."""

    def middle(key: tuple[str, int]) -> tuple[float, float]:
        seconds, memory = zip(*figures[key], strict=True)
        return statistics.median(seconds), statistics.median(memory)

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "transformers", "pandas"))
    python, cores = platform.python_version(), os.cpu_count()
    commits = [
        subprocess.run(["git", "-C", checkout, "describe", "--always", "--dirty"], capture_output=True, text=True)  # noqa: S607
        for checkout in checkouts
    ]
    labels = [done.stdout.strip() or checkout.name for done, checkout in zip(commits, checkouts, strict=True)]
    lines = [
        "# What starting costs",
        "",
        f"Made by `benchmarks/start_cost.py`: medians of {repeats}, whole processes with their children, in turn; "
        f"{platform.machine()}, {cores} cores, Python {python}, {versions}.",
        "",
        f"| command | {' | '.join(labels)} | beside it | ratio |",
        f"|---|{'---|' * len(labels)}---|---|",
    ]
    for name, (compared, _) in wanted.items():
        seconds, memory = middle((compared, -1))
        found = [middle((name, number)) for number in range(len(checkouts))]
        cells = [f"{cpu:.2f} s, {peak:.0f} MB" for cpu, peak in found]
        last = f"{found[-1][0] / seconds:.2f} ×, {found[-1][1] / memory:.2f} ×"
        lines.append(f"| {name} | {' | '.join(cells)} | {compared}: {seconds:.2f} s, {memory:.0f} MB | {last} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
