"""``python -m trojai_seam``: the same as the command ``trojai-seam``."""

from __future__ import annotations

from typing import NoReturn

from .cli import main
from .leaving import run_and_leave


def command() -> NoReturn:
    """The command line, as a process of its own."""
    run_and_leave(main)


if __name__ == "__main__":
    command()
