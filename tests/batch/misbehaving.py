"""Models that hang, crash or eat memory: harmless files whose constructor, in a ``--networks`` file of a user, does."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from trojai_seam.synthesis.archs import make_network, save_as_nist

NETWORKS_FILE = Path(__file__).with_name("misbehaving_networks.py")


def make(model_directory: Path, class_name: str) -> None:
    """Let the model's file ask for a class of that name."""
    network = make_network(2, "tanh")
    type(network).__name__ = type(network).__qualname__ = class_name
    save_as_nist(network, model_directory / "model.pt")


def processes() -> dict[int, str]:
    """Command lines of all processes that are no zombies."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text and state != "Z":
            found[int(path.name)] = text
    return found


def workers_of(run: str) -> list[int]:
    """Processes that mention ``run`` in their command line or have it in their environment."""
    mine = []
    for number in processes():
        try:
            environment = (Path("/proc") / str(number) / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if f"TROJAI_SEAM_TEST={run}\0".encode() in environment:
            mine.append(number)
    return mine


def hears_sigint() -> None:
    """For ``preexec_fn``: what a shell starts in the background ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(condition, seconds: float = 60.0) -> None:
    """Fails if it does not become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
