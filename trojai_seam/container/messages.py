"""What the container says: to standard error, one line each, because the server only keeps a log."""

from __future__ import annotations

import sys


def warn(text: str) -> None:
    """Something was left out or replaced, and work goes on."""
    print(f"trojai-seam: warning: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> None:
    """Something cannot be done."""
    print(f"trojai-seam: error: {text}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """What was done."""
    print(f"trojai-seam: {text}", file=sys.stderr, flush=True)
