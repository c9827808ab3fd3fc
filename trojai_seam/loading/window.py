"""The bytes of one pickle, handed to :mod:`pickletools` without ever believing a length that the file declares."""

from __future__ import annotations

import mmap
from typing import Final

from .budget import Budget
from .nodes import Objection

_LONGEST_LINE: Final = 4096


class Window:
    """A file-like view of a map from ``start`` to ``stop``, with just the methods that :mod:`pickletools` needs."""

    def __init__(self, data: mmap.mmap, start: int, stop: int, budget: Budget) -> None:
        self._data, self._at, self._budget = data, start, budget
        self._stop = min(stop, start + budget.pickle_bytes)
        self._cut = self._stop < stop

    def tell(self) -> int:
        """The present offset in the map."""
        return self._at

    def take(self) -> int:
        """The next byte.

        Raises:
            Objection: it is beyond the budget.
            EOFError: there is none.
        """
        at = self._at
        if at >= self._stop:
            self.read(1)
            raise EOFError("it ends before its last instruction")
        self._at = at + 1
        return self._data[at]

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end.

        Raises:
            Objection: more than the budget allows.
        """
        end = self._at + size
        if size > self._budget.string_bytes:
            # Cheaper than reading: whether the bytes exist or not, nobody needs a string of that length.
            limit = self._budget.string_bytes
            raise Objection(f"declares a string of {size} bytes; the budget is string_bytes={limit}")
        if end > self._stop:
            if self._cut:
                raise Objection(f"a pickle longer than the budget, pickle_bytes={self._budget.pickle_bytes}")
            end = self._stop
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def readline(self) -> bytes:
        """The bytes up to and including the next newline.

        Raises:
            Objection: there is none within reach, or a backslash before it.
        """
        most = min(self._stop, self._at + _LONGEST_LINE)
        newline = self._data.find(b"\n", self._at, most)
        if newline < 0:
            raise Objection("a line of text that does not end")
        if self._data.find(b"\\", self._at, newline) >= 0:
            # pickletools would interpret it, Python's unpickler would not: no name means two things here.
            raise Objection("a name with a backslash")
        return self.read(newline + 1 - self._at)
