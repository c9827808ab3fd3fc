"""What a batch can be asked for, and which of it cannot be combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..choices import PROTOCOLS, RETRIES
from ..errors import ConfigProblem, UsageProblem, shown
from ..loading import Budget
from ..networks import UserCode, is_user_code
from ..scoring import FitLimit
from .executors.kinds import ExecutorSettings, settings_of

MOST_TOGETHER = 4096
EXECUTOR_OPTIONS = ("workers", "workers_per_gpu", "prefetch", "time_limit", "memory_limit", "ray_address")
"""Settings of executors that have an option of their own."""
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
        executor_options: what the executor is asked for, by the names of its settings.
        workers: short for that setting of the executor, as are the four below.
        workers_per_gpu: models at the same time on each device; instead of ``workers``.
        prefetch: models that each worker opens ahead, 0 or 1; unset: 1 on GPUs.
        stack: how many small networks of one architecture a worker unlearns side by side: a number, ``auto`` or
            ``off``.
        time_limit: likewise: seconds that one model may take.
        memory_limit: likewise: bytes of host memory that the process of one model may take.
        max_failures: stop after more failed models than this, or (below 1) than this share of the selected ones.
        ray_address: likewise: of the Ray cluster.
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
    executor_options: Mapping[str, Any] = field(default_factory=dict)
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
        if self.stack not in ("auto", "off") and not 2 <= _number(self.stack) <= MOST_TOGETHER:
            raise UsageProblem(f"--stack {shown(self.stack, 40)}: expected auto, off or 2 to {MOST_TOGETHER}")
        failures = self.max_failures
        if failures is not None and not (0 <= failures < 1 or (failures >= 1 and failures == int(failures))):
            raise UsageProblem(f"--max-failures {failures:g}: expected a whole number, or a share below 1")
        executor_for(self)

    @property
    def asked_of_executor(self) -> dict[str, Any]:
        """All that was said, by the names of an executor's settings."""
        said = {name: getattr(self, name) for name in EXECUTOR_OPTIONS}
        return {**{name: value for name, value in said.items() if value is not None}, **self.executor_options}


def executor_for(options: Options, devices: int = 1) -> tuple[str, ExecutorSettings]:
    """The executor and its settings. ``auto`` is the first that can do what is asked: ``serial`` for one worker on one
    of ``devices`` without limits, else ``pool``, and ``ray`` where its cluster is named.

    Raises:
        UsageProblem: there is no such executor.
        ConfigProblem: it cannot be asked for that; all that is wrong is named.
    """
    name, given = options.executor, options.asked_of_executor
    if name == "auto" and "ray_address" in given:
        name = "ray"
    if name == "auto" and devices == 1:
        with suppress(ConfigProblem):
            return "serial", settings_of("serial", given)
    if name == "serial" and devices > 1:
        raise UsageProblem("--executor serial: is one worker on one device; use --executor pool")
    name = "pool" if name == "auto" else name
    return name, settings_of(name, given)


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
