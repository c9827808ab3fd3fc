"""The subcommand for one model of your own: ``evaluate-model``. It imports what weighs itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .command_options import add_fit_limits, add_measures, add_unlearning, budget, names, pairs
from .errors import shown
from .result_commands import Add

OK, SOME_FAILED, BAD_INPUT = 0, 1, 2
INPUT_KINDS = ("config", "dataset", "examples", "refused-file", "state-mismatch", "unsupported-model", "usage")
"""Failures that whoever gave model and images can mend."""


def add_model_commands(add: Add) -> None:
    """Declare it."""
    own = add("evaluate-model", _evaluate_model, "unlearn one model of your own and measure it on your images")
    own.add_argument(
        "model", type=Path, metavar="MODEL", help="a checkpoint: state dict, dict with one, or whole module"
    )
    own.add_argument("--out", type=Path, metavar="RUN", help="run directory (default: one in trojai-seam-runs)")
    images = own.add_argument_group("images (a folder of class folders, a CSV, side-cars, .npz with x and y, .npy)")
    images.add_argument("--clean", type=Path, required=True, metavar="PATH", help="clean ones; some are trained on")
    images.add_argument("--held-out", type=Path, metavar="PATH", help="clean ones that only measure")
    images.add_argument("--poisoned", type=Path, metavar="PATH", help="triggered ones, by true class or without labels")
    images.add_argument(
        "--trigger", metavar="SPEC", help="or a trigger as JSON, or a file of it, to stamp on clean ones"
    )
    images.add_argument("--target", type=int, metavar="CLASS", help="what triggered images are to be called")
    images.add_argument("--all-to-all", action="store_true", help="instead: every class is to be called the next one")
    images.add_argument("--classes", type=names, default=[], metavar="NAME,NAME", help="in the network's order")
    prepared = own.add_argument_group("how the network takes them")
    prepared.add_argument("--size", type=int, metavar="N", help="height and width; others are fitted")
    prepared.add_argument(
        "--resize",
        choices=("whole", "crop", "cut"),
        help="how: the whole picture (default), its central square, or its centre cut out",
    )
    prepared.add_argument("--mean", type=_numbers, default=[], metavar="R,G,B", help="subtracted, of images in 0 … 1")
    prepared.add_argument("--std", type=_numbers, default=[], metavar="R,G,B", help="divided by after that")
    prepared.add_argument("--preprocess", metavar="NAME", help="a normalisation by name: cifar10, imagenet, none, …")
    prepared.add_argument(
        "--channel-order", choices=("rgb", "bgr", "grey"), help="default: rgb, or what it has channels for"
    )
    prepared.add_argument("--scaling", choices=("/255", "min-max"), default="/255", help="default: %(default)s")
    add_unlearning(own)
    add_fit_limits(own)
    add_measures(own)
    own.add_argument(
        "--protocol",
        default="held-out",
        help="held-out (default), kfold, or paper (in-sample, with an oracle beside it)",
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0.49,0.48,0.45, found {shown(text)!r}") from None


_OF_MODEL = (
    "clean", "held_out", "poisoned", "trigger", "target", "all_to_all", "classes", "size", "resize", "mean", "std",
    "preprocess", "channel_order", "scaling", "network", "entry",
)  # fmt: skip
_OF_BATCH = (
    "preset",
    "protocol",
    "fit_per_class",
    "fit_total",
    "retune",
    "trigger_variants",
    "trace_attack",
    "seed",
    "device",
    "threads",
    "networks",
)


def _evaluate_model(given: argparse.Namespace) -> int:
    from .batch.progress import choose_progress
    from .own_models import evaluate_model, failure
    from .tables import render

    results = evaluate_model(
        given.model,
        given.out,
        progress=choose_progress(given.quiet, given.verbose),
        budget=budget(given),
        options=pairs("--set", given.set),
        **{name: getattr(given, name) for name in (*_OF_MODEL, *_OF_BATCH)},
    )
    failed = failure(results)
    if failed is not None:
        kind, text = failed
        print(f"trojai-seam: error: {text}", file=sys.stderr)
        return BAD_INPUT if kind in INPUT_KINDS else SOME_FAILED
    if not given.quiet:
        print(render(results))
        print(f"\nwritten to {results.attrs['run_dir']}")
    return OK
