"""Bounds for numbers and flags that an untrusted file carries. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """Numbers between ``low`` and ``high``; the ends belong to it if ``closed``. ``optional`` admits None as well."""

    low: float
    high: float
    closed: bool = True
    optional: bool = False

    def admits(self, value: object) -> bool:
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False  # NaN fails both comparisons below, and an int too large for a float does not disturb them
        return self.low <= value <= self.high if self.closed else self.low < value < self.high

    @property
    def missed(self) -> str:
        """What a value is that is not admitted."""
        words = ("from", "to") if self.closed else ("between", "and")
        return f"no number {words[0]} {self.low:g} {words[1]} {self.high:g}"


class Flag:
    """True or false."""

    missed = "neither true nor false"

    def admits(self, value: object) -> bool:
        return isinstance(value, bool)
