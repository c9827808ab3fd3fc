"""The subcommand ``reproduce``. It imports what weighs itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import shown

OK = 0
DATASETS = ("mnist", "cifar10")
PARTS = ("speed", "data", "forgetting", "ntk", "attacks")
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_reproduction_command(add: Add) -> None:
    """Declare it."""
    reproduce = add("reproduce", _reproduce, "measure the statements of the SEAM paper again, on data of your own disk")
    reproduce.add_argument("dataset", choices=DATASETS, metavar="DATASET", help="mnist or cifar10")
    reproduce.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="the data set: MNIST's four IDX files (plain or .gz); CIFAR-10's binary files, or class folders of images",
    )
    reproduce.add_argument(
        "--part",
        action="append",
        choices=PARTS,
        help="only this part, may be given several times: speed, data, forgetting, ntk or attacks (default: all)",
    )
    reproduce.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results, made or continued (default: reproduce-DATASET)"
    )
    reproduce.add_argument(
        "--seed", type=int, default=0, help="seed of everything; a further one joins those in --out (default: 0)"
    )
    reproduce.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")


def _reproduce(given: argparse.Namespace) -> int:
    from .reproduction.datasets import read_data

    data = read_data(given.dataset, given.data)

    from .reproduction.page import told_once, verdict_table, write_reproduction
    from .reproduction.parts import reproduce
    from .tables.formats import formatted

    out = given.out or Path(f"reproduce-{given.dataset}")
    parts = [name for name in PARTS if name in (given.part or PARTS)]

    def tell(text: str) -> None:
        if not given.quiet:
            print(f"trojai-seam: {shown(text)}", file=sys.stderr, flush=True)

    made = reproduce(data, out, parts, given.seed, tell, threads=given.threads)
    page = write_reproduction(made, out)
    if not given.quiet:
        print(formatted(told_once(verdict_table(made)), "text"))
        print(f"\nwritten to {shown(str(page), 2000)} and beside it")
    return OK
