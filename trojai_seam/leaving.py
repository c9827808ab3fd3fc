"""How a process that has torch in it ends."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_and_leave(main: Callable[[], int]) -> NoReturn:
    """End this process with the status that ``main`` returns, after all exit handlers and with all output flushed.

    Python would then take every module apart, which with torch takes up to a second and 100 MB, and is of no use.
    """
    status = 1

    def leave() -> None:
        if "torch" not in sys.modules:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
        except OSError:
            return  # whoever read it is gone, or the disk is full: Python says so at its own end
        os._exit(status)

    atexit.register(leave)  # what is registered first is called last
    try:
        status = main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    sys.exit(status)
