"""A user's ``--networks`` file whose constructors hang, crash or eat memory: for tests and the fault drill."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

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
    """Workers of this run. The test's process has other children, of earlier tests and of libraries."""
    run = f"TROJAI_SEAM_TEST={os.environ['TROJAI_SEAM_TEST']}".encode()
    found = []
    for child in Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if run in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):  # a zombie's is empty
                found.append(child)
    return found
