"""The parts by name, and one reproduction from data to page."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from ..batch.reproducible import reproducible
from . import attacks, data_size, forgetting, kernels, speed
from .bench import Bench, Scale, sizes_of
from .datasets import ImageData
from .page import Reproduction
from .storage import Row, Store, Unit, seeds_in
from .verdicts import Finding


class Part(NamedTuple):
    """A statement or two, and how they are measured."""

    units: Callable[[Bench], Iterator[Unit]]
    findings: Callable[[pd.DataFrame, Bench], list[Finding]]
    sizes: Sequence[str]


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
        RunDirectoryProblem: a file cannot be written or read.
    """
    scale = scale or Scale()
    store = Store(folder / f"seed-{seed}", data.digest)
    bench = Bench(data, seed, scale, store)
    with reproducible(threads):
        for name in parts:
            part = PARTS[name]
            store.rows(name, part.units(bench), sizes_of(scale, part.sizes), tell)
        return _collected(data, folder, seed, scale)


def _collected(data: ImageData, folder: Path, seed: int, scale: Scale) -> Reproduction:
    seeds = seeds_in(folder)
    rows: dict[str, pd.DataFrame] = {}
    findings: list[Finding] = []
    by_seed: dict[int, dict[str, Finding]] = {number: {} for number in seeds}
    notes: list[str] = []
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
                by_seed[number] |= {found.statement: found for found in part.findings(frame, bench)}
        if frames:
            rows[name] = pd.concat(frames, ignore_index=True)
            findings += part.findings(rows[name], bench)
    head = {
        "data": f"{data.name}, {len(data.train)} training and {len(data.test)} test pictures, digest {data.digest}",
        "seeds": ", ".join(map(str, seeds)),
        "versions": f"trojai-seam {version('trojai-seam')}, torch {torch.__version__}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread",
    }
    words = ["trojai-seam", "reproduce", data.name, "--data", "DIR", "--seed", str(seed), "--out", folder.name]
    return Reproduction(data.name, head, findings, by_seed, rows, notes, shlex.join(words))


def _frame(rows: Sequence[Row], seed: int) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if "error" not in frame:
        frame["error"] = None
    return frame.assign(seed=seed)
