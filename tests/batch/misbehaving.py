"""Models that hang, crash or eat memory: harmless files whose constructor, in a ``--networks`` file of a user, does."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

from trojai_seam.synthesis.archs import make_network, save_as_nist

NETWORKS = '''
import ctypes, os, subprocess, sys, time
from collections import OrderedDict

from torch import nn
from trojai_seam.networks import register_network


def build(saved, hints):
    layers = OrderedDict(fc1=nn.Linear(135, 100), act1=nn.Tanh(), fc2=nn.Linear(100, 2))
    return nn.Sequential(layers)


@register_network("hangs", ["archs.Hangs"])
def hangs(saved, hints):
    print("about to hang", flush=True)
    subprocess.Popen(["sleep", "4321"])
    ctypes.PyDLL(None).pause()  # keeps the interpreter's lock: no other thread of this process runs


@register_network("crashes", ["archs.Crashes"])
def crashes(saved, hints):
    print("about to crash", file=sys.stderr)
    ctypes.string_at(0)


@register_network("exits", ["archs.Exits"])
def exits(saved, hints):
    os._exit(7)


@register_network("hogs", ["archs.Hogs"])
def hogs(saved, hints):
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.005)


@register_network("shy", ["archs.Shy"])
def shy(saved, hints):
    """Memory suffices only while no other worker has its network."""
    print("shy", flush=True)
    if len(siblings()) > 1:
        raise MemoryError
    return build(saved, hints)


@register_network("slow", ["archs.Slow"])
def slow(saved, hints):
    time.sleep(float(os.environ.get("SLOW", "0.2")))
    return build(saved, hints)


def siblings():
    return open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read().split()
'''


@cache
def networks_file() -> Path:
    """The user's file; one per process, since a process registers the networks in it only once."""
    folder = Path(tempfile.mkdtemp(prefix="trojai-seam-networks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "misbehaving_networks.py"
    path.write_text(NETWORKS)
    return path


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


def wait_until(condition, seconds: float = 60.0) -> None:
    """Fails if it does not become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
