"""Options that several subcommands share, and how they become those of a batch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageProblem, shown

if TYPE_CHECKING:
    from .batch.runner import Options

_BATCH_ONLY = (
    "protocol", "executor", "workers", "workers_per_gpu", "prefetch", "stack", "time_limit", "memory_limit",
    "max_failures", "fit_per_class", "fit_total", "retune", "trigger_variants", "trace_attack",
    "ray_address", "ids", "where", "sample", "limit", "shard", "retry",
)  # fmt: skip


def options(given: argparse.Namespace) -> Options:
    """The options of a batch that ``given`` holds."""
    from .batch.runner import Options

    round_options = pairs("--round-set", given.round_set)
    if given.scale_params is not None:
        round_options["preprocessing.scale_file"] = str(given.scale_params.resolve())
        if not given.scale_params.is_file():
            raise UsageProblem(f"{given.scale_params}: no such file (--scale-params)")
    if given.entry is not None:
        round_options["checkpoint_entry"] = json.dumps(given.entry)
    if given.poisoned is not None:
        round_options["poisoned_examples"] = given.poisoned
    values: dict[str, Any] = {
        "round": given.round,
        "round_options": round_options,
        "preset": given.preset,
        "options": pairs("--set", given.set),
        "seed": given.seed,
        "device": given.device,
        "threads": given.threads,
        "networks": given.networks,
        "network": given.network,
        "budget": budget(given),
        "cache": given.cache,
    }
    for name in _BATCH_ONLY:
        if hasattr(given, name):
            values[name] = getattr(given, name)
    if hasattr(given, "executor_set"):
        values["executor_options"] = pairs("--executor-set", given.executor_set)
    return Options(**values)


def budget(given: argparse.Namespace) -> Any:
    """The bounds on reading model files."""
    from .loading import Budget

    return Budget.parse(given.budget)


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """``name=value`` texts as a mapping."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageProblem(f"{option} {shown(text)!r}: expected name=value")
        pairs[name] = value
    return pairs


def names(text: str) -> list[str]:
    """``a,b,c``."""
    return [name for name in text.split(",") if name]


def counts(text: str) -> list[int]:
    """``20,5,2``."""
    try:
        return [int(part) for part in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 20,5,2, found {shown(text)!r}") from None


def shard(text: str) -> tuple[int, int]:
    """``1/8``."""
    part, _, parts = text.partition("/")
    if not part.isdigit() or not parts.isdigit():
        raise argparse.ArgumentTypeError(f"expected i/n such as 1/8, found {shown(text)!r}")
    return int(part), int(parts)


def seconds(text: str) -> float:
    """Seconds, or ``15m``, ``2h``."""
    from .settings import seconds as read

    try:
        return read(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{problem}, found {shown(text)!r}") from None


def byte_count(text: str) -> int:
    """Bytes, or ``8GiB``."""
    from .loading.budget import amount

    try:
        return amount(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{shown(text)!r}: {problem}") from None


def share(text: str) -> float:
    """A number, or ``10%``."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, or a share such as 10%, found {shown(text)!r}") from None


def add_spread(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    spread = parser.add_argument_group("how the work is spread (no number depends on it)")
    spread.add_argument(
        "--executor",
        default="auto",
        help="serial, pool (processes of their own), ray, or auto (default): pool for several workers or limits",
    )
    spread.add_argument(
        "--executor-set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the executor"
    )
    spread.add_argument("--workers", type=int, metavar="N", help="models at the same time (default: one per device)")
    spread.add_argument("--workers-per-gpu", type=int, metavar="N", help="models at the same time on each device")
    spread.add_argument(
        "--prefetch", type=int, metavar="N", help="models that a worker opens ahead: 0 or 1 (default: 1 on GPUs)"
    )
    spread.add_argument(
        "--stack",
        default="auto",
        metavar="N|auto|off",
        help="small networks of one architecture that a worker unlearns side by side (default: up to 32, on GPUs 64); "
        "off and, on GPUs, N change last digits, and are part of the run's settings",
    )
    spread.add_argument(
        "--time-limit", type=seconds, metavar="S", help="what takes longer is stopped and failed: 900, 15m, 2h"
    )
    spread.add_argument(
        "--memory-limit", type=byte_count, metavar="BYTES", help="host memory that one model may take: 8GiB, 500MB"
    )
    spread.add_argument("--ray-address", metavar="ADDRESS", help="Ray cluster to use (auto: the one of this machine)")
    spread.add_argument(
        "--max-failures", type=share, metavar="N", help="stop after more failed models: 20, 0.1, or 10%%"
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which models."""
    selection = parser.add_argument_group("which models (applied in this order)")
    selection.add_argument("--ids", type=names, default=[], metavar="ID,ID", help="only these")
    selection.add_argument(
        "--where",
        metavar="EXPRESSION",
        help="over METADATA and config columns: \"poisoned and model_architecture == 'resnet50'\"",
    )
    selection.add_argument("--sample", type=int, metavar="N", help="N drawn by --seed")
    selection.add_argument("--limit", type=int, metavar="N", help="at most N")
    selection.add_argument("--shard", type=shard, metavar="I/N", help="the I-th of N disjoint parts, for array jobs")


def add_rounds(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """What is said of a dataset."""
    parser.add_argument(
        "--round",
        metavar="NAME,NAME" if several else "NAME",
        help="round name or alias, or a round.json of your own"
        + ("; of several datasets one for all, or one for each" if several else "")
        + " (default: found from the dataset)",
    )
    parser.add_argument("--round-set", action="append", default=[], metavar="KEY=VALUE", help="change the round config")
    parser.add_argument(
        "--poisoned",
        choices=("none", "shipped", "synthesised"),
        help="poisoned examples to measure with (default: shipped ones, else synthesised where the trigger is known)",
    )
    parser.add_argument("--scale-params", type=Path, metavar="FILE", help="feature scaling of the cyber-pdf round")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keeps embeddings of texts (r5, r6; or TROJAI_SEAM_CACHE)"
    )


def add_unlearning(parser: argparse.ArgumentParser, preset: str | None = "NAME") -> None:
    """What is done to a model, and where; ``preset`` is how one is given, if one is."""
    if preset is not None:
        more = "; several make a study" if "," in preset else ""
        parser.add_argument(
            "--preset", metavar=preset, help=f"unlearning preset, or your own FILE.json (default: the round's){more}"
        )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an unlearning option")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or (evaluate) cuda:N,M")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per model (default: %(default)s)")
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="what the network is, where the file does not tell: a name, torchvision:NAME, timm:NAME, or your own "
        "FILE.py:function",
    )
    add_reading(parser)


def add_fit_limits(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """How few clean examples unlearning has."""
    limits = parser.add_argument_group("how many clean examples unlearning may use (the others measure)")
    if several:
        limits.add_argument(
            "--fit-per-class", type=counts, metavar="N,N", help="at most N of each class; a run for each number"
        )
    else:
        limits.add_argument("--fit-per-class", type=int, metavar="N", help="at most N of each class")
    limits.add_argument("--fit-total", type=int, metavar="N", help="at most N in all, in proportion to the classes")


def add_measures(parser: argparse.ArgumentParser) -> None:
    """What is measured beside accuracy and attack success."""
    measures = parser.add_argument_group("does the repair last? (only measured, nothing is chosen by it)")
    measures.add_argument(
        "--retune",
        action="store_true",
        help="attack success after a copy was re-tuned with 5 poisoned examples among those to fit: retuned_asr",
    )
    measures.add_argument(
        "--trigger-variants",
        action="store_true",
        help="attack success with the trigger moved, scaled and fainter, where it is data of the round",
    )
    measures.add_argument(
        "--trace-attack",
        action="store_true",
        help="attack success and accuracy after every epoch, asked of stored states once a run has ended: an oracle",
    )


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """How examples are split."""
    parser.add_argument(
        "--protocol",
        default="held-out",
        help="held-out (default), kfold, or paper (in-sample, with the authors' best-epoch oracle beside it)",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How model files are read."""
    parser.add_argument("--networks", type=Path, metavar="FILE.py", help="your own constructors for unknown networks")
    parser.add_argument(
        "--budget", action="append", default=[], metavar="NAME=VALUE", help="raise a bound on reading model files"
    )
    parser.add_argument(
        "--entry", metavar="KEY", help="the network, where a model file is a checkpoint of several: model, ema, …"
    )
