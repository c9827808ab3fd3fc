"""Three ways to unlearn the same models with the authors' settings, side by side: what images.py and text_models.py do.

* **authors' style**: ``authors_style_loop.py``, a new process per model;
* **plain PyTorch**: ``plain_loop.py``, one process for all models of a core;
* **ours**: ``evaluate``'s batch runner with a pool of workers.

Each has as many processes at a time as ours has workers, of ``--threads`` threads (one), and the same fit and held-
out examples, of which all begin with the same accuracy (checked, but for questions). Models go in blocks, within
which the ways take turns, so that whatever else the machine does hits all of them. Seconds per model are each way's
own count; models per hour are wall time, with the start of processes and the writing of records and tables. The
ceiling is measured here: the best of a matrix product and of convolutions, one process per worker at once, in
float32. FLOPs are those that torch counts for one step and one evaluation, times how many of them were done; what
they divide by is the seconds of forgetting and recovering. Processor seconds per model count every process of a way
from its start: on a machine that does other things too they are what to compare, and 7200 over them is the models per
hour that two free cores would do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import trojai_seam
from trojai_seam.batch.options import Options
from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import evaluate
from trojai_seam.rounds import discover
from trojai_seam.scoring import plan_splits
from trojai_seam.tasks import Subject

HERE = Path(__file__).resolve().parent
PARTS = ("start", "load", "forget", "recover", "score", "rest")
Jobs = Callable[[Subject, Path, Path], dict]
"""From a subject, its model directory and an empty folder to the clean and poisoned entries of a job; see
``authors_style_loop.job``."""


def arguments(description: str | None, dataset: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help=dataset)
    parser.add_argument("--models", type=int, help="only so many")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process, of every way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=300, help="per phase, of every way (published: 300)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for ours only: precision=bf16")
    return parser


def compare(given: argparse.Namespace, round_name: str, entries: Jobs) -> None:
    """Run all three ways and print the tables."""
    torch.set_num_threads(1)
    chosen = [found.path for found in discover(given.dataset)][: given.models]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs, flops = {}, {}
        for directory in chosen:
            subject = trojai_seam.open_subject(directory, round_name)
            mine = folder / directory.name
            mine.mkdir()
            jobs[directory.name] = make_job(given, subject, directory, mine, entries)
            flops[directory.name] = flops_of(subject, jobs[directory.name]["records"])
        peak = ceiling(given.workers, given.device)
        done: dict[str, dict[str, dict]] = {"authors' style": {}, "plain PyTorch": {}, "ours": {}}
        walls, processor = dict.fromkeys(done, 0.0), dict.fromkeys(done, 0.0)
        ways = {"authors' style": run_authors, "plain PyTorch": run_plain, "ours": run_ours}
        names = list(jobs)
        for block in range(given.blocks):
            some = names[block :: given.blocks]
            order = list(ways)[block % 3 :] + list(ways)[: block % 3]
            for way in order:
                mine = {name: jobs[name] for name in some}
                began, used = time.perf_counter(), sum(os.times()[:4])
                done[way] |= ways[way](given, round_name, mine, folder / f"{way} {block}")
                walls[way] += time.perf_counter() - began
                processor[way] += sum(os.times()[:4]) - used
                so_far = f"{way}: {walls[way]:.0f} s, {processor[way]:.0f} s of processor"
                print(f"block {block + 1}/{given.blocks}, {so_far}", file=sys.stderr, flush=True)
    report(given, done, walls, processor, flops, peak, jobs)


def make_job(given: argparse.Namespace, subject: Subject, directory: Path, folder: Path, entries: Jobs) -> dict:
    from authors_style_loop import job

    strata = subject.task.strata(subject.clean.ground_truth())
    splits = plan_splits(strata, "held-out", given.seed, subject.model_id, keep=subject.decided_on)
    split = splits.splits[0]
    settings = {"num_classes": subject.task.num_classes, "device": given.device, "seed": given.seed}
    settings |= {
        "max_epochs": given.max_epochs,
        "threads": given.threads,
        "records": len(split.fit),
        **entries(subject, directory, folder),
    }
    parts = {"fit": list(split.fit), "held_out": list(split.held_out)}
    if "windows" in settings:  # entries are windows, of which a record has so many
        ends = list(accumulate(settings["windows"]))
        spans = [range(end - count, end) for end, count in zip(ends, settings["windows"], strict=True)]
        parts = {name: [window for record in part for window in spans[record]] for name, part in parts.items()}
    return job(directory.resolve() / "model.pt", **parts, **settings)


# Ways -----------------------------------------------------------------------------------------------------------------


def run_authors(given: argparse.Namespace, round_name: str, jobs: dict[str, dict], folder: Path) -> dict[str, dict]:
    folder.mkdir()

    def one(item: tuple[str, dict]) -> tuple[str, dict]:
        name, job = item
        (folder / f"{name}.json").write_text(json.dumps(job))
        began = time.perf_counter()
        text = python(HERE / "authors_style_loop.py", folder / f"{name}.json")
        found = json.loads(text.splitlines()[-1])
        found["seconds"]["rest"] = time.perf_counter() - began - sum(found["seconds"].values())
        return name, found

    with ThreadPoolExecutor(given.workers) as beside:
        return dict(beside.map(one, jobs.items()))


def run_plain(given: argparse.Namespace, round_name: str, jobs: dict[str, dict], folder: Path) -> dict[str, dict]:
    folder.mkdir()
    names = list(jobs)

    def share(number: int) -> dict[str, dict]:
        mine = names[number :: given.workers]
        if not mine:
            return {}
        (folder / f"{number}.json").write_text(json.dumps([jobs[name] for name in mine]))
        began = time.perf_counter()
        lines = [
            json.loads(line) for line in python(HERE / "plain_loop.py", folder / f"{number}.json").splitlines() if line
        ]
        counted = sum(sum(found["seconds"].values()) for found in lines)
        for found in lines:
            found["seconds"]["start"] = (time.perf_counter() - began - counted) / len(mine)
        return dict(zip(mine, lines, strict=True))

    with ThreadPoolExecutor(given.workers) as beside:
        return {name: found for part in beside.map(share, range(given.workers)) for name, found in part.items()}


class ChildrensPeak(NoProgress):
    """The largest peak among the processes below this one, looked at whenever the runner tells of its progress."""

    mib = 0.0

    def tick(self) -> None:
        for children in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):
                for child in children.read_text().split():
                    status = Path(f"/proc/{child}/status").read_text().splitlines()
                    fields = dict(line.split(":", 1) for line in status if ":" in line)
                    self.mib = max(self.mib, int(fields.get("VmHWM", "0 kB").split()[0]) / 1024)


def run_ours(given: argparse.Namespace, round_name: str, jobs: dict[str, dict], folder: Path) -> dict[str, dict]:
    caps = {f"{phase}.max_epochs": str(given.max_epochs) for phase in ("forget", "recover")}
    options = Options(
        round=round_name,
        preset="authors-trojai",
        options=caps | dict(text.split("=", 1) for text in given.set),
        device=given.device,
        executor="pool",
        workers=given.workers,
        threads=given.threads,
        seed=given.seed,
        ids=tuple(jobs),
    )
    watcher = ChildrensPeak()
    began = time.perf_counter()
    rows = evaluate(given.dataset, folder, options, watcher)
    wall = time.perf_counter() - began
    bad = rows[rows["status"] != "done"]
    if len(bad):
        raise SystemExit(bad["error"].iloc[0])
    found = {}
    for row in rows.to_dict("records"):
        seconds = {part: float(row[f"seconds_{part}"]) for part in ("load", "forget", "recover", "score")}
        seconds["rest"] = float(row["seconds_total"]) - sum(seconds.values())
        found[row["model_id"]] = {
            "seconds": seconds,
            "epochs": {phase: int(row[f"{phase}_epochs"]) for phase in ("forget", "recover")},
            **{name: as_number(row[name]) for name in ("acc_before", "acc_after", "asr_before", "asr_after")},
            "peak_mib": watcher.mib,
        }
    start = wall * given.workers - sum(sum(one["seconds"].values()) for one in found.values())
    for one in found.values():
        one["seconds"]["start"] = start / len(found)
    return found


def python(script: Path, argument: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path[1:]])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(argument)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def as_number(value: object) -> float | None:
    return None if pd.isna(value) else float(value)  # type: ignore[call-overload, arg-type]


# Work and ceiling -----------------------------------------------------------------------------------------------------


def flops_of(subject: Subject, fit: int) -> tuple[float, float]:
    """FLOPs of one epoch of training on ``fit`` examples, and of asking about them once."""
    model, task, examples = subject.model, subject.task, subject.clean
    size = min(32, len(examples))
    where = torch.arange(size)
    inputs = examples.rows(where, where)
    with FlopCounterMode(display=False) as trained:
        task.loss(model.train(), inputs, examples.labels[:size]).backward()  # type: ignore[no-untyped-call]
    with FlopCounterMode(display=False) as asked, torch.no_grad():
        task.outputs(model.eval(), inputs)
    return trained.get_total_flops() * fit / size, asked.get_total_flops() * fit / size


def ceiling(workers: int, device: str) -> float:
    """GFLOP/s of all workers together, each in a process of its own, at the same time."""
    code = f"import side_by_side as s; print(s.fastest({device!r}))"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path[1:]])}
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(workers)
    ]
    return sum(float(one.communicate()[0].splitlines()[-1]) for one in running)


def fastest(device: str) -> float:
    """GFLOP/s of this process: the best of a large matrix product and of two convolutions, forward."""
    torch.set_num_threads(1)
    layers: list[tuple[nn.Module, torch.Tensor]] = [(nn.Linear(1024, 1024, bias=False), torch.randn(1024, 1024))]
    for channels, side in ((64, 32), (256, 14)):
        images = torch.randn(32, channels, side, side).to(memory_format=torch.channels_last)
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        layers.append((convolution, images))
    best = 0.0
    for layer, x in layers:
        layer, x = layer.to(device), x.to(device)
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            layer(x)
        until = time.perf_counter() + 2
        while time.perf_counter() < until:
            began = time.perf_counter()
            with torch.no_grad():
                layer(x)
            if device != "cpu":
                torch.cuda.synchronize()
            best = max(best, counted.get_total_flops() / (time.perf_counter() - began) / 1e9)
    return best


# Tables ---------------------------------------------------------------------------------------------------------------


def report(given, done, walls, processor, flops, peak: float, jobs: dict[str, dict]) -> None:
    count = len(jobs)
    print(f"{count} models, {given.workers} processes, threads of each: {given.threads}, ", end="")
    print(f"{given.device}, torch {torch.__version__}, ")
    print(f"at most {given.max_epochs} epochs per phase, ours with {given.set or 'nothing else'}; ", end="")
    print(f"ceiling measured beside: {peak:.0f} GFLOP/s\n")
    print(
        "| way | models/h | ours is | CPU s/model | ours is | "
        + " | ".join(f"{part}, s" for part in PARTS)
        + " | epochs | GFLOP/s | share |"
    )
    print("|---|---|---|---|---|" + "---|" * (len(PARTS) + 3))
    hours = {way: count / wall * 3600 for way, wall in walls.items()}
    for way, found in done.items():
        parts = [sum(one["seconds"].get(part, 0.0) for one in found.values()) / count for part in PARTS]
        work = sum(
            sum(one["epochs"].values()) * flops[name][0] + (sum(one["epochs"].values()) + 2) * flops[name][1]
            for name, one in found.items()
        )
        rate = work / (parts[2] + parts[3]) / count / 1e9 * given.workers
        epochs = sum(sum(one["epochs"].values()) for one in found.values()) / count
        cells = [way, f"{hours[way]:.1f}", f"{hours['ours'] / hours[way]:.2f} ×"]
        cells += [f"{processor[way] / count:.1f}", f"{processor[way] / processor['ours']:.2f} ×"]
        cells += [f"{part:.2f}" for part in parts]
        print(f"| {' | '.join(cells)} | {epochs:.0f} | {rate:.1f} | {rate / peak:.0%} |")
    print("\n| way | ACC before | ACC after | ASR before | ASR after | fidelity | peak MiB per process |")
    print("|---|---|---|---|---|---|---|")
    for way, found in done.items():
        trojaned = [one for one in found.values() if one["asr_before"] is not None]
        fidelity = mean([(one["acc_after"] - one["asr_after"]) / one["acc_before"] for one in trojaned])
        accuracies = [mean([one[name] for one in found.values()]) for name in ("acc_before", "acc_after")]
        attacks = [mean([one[name] for one in trojaned]) for name in ("asr_before", "asr_after")]
        memory = max(one["peak_mib"] for one in found.values())
        shown = " | ".join(f"{figure:.3f}" for figure in (*accuracies, *attacks, fidelity))
        print(f"| {way} | {shown} | {memory:.0f} |")
    for name, one in jobs.items():
        if "windows" in one:
            continue  # places there, token F1 here
        begun = {round(found[name]["acc_before"], 6) for found in done.values()}
        if len(begun) != 1:
            print(f"\n{name}: the ways do not begin with the same accuracy: {sorted(begun)}")


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
