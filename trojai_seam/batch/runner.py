"""Run a batch: plan, claim the run directory, hand out what is left, tabulate."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from ..errors import UsageProblem, listed, shown
from ..loading import Budget
from ..networks import load_user_networks
from ..rounds import ModelDirectory, detect_round, discover, get_round
from ..rounds.adapters import ADAPTERS
from ..scoring import PROTOCOLS
from ..seam import resolve
from ..seam.methods import get_method
from ..tables import csv_bytes, failures_frame, results_frame, summary_frame
from ..tables.frames import with_expected
from ..tasks.task import TASKS
from .executors import EXECUTORS
from .expected import expect, read_expected
from .files import write_atomic
from .paths import RunPaths
from .plan import Plan, claim_run_directory
from .progress import NoProgress, Progress
from .records import finished, read_rows
from .worker import WorkUnit

RETRIES = ("failed", "all")


@dataclass(frozen=True)
class Options:
    """What ``evaluate`` can be asked for.

    Attributes:
        round: name or alias; found from the dataset when unset.
        round_options: ``{"preprocessing.scale_file": "…"}``, on top of the round's config.
        preset: unlearning preset; the round's own when unset.
        options: ``{"forget.learning_rate": "1e-4"}``, on top of the preset.
        protocol: ``held-out``, ``kfold`` or ``paper``.
        seed: of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        executor: a name in ``batch.executors``.
        threads: CPU threads per model.
        ids: only these models.
        limit: at most so many models.
        shard: ``(i, n)``: the i-th of n disjoint parts, counted from 1.
        retry: evaluate again: ``failed`` models, or ``all``.
        networks: a Python file of the user's own constructors.
        budget: bounds for reading model files.
    """

    round: str | None = None
    round_options: Mapping[str, str] = field(default_factory=dict)
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "held-out"
    seed: int = 0
    device: str = "auto"
    executor: str = "serial"
    threads: int = 1
    ids: Sequence[str] = ()
    limit: int | None = None
    shard: tuple[int, int] | None = None
    retry: str | None = None
    networks: str | Path | None = None
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageProblem(f"protocol {shown(self.protocol)!r} is not one of {', '.join(PROTOCOLS)}")
        if self.retry is not None and self.retry not in RETRIES:
            raise UsageProblem(f"--retry {shown(self.retry)!r} is not one of {', '.join(RETRIES)}")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageProblem(f"--shard {self.shard[0]}/{self.shard[1]}: expected i/n with 1 <= i <= n")
        if self.limit is not None and self.limit < 1:
            raise UsageProblem(f"--limit {self.limit}: expected at least 1")
        if not -(2**63) <= self.seed < 2**63:
            raise UsageProblem(f"--seed {shown(self.seed, 40)}: expected a number of at most 64 bits")
        if not 1 <= self.threads <= 1024:
            raise UsageProblem(f"--threads {self.threads}: expected 1 to 1024")


def evaluate(dataset: Path, run_dir: Path, options: Options, progress: Progress | None = None) -> pd.DataFrame:
    """Evaluate every selected model of ``dataset`` that has no record in ``run_dir`` yet.

    Running the same command again continues. Tables are written at the end, also when interrupted.

    Returns:
        The results frame of all records in the run directory, one row per model.

    Raises:
        TrojaiSeamError: a user's mistake about the run as a whole. A bad model is a failed row instead.
        KeyboardInterrupt: after the tables of what is finished were written.
    """
    progress = progress or NoProgress()
    directories = discover(dataset)
    round_config = get_round(options.round) if options.round else detect_round(directories)
    round_config = round_config.with_options(options.round_options)
    unlearning = resolve(options.preset or round_config.preset, options.options)
    # A name that nobody knows is a mistake about the run, not about each of its models.
    get_method(unlearning.method)
    for case in round_config.cases.values():
        ADAPTERS.get(case.adapter), TASKS.get(case.task)
    executor = EXECUTORS.get(options.executor)
    device = resolve_device(options.device)
    plan = Plan(
        dataset=str(dataset.resolve()),
        round_config=round_config,
        unlearning=unlearning,
        protocol=options.protocol,
        seed=options.seed,
        device=torch.device(device).type,
        threads=options.threads,
        networks=_teach(options.networks),
        changed_options=options.options,
    )
    wanted = _select(directories, options)
    selected = _part_of(wanted, options.shard)
    paths = RunPaths(run_dir)
    claim_run_directory(plan, paths)
    expect(paths, wanted, round_config)
    known = finished(paths, [d.model_id for d in selected], plan.fingerprint)
    again = {"failed": {"failed"}, "all": {"failed", "done"}}.get(options.retry or "", set())
    units = [
        WorkUnit(directory, plan, paths, device, options.budget)
        for directory in selected
        if directory.model_id not in known or known[directory.model_id] in again
    ]
    kept = [status for model_id, status in known.items() if status not in again]
    progress.start(len(selected), len(kept), kept.count("failed"))
    try:
        for row in executor(units):
            progress.update(row)
    finally:
        progress.stop()
        results = write_tables(paths)
    return results


def write_tables(paths: RunPaths) -> pd.DataFrame:
    """Rebuild all tables of a run directory from its records; returns the results frame.

    Raises:
        RunDirectoryProblem: no such run, an unreadable record, or the tables cannot be written.
    """
    rows = read_rows(paths)
    results = results_frame(rows)
    buffer = io.BytesIO()
    results.to_parquet(buffer, index=False)
    write_atomic(paths.results_parquet, buffer.getvalue())
    whole = results_frame(with_expected(rows, read_expected(paths)))
    for path, frame in (
        (paths.results, results),
        (paths.failures, failures_frame(results)),
        (paths.summary, summary_frame(whole)),
    ):
        write_atomic(path, csv_bytes(frame))
    return results


def resolve_device(name: str) -> str:
    """``auto`` made definite.

    Raises:
        UsageProblem: no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageProblem(f"--device {shown(name)!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageProblem(f"--device {shown(name)!r}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageProblem(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return name


def _teach(path: str | Path | None) -> str:
    if path is None:
        return ""
    load_user_networks(path)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _select(directories: Sequence[ModelDirectory], options: Options) -> list[ModelDirectory]:
    chosen = list(directories)
    if options.ids:
        wanted = set(options.ids)
        missing = wanted - {d.model_id for d in chosen}
        if missing:
            raise UsageProblem(f"--ids: {listed(sorted(missing))} not in the dataset ({len(chosen)} models)")
        chosen = [d for d in chosen if d.model_id in wanted]
    return chosen[: options.limit]


def _part_of(wanted: list[ModelDirectory], shard: tuple[int, int] | None) -> list[ModelDirectory]:
    if shard is None:
        return wanted
    part, parts = shard
    return wanted[part - 1 :: parts]
