"""What a batch can be asked for, and which of it cannot be combined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageProblem, shown
from ..loading import Budget
from ..networks import UserCode, is_user_code
from ..scoring import PROTOCOLS, FitLimit
from .executors import Spread

RETRIES = ("failed", "timeout", "all")
MOST_TOGETHER = 4096
TOGETHER = {False: 32, True: 64}
"""What ``--stack auto`` means on CPUs and on GPUs."""


@dataclass(frozen=True)
class Options:
    """What ``evaluate`` can be asked for.

    Attributes:
        round: name or alias; found from the dataset when unset.
        round_options: ``{"preprocessing.scale_file": "…"}``, on top of the round's config.
        preset: unlearning preset; the round's own when unset.
        options: ``{"forget.learning_rate": "1e-4"}``, on top of the preset.
        protocol: ``held-out``, ``kfold`` or ``paper``.
        fit_per_class: most clean examples of each class that unlearning may use; the rest measures.
        fit_total: likewise of all classes together.
        retune: also measure what a little training with poisoned examples brings back: ``retuned_asr``.
        trigger_variants: also measure with the trigger moved, scaled and fainter, where it is data of the round.
        trace_attack: also measure attack success after every epoch, of states that were stored: an oracle.
        seed: of the run.
        device: ``auto`` (every GPU, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``cuda:N,M,…``.
        executor: a name in ``batch.executors``; ``auto`` is ``pool`` where there is more than one worker, device or a
            limit, else ``serial``.
        workers: models at the same time, over all devices.
        workers_per_gpu: models at the same time on each device; instead of ``workers``.
        prefetch: models that each worker opens ahead, 0 or 1; unset: 1 on GPUs.
        stack: how many small networks of one architecture a worker unlearns side by side: a number, ``auto`` or
            ``off``.
        time_limit: seconds that one model may take.
        memory_limit: bytes of host memory that the process of one model may take.
        max_failures: stop after more failed models than this, or (below 1) than this share of the selected ones.
        ray_address: of the Ray cluster.
        threads: CPU threads per model.
        ids: only these models.
        where: only models for which this expression over METADATA and config columns holds; see ``batch.where``.
        sample: so many models, drawn by ``seed``.
        limit: at most so many models.
        shard: ``(i, n)``: the i-th of n disjoint parts, counted from 1.
        retry: evaluate again: ``failed`` models, those that met a ``timeout``, or ``all``.
        networks: a Python file of the user's own constructors.
        network: name of the network of every model, where a file does not tell; ``FILE.py:function`` is one of the
            user's own, and takes the place of ``networks``.
        budget: bounds for reading model files.
        cache: folder for embeddings of texts; that of the environment or the platform when unset.
    """

    round: str | None = None
    round_options: Mapping[str, str] = field(default_factory=dict)
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "held-out"
    fit_per_class: int | None = None
    fit_total: int | None = None
    retune: bool = False
    trigger_variants: bool = False
    trace_attack: bool = False
    seed: int = 0
    device: str = "auto"
    executor: str = "auto"
    workers: int | None = None
    workers_per_gpu: int | None = None
    prefetch: int | None = None
    stack: str = "auto"
    time_limit: float | None = None
    memory_limit: int | None = None
    max_failures: float | None = None
    ray_address: str | None = None
    threads: int = 1
    ids: Sequence[str] = ()
    where: str | None = None
    sample: int | None = None
    limit: int | None = None
    shard: tuple[int, int] | None = None
    retry: str | None = None
    networks: str | Path | None = None
    network: str | None = None
    budget: Budget = field(default_factory=Budget)
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageProblem(f"protocol {shown(self.protocol)!r} is not one of {', '.join(PROTOCOLS)}")
        FitLimit(self.fit_per_class, self.fit_total)
        if self.network is not None and is_user_code(self.network):
            code = UserCode.parse(self.network)
            if not code.function:
                raise UsageProblem(f"--network {shown(self.network)}: name the function too: {code.file.name}:function")
            if self.networks is not None:
                raise UsageProblem("--network FILE.py:function and --networks: expected only one of them")
            object.__setattr__(self, "networks", str(code))
            object.__setattr__(self, "network", code.name)
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
        if self.sample is not None and self.sample < 1:
            raise UsageProblem(f"--sample {self.sample}: expected at least 1")
        for name in ("workers", "workers_per_gpu"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 1024:
                raise UsageProblem(f"--{name.replace('_', '-')} {value}: expected 1 to 1024")
        if self.workers is not None and self.workers_per_gpu is not None:
            raise UsageProblem("--workers and --workers-per-gpu: expected only one of them")
        if self.stack not in ("auto", "off") and not 2 <= _number(self.stack) <= MOST_TOGETHER:
            raise UsageProblem(f"--stack {shown(self.stack, 40)}: expected auto, off or 2 to {MOST_TOGETHER}")
        if self.prefetch not in (None, 0, 1):
            raise UsageProblem(f"--prefetch {self.prefetch}: expected 0 or 1")
        if self.time_limit is not None and not 0 < self.time_limit < math.inf:
            raise UsageProblem(f"--time-limit {self.time_limit}: expected seconds above 0")
        if self.memory_limit is not None and self.memory_limit < 2**20:
            raise UsageProblem(f"--memory-limit {self.memory_limit}: expected at least 1 MiB")
        failures = self.max_failures
        if failures is not None and not (0 <= failures < 1 or (failures >= 1 and failures == int(failures))):
            raise UsageProblem(f"--max-failures {failures:g}: expected a whole number, or a share below 1")


def executor_of(options: Options, devices: int) -> str:
    """``auto`` made definite: processes of their own where several are needed, or where one may have to be stopped.

    Raises:
        UsageProblem: the serial one is asked for what needs other processes.
    """
    limited = options.time_limit is not None or options.memory_limit is not None
    several = devices > 1 or (options.workers or options.workers_per_gpu or 1) > 1
    if options.executor == "serial" and (limited or several):
        what = "limits on a model need other processes" if limited else "is one worker on one device"
        raise UsageProblem(f"--executor serial: {what}; use --executor pool")
    if options.executor != "auto":
        return options.executor
    if options.ray_address is not None:
        return "ray"
    return "pool" if limited or several else "serial"


def spread_of(options: Options, executor: str, devices: tuple[str, ...]) -> Spread:
    """How the options ask ``executor`` to spread the work over ``devices``.

    Raises:
        UsageProblem: the workers cannot be shared out evenly.
    """
    workers = options.workers_per_gpu or 1
    if options.workers is not None and executor != "ray":
        workers, rest = divmod(options.workers, len(devices))
        if rest or not workers:
            raise UsageProblem(f"--workers {options.workers}: cannot be shared evenly among {len(devices)} devices")
    on_gpu = devices[0] != "cpu"
    return Spread(
        devices=devices,
        workers=workers,
        prefetch=int(on_gpu) if options.prefetch is None else options.prefetch,
        together=max(1, together_of(options, on_gpu)),
        time_limit=options.time_limit,
        memory_limit=options.memory_limit,
        at_once=options.workers,
        ray_address=options.ray_address,
    )


def together_of(options: Options, on_gpu: bool) -> int:
    """How many models a worker takes at once, where they can be unlearned side by side; 0: they never are."""
    if options.stack == "off":
        return 0
    return TOGETHER[on_gpu] if options.stack == "auto" else _number(options.stack)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def most_failures(options: Options, models: int) -> int | None:
    """How many failed models the run of ``models`` models may have; None for any number."""
    if options.max_failures is None:
        return None
    return int(options.max_failures if options.max_failures >= 1 else options.max_failures * models)
