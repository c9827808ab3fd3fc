"""How much a file may ask of the reader before it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ..errors import UsageProblem, listed, shown

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_AMOUNT = re.compile(r"([0-9][0-9_]{0,17})\s*([A-Za-z]{0,3})", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """Limits for one file. The defaults are some ten times what the largest TrojAI model needs.

    Attributes:
        opcodes: pickle instructions, all pickles of the file together.
        nodes: inert nodes and container items made from them, and entries of a zip archive.
        depth: longest chain of nested containers, and of nested modules.
        string_bytes: one string, line or integer in a pickle.
        text_bytes: all strings together.
        pickle_bytes: one pickle.
        tensor_bytes: contiguous copies of all named tensors together, in bytes, and the storages that they are taken
            from together. An expanded (stride 0) tensor counts with its full size.
        names: module paths and tensor names.
    """

    opcodes: int = 2_000_000
    nodes: int = 1_000_000
    depth: int = 500
    string_bytes: int = 64 * 2**20
    text_bytes: int = 256 * 2**20
    pickle_bytes: int = 512 * 2**20
    tensor_bytes: int = 4 * 2**30
    names: int = 200_000

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Budget:
        """The default budget changed by settings such as ``tensor_bytes=8GiB`` or ``opcodes=1_000_000``.

        Raises:
            UsageProblem: an unknown name, or a value that is not a positive number (with a unit for ``*_bytes``).
        """
        known = [field.name for field in fields(cls)]
        changes: dict[str, int] = {}
        for setting in settings:
            name, equals, value = (part.strip() for part in setting.partition("="))
            if not equals or name not in known:
                raise UsageProblem(f"--budget {shown(setting)}: want name=value with name one of {listed(known)}")
            changes[name] = _amount(name, value)
        return replace(cls(), **changes)


def _amount(name: str, value: str) -> int:
    try:
        return amount(value, units=name.endswith("_bytes"))
    except ValueError as problem:
        raise UsageProblem(f"--budget {name}={shown(value)}: {problem}") from None


def amount(text: str, units: bool = True) -> int:
    """``8GiB``, ``500 MB`` or ``1_000_000`` as a number.

    Raises:
        ValueError: saying what is wanted.
    """
    match = _AMOUNT.fullmatch(text)
    unit = match[2].upper() if match else ""
    if match is None or unit not in _UNITS or (unit and not units):
        raise ValueError(
            f"want a whole number{' of bytes, with a unit such as MiB or GB if you like' if units else ''}"
        )
    number = int(match[1].replace("_", "")) * _UNITS[unit]
    if number < 1:
        raise ValueError("want at least 1")
    return number
