"""Most memory that something took."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Counts from when it is made: on a GPU tensors on the device, else what the process holds in memory.

    Linux keeps that figure for a process and lets it be started anew; where it does not, nothing is known.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._known = True
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _RESET.write_text("5")
        except OSError:
            self._known = False

    @property
    def bytes(self) -> int | None:
        """The most so far; None where nobody can tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._known:
            with suppress(OSError):
                found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
                return None if found is None else 1024 * int(found[1])
        return None
