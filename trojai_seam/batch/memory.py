"""Most memory that something took."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_OF_DEVICE = (RuntimeError, AssertionError, ValueError)
"""What torch raises about a device: also of no GPU (``AssertionError``), and of a number that none has."""


def _in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


class PeakMemory:
    """Counts from when it is made: on a GPU tensors on the device, else what the process holds in memory.

    Linux keeps that figure for a process and lets it be started anew; where it does not, nothing is known. Nor is it
    of a device that is not there or no longer answers: whoever computes on it next has more to say about that.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._known = True
        try:
            if self._device.type != "cuda":
                _RESET.write_text("5")
            elif _in_use():  # else it holds nothing yet, and would only say "invalid argument"
                torch.cuda.reset_peak_memory_stats(self._device)
        except (OSError, *_OF_DEVICE):
            self._known = False

    @property
    def bytes(self) -> int | None:
        """The most so far; None where nobody can tell."""
        with suppress(OSError, *_OF_DEVICE):
            if not self._known:
                return None
            if self._device.type == "cuda":
                return int(torch.cuda.max_memory_allocated(self._device)) if _in_use() else None
            found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
            return None if found is None else 1024 * int(found[1])
        return None
