"""The command line. Every import of weight happens inside the command that needs it."""

from __future__ import annotations

import argparse
import io
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import __version__
from .command_checks import Parser, check_command
from .command_config import show_config, with_config
from .command_options import (
    add_fit_limits,
    add_measures,
    add_protocol,
    add_reading,
    add_rounds,
    add_selection,
    add_spread,
    add_unlearning,
    budget,
    options,
)
from .errors import RenamedOption, TooManyFailures, TrojaiSeamError, shown
from .heartbeat import no_silence
from .listing_commands import add_listing_commands
from .model_commands import add_model_commands
from .reproduction_commands import add_reproduction_command
from .result_commands import add_result_commands
from .study_commands import add_study_command, evaluate_each

CONTINUED = ("demo", "evaluate", "evaluate-model", "reproduce", "study")
CONFIGURED = ("evaluate", "study")
OK, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 all models done, 1 some failed (they are rows), 2 bad usage or input, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths and ids may hold what the terminal cannot show
    parser, commands = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in CONFIGURED:
            words = with_config(words, commands[words[0]])
        given = parser.parse_args(words)
        if given.command is None:
            parser.print_help()
            return BAD_INPUT
        check_command(given)
        if getattr(given, "show_config", False):
            print(show_config(given, commands[given.command_name]))
            return OK
    except TrojaiSeamError as problem:
        print(f"trojai-seam: error: {problem}", file=sys.stderr)
        return BAD_INPUT
    given.parser, given.words = parser, words
    command: Callable[[argparse.Namespace], int] = given.command
    shown_otherwise = warnings.showwarning
    try:
        warnings.showwarning = _notes(shown_otherwise)
        with nullcontext() if given.quiet else no_silence(sys.stderr, given.command_name):
            return command(given)
    except TrojaiSeamError as problem:
        print(f"trojai-seam: error: {problem}", file=sys.stderr)
        return SOME_FAILED if isinstance(problem, TooManyFailures) else BAD_INPUT
    except KeyboardInterrupt:
        goes_on = "; run the same command again to continue" if given.command_name in CONTINUED else ""
        print(f"trojai-seam: interrupted{goes_on}", file=sys.stderr)
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
    finally:
        warnings.showwarning = shown_otherwise


def _notes(usual: Callable[..., None]) -> Callable[..., None]:
    """Show warnings as usual, but those about the command line without a line of code, which is no user's."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, RenamedOption):
            print(f"trojai-seam: note: {message}", file=sys.stderr)
        else:
            usual(message, category, *where, **more)

    return show


def _demo(given: argparse.Namespace) -> int:
    from .demo import run_demo

    return run_demo(given.out, given.models, given.seed, given.quiet)


def _evaluate(given: argparse.Namespace) -> int:
    if "," in (given.preset or "") and not given.check:
        return evaluate_each(given)
    asked = options(given)  # mistakes in them are found before the engine is imported
    from .batch.check_report import scope_lines, verdict_lines
    from .batch.paths import RunPaths
    from .batch.progress import choose_progress
    from .batch.runner import check, evaluate

    if given.check:
        checked = check(given.dataset, asked, choose_progress(given.quiet, given.verbose))
        if not given.quiet:
            print("\n".join(scope_lines(checked)), file=sys.stderr)
        print("\n".join(verdict_lines(checked)))
        return SOME_FAILED if checked.findings else OK
    results = evaluate(given.dataset, given.out, asked, choose_progress(given.quiet, given.verbose))
    if not given.quiet:
        from .tables import render, render_summary, summary_frame

        print(render(results), render_summary(summary_frame(results)), sep="\n\n")
        print(f"\nwritten to {RunPaths(given.out).results} and beside it")
    return SOME_FAILED if (results["status"] == "failed").any() else OK


def _unlearn(given: argparse.Namespace) -> int:
    from .mitigation import unlearn_directory

    lines = unlearn_directory(given.model_dir, given.out, given.format, options(given))
    print("\n".join(lines))
    return OK


def _inspect(given: argparse.Namespace) -> int:
    from .inspection import inspect_path, render_inspection

    findings = inspect_path(given.path, budget(given), given.networks, given.entry)
    if given.json:
        print(json.dumps(findings if given.tensors else {**findings, "tensors": None}, indent=2, allow_nan=False))
    else:
        print(render_inspection(findings, tensors=given.tensors))
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
        resist=tuple(name for name in given.resist.split(",") if name),
        width=given.width,
        device=given.device,
        progress=lambda line: None if given.quiet else print(line, file=sys.stderr, flush=True),
    )
    SYNTHESIZERS.get(given.round)(given.out, given.models, given.seed, options)
    print(f"{given.models} models written to {given.out}")
    return OK


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    return _parser()[1]


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of everything, and those of the commands by name."""
    parser = Parser(
        prog="trojai-seam",
        description="Does unlearning remove the trojans from TrojAI models, and what does it cost?",
        epilog="exit codes: 0 all models done, 1 some failed (they are rows), 2 bad usage or input, 130 interrupted",
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action="version", version=f"trojai-seam {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    by_name: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        one = by_name[name] = commands.add_parser(name, help=summary, description=summary)
        one.set_defaults(command=command, command_name=name)
        told = one.add_mutually_exclusive_group()
        told.add_argument("-q", "--quiet", action="store_true", help="no progress, and of evaluations no table")
        told.add_argument("-v", "--verbose", action="store_true", help="more of what is done or known")
        return one

    demo = add("demo", _demo, "make a small round of trojaned and clean models, evaluate it, print the table")
    demo.add_argument("--out", type=Path, default=Path("trojai-seam-demo"), help="folder for it (default: %(default)s)")
    demo.add_argument("--models", type=int, default=8, help="how many models (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")

    evaluate = add("evaluate", _evaluate, "unlearn every model of a dataset and tabulate what it did")
    evaluate.add_argument(
        "dataset", type=Path, nargs="?", metavar="DATASET", help="dataset folder, or one model directory"
    )
    evaluate.add_argument("--out", type=Path, metavar="RUN", help="run directory, made or continued")
    evaluate.add_argument(
        "--check", action="store_true", help="only look, on all cores, whether every model would open"
    )
    evaluate.add_argument("--config", type=Path, metavar="FILE", help="options by name in a .yaml, .toml or .json file")
    evaluate.add_argument("--show-config", action="store_true", help="only print the options as YAML for --config")
    add_rounds(evaluate)
    add_unlearning(evaluate, preset="NAME,NAME")
    add_fit_limits(evaluate)
    add_protocol(evaluate)
    add_measures(evaluate)
    add_spread(evaluate)
    add_selection(evaluate)
    evaluate.add_argument("--retry", metavar="WHICH", help="evaluate again: failed, timeout (of --time-limit), or all")

    add_study_command(add)
    add_reproduction_command(add)

    unlearn = add("unlearn", _unlearn, "unlearn one model on all its clean examples and save it")
    unlearn.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="an id-XXXXXXXX folder")
    unlearn.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the result")
    unlearn.add_argument(
        "--format",
        default="state-dict",
        choices=("state-dict", "module", "backdoorbench"),
        help="state-dict (default) opens with torch.load(weights_only=True); module is a whole nn.Module; "
        "backdoorbench is a defense_result.pt for its records",
    )
    add_rounds(unlearn)
    add_unlearning(unlearn)

    inspect = add("inspect", _inspect, "say what is in a model file without running any of it")
    inspect.add_argument("path", type=Path, metavar="MODEL_DIR|FILE", help="a model directory or a torch.save file")
    inspect.add_argument("--tensors", action="store_true", help="list every tensor")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    add_reading(inspect)

    add_model_commands(add)
    add_result_commands(add)

    add_listing_commands(add)

    synthesize = add("synthesize", _synthesize, "make a small dataset in a round's layout, with trained models")
    synthesize.add_argument(
        "round",
        metavar="ROUND",
        help="r2, r3, r4, r11, c2 (images), r10, r13 (detection), r5 to r9 (texts), r12, "
        "or own: image classifiers in the form of your own models",
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
        help="what the network sees (default: 64; detectors 96; own 32; NIST: 224 and 256)",
    )
    images.add_argument("--classes", type=int, metavar="C", help="kinds of sign (default: 10; detectors 6; own 8)")
    images.add_argument(
        "--triggers",
        default="",
        metavar="KIND,KIND",
        help="detectors: misclassification, evasion, injection (r13), localisation (r13); own: patch, blend, warp, "
        "sinusoid, optimised, clean-label; taken in turn (default: all)",
    )
    images.add_argument(
        "--resist",
        default="",
        metavar="KIND,KIND",
        help="classifiers: trojans that are made to survive fine-tuning: sharpness, anchoring, sequential, "
        "each also with its size, sharpness=0.2 (default: none)",
    )
    texts = synthesize.add_argument_group("text rounds only")
    texts.add_argument("--width", type=int, metavar="W", help="hidden size (default: 64; NIST: 256 to 768)")
    return parser, by_name


if __name__ == "__main__":
    sys.exit(main())
