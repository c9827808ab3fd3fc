"""Devices by the names that users give them."""

from __future__ import annotations

import ctypes
import os
import sys

from ..choices import DEVICES
from ..errors import UsageProblem, shown


def resolve_devices(name: str, elsewhere: bool = False) -> tuple[str, ...]:
    """``auto`` made definite (every GPU, else the CPU), and ``cuda:0,1`` taken apart.

    ``elsewhere``: the work is done on other machines, whose scheduler hands out their GPUs: only the kind counts.

    Raises:
        UsageProblem: no such device here.
    """
    count = _cuda_devices()
    if name == "auto" and elsewhere:
        return ("cuda:0",) if count else ("cpu",)
    if name == "auto":
        return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)
    if not DEVICES.fullmatch(name):
        raise UsageProblem(f"--device {shown(name)!r}: expected auto, cpu, cuda, cuda:N or cuda:N,M")
    if elsewhere and name.startswith("cuda"):
        return ("cuda:0",)
    kind, _, listed = name.partition(":")
    if kind == "cpu":
        return ("cpu",)
    numbers = [int(number) for number in listed.split(",")] if listed else [0]
    if max(numbers) >= count:
        raise UsageProblem(f"--device {name}: this machine has {count} CUDA devices")
    if len(set(numbers)) < len(numbers):
        raise UsageProblem(f"--device {name}: names a device twice; use --workers-per-gpu")
    return tuple(f"cuda:{number}" for number in numbers)


def _cuda_devices() -> int:
    """As torch counts them; where no device can be, it is not imported to say so."""
    if "torch" not in sys.modules and not _has_driver():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_driver() -> bool:
    """False where neither NVIDIA's driver is installed nor (torch calls these devices "cuda", too) AMD's."""
    if sys.platform != "linux" or os.path.exists("/dev/kfd"):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def resolve_device(name: str) -> str:
    """The one device of commands that need only one.

    Raises:
        UsageProblem: no such device here, or several.
    """
    devices = resolve_devices(name)
    if len(devices) > 1 and name != "auto":
        raise UsageProblem(f"--device {name}: expected one device")
    return devices[0]
