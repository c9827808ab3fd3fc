"""The bytes of one pickle, read from the file as far as its instructions reach, whatever length they declare."""

from __future__ import annotations

from typing import Final

from .budget import Budget
from .model_file import ModelFile
from .nodes import Objection

_LONGEST_LINE: Final = 4096
_FIRST: Final = 1 << 16


class Window:
    """A pickle that lies in ``file`` from ``start`` on and ends before ``stop``. Offsets count from its beginning."""

    def __init__(self, file: ModelFile, start: int, stop: int, budget: Budget) -> None:
        self._file, self._start, self._budget = file, start, budget
        self._length = min(stop - start, budget.pickle_bytes)
        self._cut = self._length < stop - start
        self._data = b""

    def reach(self, stop: int) -> bytes:
        """The pickle from its beginning to ``stop`` at least; it grows by doubling, so that asking again costs little.

        Raises:
            Objection: that is beyond the budget.
            EOFError: it is shorter.
        """
        have = len(self._data)
        if stop > have:
            if stop > self._length:
                if self._cut:
                    raise Objection(f"a pickle longer than the budget, pickle_bytes={self._budget.pickle_bytes}")
                raise EOFError("it ends before its last instruction")
            wanted = min(max(stop, 2 * have, _FIRST), self._length)
            self._data += self._file.read(self._start + have, self._start + wanted)
        return self._data

    def text(self, start: int, size: int) -> bytes:
        """``size`` bytes from ``start`` on: a string, or the digits of a long integer.

        Raises:
            Objection: more than the budget allows.
            EOFError: there are fewer.
        """
        limit = self._budget.string_bytes
        if size > limit:
            # Cheaper than reading: whether the bytes exist or not, nobody needs a string of that length.
            raise Objection(f"declares a string of {size} bytes; the budget is string_bytes={limit}")
        if size < 0:
            raise ValueError(f"a string of {size} bytes")
        return self.reach(start + size)[start : start + size]

    def line(self, start: int) -> bytes:
        """The bytes from ``start`` on up to and including the next newline.

        Raises:
            Objection: there is none within reach, or a backslash before it.
        """
        most = min(self._length, start + _LONGEST_LINE)
        newline = self.reach(most).find(b"\n", start, most)
        if newline < 0:
            raise Objection("a line of text that does not end")
        line = self.text(start, newline + 1 - start)
        if b"\\" in line:
            # Some readers of pickles interpret it, Python's does not: no name means two things here.
            raise Objection("a name with a backslash")
        return line
