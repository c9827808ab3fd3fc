"""The command line. Every import of weight happens inside the command that needs it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import TooManyFailures, TrojaiSeamError, UsageProblem, shown
from .result_commands import add_result_commands

if TYPE_CHECKING:
    from .batch.runner import Options

_BATCH_ONLY = (
    "protocol", "executor", "workers", "workers_per_gpu", "prefetch", "stack", "time_limit", "memory_limit",
    "max_failures",
    "ray_address", "ids", "where", "sample", "limit", "shard", "retry",
)  # fmt: skip
OK, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 all models done, 1 some failed (they are rows), 2 bad usage or input, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths and ids may hold what the terminal cannot show
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return BAD_INPUT
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except TrojaiSeamError as problem:
        print(f"trojai-seam: error: {problem}", file=sys.stderr)
        return SOME_FAILED if isinstance(problem, TooManyFailures) else BAD_INPUT
    except KeyboardInterrupt:
        print("trojai-seam: interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) went away: not our failure, and nothing more to say.
        sys.stderr.close()
        return OK
    except OSError as problem:
        # A path that even looking at fails: a name too long, a folder that we may not enter.
        where = "" if problem.filename is None else f"{shown(str(problem.filename))}: "
        print(f"trojai-seam: error: {where}{problem.strerror or shown(str(problem))}", file=sys.stderr)
        return BAD_INPUT


def _demo(given: argparse.Namespace) -> int:
    from .demo import run_demo

    return run_demo(given.out, given.models, given.seed, given.quiet)


def _evaluate(given: argparse.Namespace) -> int:
    from .batch.paths import RunPaths
    from .batch.progress import choose_progress
    from .batch.runner import check, evaluate
    from .tables import render, render_summary, summary_frame

    if given.check:
        findings = check(given.dataset, _options(given), choose_progress(given.quiet))
        print(
            "\n".join(f"{shown(row['model_id'])}  {row['error_kind']}: {row['error']}" for row in findings)
            or "all good"
        )
        return SOME_FAILED if findings else OK
    if given.out is None:
        raise UsageProblem("evaluate needs --out RUN, the run directory (or --check)")
    results = evaluate(given.dataset, given.out, _options(given), choose_progress(given.quiet))
    if not given.quiet:
        print(render(results), render_summary(summary_frame(results)), sep="\n\n")
        print(f"\nwritten to {RunPaths(given.out).results} and beside it")
    return SOME_FAILED if (results["status"] == "failed").any() else OK


def _unlearn(given: argparse.Namespace) -> int:
    from .mitigation import unlearn_directory

    lines = unlearn_directory(given.model_dir, given.out, given.format, _options(given))
    print("\n".join(lines))
    return OK


def _inspect(given: argparse.Namespace) -> int:
    from .inspection import inspect_path, render_inspection

    findings = inspect_path(given.path, _budget(given), given.networks, given.entry)
    if given.json:
        print(json.dumps(findings if given.tensors else {**findings, "tensors": None}, indent=2, allow_nan=False))
    else:
        print(render_inspection(findings, tensors=given.tensors))
    return OK


def _rounds(given: argparse.Namespace) -> int:
    from .rounds import list_rounds

    if given.json:
        print(json.dumps([dict(r.document) for r in list_rounds()], indent=2))
        return OK
    for one in list_rounds():
        print(f"{one.name} ({', '.join(one.aliases)}): {one.title}")
        if given.verbose:
            for value, case in one.cases.items():
                which = f"{one.variants['key']} {value}: " if value else ""
                print(f"    {which}adapter {case.adapter}, task {case.task}")
            print(f"    preset {one.preset}; source: {one.source}")
            print("\n".join(f"    - {quirk}" for quirk in one.quirks))
    return OK


def _synthesize(given: argparse.Namespace) -> int:
    from .synthesis import SYNTHESIZERS, SynthesisOptions

    options = SynthesisOptions(
        image_size=given.image_size,
        epochs=given.epochs,
        architectures=tuple(name for name in given.architectures.split(",") if name),
        classes=given.classes,
        triggers=tuple(name for name in given.triggers.split(",") if name),
        examples_per_class=given.examples_per_class,
        width=given.width,
        device=given.device,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    SYNTHESIZERS.get(given.round)(given.out, given.models, given.seed, options)
    print(f"{given.models} models written to {given.out}")
    return OK


def _options(given: argparse.Namespace) -> Options:
    from .batch.runner import Options

    round_options = _pairs("--round-set", given.round_set)
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
        "options": _pairs("--set", given.set),
        "seed": given.seed,
        "device": given.device,
        "threads": given.threads,
        "networks": given.networks,
        "budget": _budget(given),
        "cache": given.cache,
    }
    for name in _BATCH_ONLY:
        if hasattr(given, name):
            values[name] = getattr(given, name)
    return Options(**values)


def _budget(given: argparse.Namespace) -> Any:
    from .loading import Budget

    return Budget.parse(given.budget)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageProblem(f"{option} {shown(text)!r}: expected name=value")
        pairs[name] = value
    return pairs


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not part.isdigit() or not parts.isdigit():
        raise argparse.ArgumentTypeError(f"expected i/n such as 1/8, found {shown(text)!r}")
    return int(part), int(parts)


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds, or 15m, 2h, found {shown(text)!r}") from None


def _bytes(text: str) -> int:
    from .loading.budget import amount

    try:
        return amount(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{shown(text)!r}: {problem}") from None


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, or a share such as 10%, found {shown(text)!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trojai-seam",
        description="Does unlearning remove the trojans from TrojAI models, and what does it cost?",
        epilog="exit codes: 0 all models done, 1 some failed (they are rows), 2 bad usage or input, 130 interrupted",
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action="version", version=f"trojai-seam {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=summary, description=summary)
        one.set_defaults(command=command)
        return one

    demo = add("demo", _demo, "make a small round of trojaned and clean models, evaluate it, print the table")
    demo.add_argument("--out", type=Path, default=Path("trojai-seam-demo"), help="folder for it (default: %(default)s)")
    demo.add_argument("--models", type=int, default=8, help="how many models (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    demo.add_argument("--quiet", action="store_true", help="no progress")

    evaluate = add("evaluate", _evaluate, "unlearn every model of a dataset and tabulate what it did")
    evaluate.add_argument("dataset", type=Path, metavar="DATASET", help="dataset folder, or one model directory")
    evaluate.add_argument("--out", type=Path, metavar="RUN", help="run directory, made or continued")
    evaluate.add_argument(
        "--check", action="store_true", help="only read the models, on all cores, and list those that cannot be used"
    )
    _add_unlearning(evaluate)
    evaluate.add_argument(
        "--protocol",
        default="held-out",
        help="held-out (default), kfold, or paper (in-sample, with the authors' best-epoch oracle beside it)",
    )
    _add_spread(evaluate)
    _add_selection(evaluate)
    evaluate.add_argument("--retry", metavar="WHICH", help="evaluate again: failed, timeout (of --time-limit), or all")
    evaluate.add_argument("--quiet", action="store_true", help="no progress and no table; errors only")

    unlearn = add("unlearn", _unlearn, "unlearn one model on all its clean examples and save it")
    unlearn.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="an id-XXXXXXXX folder")
    unlearn.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the result")
    unlearn.add_argument(
        "--format",
        default="state-dict",
        choices=("state-dict", "module"),
        help="state-dict (default) opens with torch.load(weights_only=True); module is a whole nn.Module",
    )
    _add_unlearning(unlearn)

    inspect = add("inspect", _inspect, "say what is in a model file without running any of it")
    inspect.add_argument("path", type=Path, metavar="MODEL_DIR|FILE", help="a model directory or a torch.save file")
    inspect.add_argument("--tensors", action="store_true", help="list every tensor")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    _add_reading(inspect)

    add_result_commands(add)

    rounds = add("rounds", _rounds, "list the rounds that can be evaluated")
    rounds.add_argument("--verbose", action="store_true", help="with sources and quirks")
    rounds.add_argument("--json", action="store_true", help="whole configs as JSON")

    synthesize = add("synthesize", _synthesize, "make a small dataset in a round's layout, with trained models")
    synthesize.add_argument(
        "round", metavar="ROUND", help="r2, r3, r4, r11 (images), r10, r13 (detection), r5 to r9 (texts), r12"
    )
    synthesize.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    synthesize.add_argument("--models", type=int, required=True, metavar="N", help="how many, every second trojaned")
    synthesize.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    both = synthesize.add_argument_group("image, detection and text rounds only")
    both.add_argument("--epochs", type=int, metavar="E", help="length of training (default: by architecture)")
    both.add_argument(
        "--architectures", default="", metavar="NAME,NAME", help="from the round's list (default: quick ones)"
    )
    both.add_argument("--examples-per-class", type=int, metavar="K", help="clean examples (default: as the round)")
    both.add_argument("--device", metavar="DEVICE", help="where to train: auto (default), cpu, cuda or cuda:N")
    images = synthesize.add_argument_group("image and detection rounds only")
    images.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="what the network sees (default: 64; detectors 96; NIST: 224 and 256)",
    )
    images.add_argument("--classes", type=int, metavar="C", help="kinds of sign (default: 10; detectors 6)")
    images.add_argument(
        "--triggers",
        default="",
        metavar="KIND,KIND",
        help="detectors: misclassification, evasion, injection (r13), localisation (r13), taken in turn (default: all)",
    )
    texts = synthesize.add_argument_group("text rounds only")
    texts.add_argument("--width", type=int, metavar="W", help="hidden size (default: 64; NIST: 256 to 768)")
    return parser


def _add_spread(parser: argparse.ArgumentParser) -> None:
    spread = parser.add_argument_group("how the work is spread (no number depends on it)")
    spread.add_argument(
        "--executor",
        default="auto",
        help="serial, pool (processes of their own), ray, or auto (default): pool for several workers or limits",
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
        "--time-limit", type=_seconds, metavar="S", help="what takes longer is stopped and failed: 900, 15m, 2h"
    )
    spread.add_argument(
        "--memory-limit", type=_bytes, metavar="BYTES", help="host memory that one model may take: 8GiB, 500MB"
    )
    spread.add_argument("--ray-address", metavar="ADDRESS", help="Ray cluster to use (auto: the one of this machine)")
    spread.add_argument(
        "--max-failures", type=_share, metavar="N", help="stop after more failed models: 20, 0.1, or 10%%"
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    selection = parser.add_argument_group("which models (applied in this order)")
    selection.add_argument("--ids", type=_names, default=[], metavar="ID,ID", help="only these")
    selection.add_argument(
        "--where",
        metavar="EXPRESSION",
        help="over METADATA and config columns: \"poisoned and model_architecture == 'resnet50'\"",
    )
    selection.add_argument("--sample", type=int, metavar="N", help="N drawn by --seed")
    selection.add_argument("--limit", type=int, metavar="N", help="at most N")
    selection.add_argument("--shard", type=_shard, metavar="I/N", help="the I-th of N disjoint parts, for array jobs")


def _add_unlearning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--round", metavar="NAME", help="round name or alias (default: found from the dataset)")
    parser.add_argument("--preset", metavar="NAME", help="unlearning preset (default: the round's)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an unlearning option")
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
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or (evaluate) cuda:N,M")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per model (default: %(default)s)")
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", type=Path, metavar="FILE.py", help="your own constructors for unknown networks")
    parser.add_argument(
        "--budget", action="append", default=[], metavar="NAME=VALUE", help="raise a bound on reading model files"
    )
    parser.add_argument(
        "--entry", metavar="KEY", help="the network, where a model file is a checkpoint of several: model, ema, …"
    )


if __name__ == "__main__":
    sys.exit(main())
