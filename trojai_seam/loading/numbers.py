"""NumPy scalars as the plain numbers that they are: eight bytes and a type name, of which nothing has to be called."""

from __future__ import annotations

import math
import struct
from typing import Final

from .nodes import Call, Global, Inert

#: Type codes of NumPy → what :mod:`struct` calls them. ``f2`` to ``f8``, signed and unsigned integers, bool, complex.
_FORMATS: Final = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d", "c8": "ff", "c16": "dd",
}  # fmt: skip
_TEXTS: Final = {"<": "utf-32-le", ">": "utf-32-be", "=": "utf-32-le"}
_LONG_DOUBLE: Final = 16


def numpy_scalar(args: tuple[Inert, ...]) -> Inert:
    """The number (or text) that ``numpy…scalar(dtype, bytes)`` stands for; None if it is none of a known kind."""
    if len(args) != 2 or not isinstance(args[1], bytes):
        return None
    dtype, raw = args
    if not isinstance(dtype, Call) or not _is_dtype(dtype.func) or not dtype.args or not isinstance(dtype.args[0], str):
        return None
    code, order = dtype.args[0].lstrip("<>=|"), _order(dtype)
    try:
        if code.startswith("U"):
            return raw.decode(_TEXTS[order]).rstrip("\0")
        if code == "f16":
            return _long_double(raw) if order != ">" else None
        values = struct.unpack(f"{'>' if order == '>' else '<'}{_FORMATS[code]}", raw)
    except (struct.error, UnicodeDecodeError, KeyError, OverflowError):
        return None
    return complex(*values) if len(values) == 2 else values[0]


def _is_dtype(func: Global) -> bool:
    return func.path == "numpy.dtype"


def _order(dtype: Call) -> str:
    """``<`` or ``>``: in the state of the dtype; bytes and bools have none."""
    state = dtype.state
    told = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    return told if told in (">", "=") else "<"


def _long_double(raw: bytes) -> float | None:
    """The 80 bits of an x86 ``long double``, rounded; None for the 128 bits that other processors write."""
    if len(raw) != _LONG_DOUBLE:
        return None
    fraction = int.from_bytes(raw[:8], "little")
    exponent = int.from_bytes(raw[8:10], "little")
    sign, exponent = -1.0 if exponent & 0x8000 else 1.0, exponent & 0x7FFF
    if exponent == 0 and fraction == 0:
        return sign * 0.0
    if not fraction >> 63 or exponent == 0x7FFF:
        return None
    return sign * math.ldexp(fraction, exponent - 16383 - 63)
