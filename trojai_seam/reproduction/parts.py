"""The parts by name, and one reproduction from data to page."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from ..batch.reproducible import reproducible
from . import attacks, data_size, forgetting, kernels, speed
from .bench import SCALES, Bench, Scale, sizes_of
from .datasets import ImageData
from .page import Reproduction
from .storage import Row, Store, Unit, seeds_in
from .verdicts import Finding


class Part(NamedTuple):
    """A statement or two, and how they are measured."""

    units: Callable[[Bench], Iterator[Unit]]
    findings: Callable[[pd.DataFrame, Bench], list[Finding]]
    sizes: Sequence[str]


LEAST_ASR = 0.5
"""What attack success a network needs as trained, to count as trojaned: where there is nothing to remove, what remains
says nothing of a method."""

PARTS = {
    "speed": Part(speed.units, speed.findings, speed.SIZES),
    "data": Part(data_size.units, data_size.findings, data_size.SIZES),
    "forgetting": Part(forgetting.units, forgetting.findings, forgetting.SIZES),
    "ntk": Part(kernels.units, kernels.findings, kernels.SIZES),
    "attacks": Part(attacks.units, attacks.findings, attacks.SIZES),
}


def reproduce(
    data: ImageData,
    folder: Path,
    parts: Sequence[str],
    seed: int,
    tell: Callable[[str], None] = lambda text: None,
    scale: Scale | None = None,
    threads: int = 1,
) -> Reproduction:
    """Measure ``parts`` of one seed, or go on with it; what ``folder`` has of other parts and seeds is told with it.

    Args:
        data: the data set.
        folder: of all results.
        parts: names of :data:`PARTS`.
        seed: of everything that is measured now.
        tell: is told what is measured.
        scale: how much; unset: as the documentation's results.
        threads: CPU threads.

    Raises:
        RunDirectoryProblem: a file cannot be written or read, or ``folder`` holds results of other data.
    """
    scale = scale or SCALES[data.name]
    for number in seeds_in(folder):
        Store(folder / f"seed-{number}", data.digest).refuse_others()
    store = Store(folder / f"seed-{seed}", data.digest)
    bench = Bench(data, seed, scale, store)
    with reproducible(threads):
        for name in parts:
            part = PARTS[name]
            store.rows(name, part.units(bench), sizes_of(scale, part.sizes), tell)
        return _collected(data, folder, scale, {seed: threads})


def _collected(data: ImageData, folder: Path, scale: Scale, threads: Mapping[int, int]) -> Reproduction:
    seeds = seeds_in(folder)
    rows: dict[str, pd.DataFrame] = {}
    findings: list[Finding] = []
    by_seed: dict[int, dict[str, Finding]] = {number: {} for number in seeds}
    notes: list[str] = []
    left_out: set[str] = set()
    measured: dict[int, list[str]] = {number: [] for number in seeds}
    for name, part in PARTS.items():
        frames = []
        for number in seeds:
            bench = Bench(data, number, scale, Store(folder / f"seed-{number}", data.digest))
            stored, lacking = bench.store.stored_rows(name, part.units(bench), sizes_of(scale, part.sizes))
            if stored and lacking:
                notes.append(f"Part {name} of seed {number} is not complete: {lacking} of its units are missing.")
            if stored:
                frame = _frame(stored, number)
                frames.append(frame)
                measured[number].append(name)
        if frames:
            rows[name] = pd.concat(frames, ignore_index=True)
            learnt = rows[name]["asr_before"] >= LEAST_ASR
            left_out |= {
                f"{model} of seed {number}" for model, number in rows[name].loc[~learnt, ["model", "seed"]].values
            }
            trojaned = rows[name][learnt]
            findings += part.findings(trojaned, bench) if len(trojaned) else []
            for key, some in trojaned.groupby("seed"):
                by_seed[int(str(key))] |= {found.statement: found for found in part.findings(some, bench)}
    if left_out:
        notes.append(
            f"In no figure, as its trojan was not learnt (attack success before below {LEAST_ASR}): "
            f"{', '.join(sorted(left_out))}. The CSV files have them."
        )
    now = torch.get_num_threads()
    threads_now = f"{now} thread" if now == 1 else f"{now} threads"
    head = {
        "data": f"{data.name}, {len(data.train)} training and {len(data.test)} test pictures, digest {data.digest}",
        "seeds": ", ".join(map(str, seeds)),
        "versions": f"trojai-seam {version('trojai-seam')}, torch {torch.__version__}",
        "machine": f"{platform.machine()}, {threads_now} in the last run",
    }
    commands = [
        _command(data.name, folder, seed, found, threads.get(seed, 1)) for seed, found in measured.items() if found
    ]
    return Reproduction(data.name, head, findings, by_seed, rows, notes, commands)


def _command(name: str, folder: Path, seed: int, parts: Sequence[str], threads: int) -> str:
    """What measures ``parts`` of one seed again."""
    words = ["trojai-seam", "reproduce", name, "--data", "DIR", "--seed", str(seed)]
    words += [word for part in parts for word in ("--part", part)] if len(parts) < len(PARTS) else []
    words += ["--threads", str(threads)] if threads != 1 else []
    return shlex.join([*words, "--out", folder.name])


def _frame(rows: Sequence[Row], seed: int) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if "error" not in frame:
        frame["error"] = None
    return frame.assign(seed=seed)
