"""How arguments are cut out of a pickle: as Python's own pickletools do it, wherever the reads from the file end."""

from __future__ import annotations

import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from tests.loading.handmade import name, number, text
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import Budget
from trojai_seam.loading import window as window_module
from trojai_seam.loading.model_file import ModelFile
from trojai_seam.loading.pickle_reader import PickleReader

VALUES: list[Any] = [
    None, True, False, 0, 1, 255, 256, 65535, 65536, -1, -(2**31), 2**31, 2**70, -(2**70), 2**2000, 0.1, -1e300,
    float("inf"), "", "x" * 255, "y" * 256, "ünï 中文 🙂", b"", b"a\x00\xff", b"b" * 256, (), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), [], [1], list(range(3000)), {}, {"a": 1}, {1, 2}, frozenset({3}), "x" * 70_000, complex(1, 2),
]  # fmt: skip
#: Of old protocols, which pickle writes no more.
OLD = [
    b"T" + struct.pack("<i", 3) + b"a\xe9b", b"U\x03a\xe9b", b"\x8a\x00", b"\x8a\x02\xff\x7f",
    b"\x8b" + struct.pack("<i", 2) + b"\x00\x80", b"M\xff\xff", b"K\xff", b"G" + struct.pack(">d", -0.0),
    b"r\x00\x00\x01\x00", b"j\x00\x00\x01\x00", b"q\xff", b"h\xff", name("torch._utils", "_rebuild"), text("é"),
    number(-5), b"\x8d" + struct.pack("<Q", 2) + b"ab", b"\x8e" + struct.pack("<Q", 2) + b"a\xff",
]  # fmt: skip


def arguments(path: Path, start: int, stop: int) -> list[tuple[str, Any]]:
    """Name and argument of every instruction, as our reader hands them on."""
    seen: list[tuple[str, Any]] = []
    with ModelFile(path) as file:
        reader = PickleReader(file, Budget())
        for code, instruction in enumerate(reader._instructions):
            if instruction is not None:

                def note(*given: Any, name: str = instruction.name) -> None:
                    seen.append((name, given[0] if len(given) == 1 else given or None))

                reader._instructions[code] = instruction._replace(act=note)
        with pytest.raises(RefusedArchive, match="empty stack"):  # nothing was done
            reader.read(start, stop, "x")
    return seen


def plain(name: str, argument: Any) -> Any:
    """What pickletools makes of an argument, as bytes where ours still are."""
    if name == "GLOBAL":
        module, attribute = argument.split(" ")
        return (module, attribute)
    if name in ("LONG1", "LONG4"):
        return pickle.encode_long(argument)
    if isinstance(argument, str):
        return argument.encode("latin-1" if name.endswith("BINSTRING") else "utf-8")
    return argument


def numeral(name: str, argument: Any) -> Any:
    """A long integer has many spellings."""
    return pickle.decode_long(argument) if name in ("LONG1", "LONG4") else argument


@pytest.mark.parametrize("first", [1, 7, 1 << 16], ids=["byte by byte", "in sevens", "as it is"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arguments_are_those_of_pickletools(
    first: int, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "_FIRST", first)
    body = pickle.dumps(VALUES, protocol)[:-1] + b"".join(OLD) + b"."
    (tmp_path / "x").write_bytes(b"before" + body + b"behind")
    ours = arguments(tmp_path / "x", 6, 6 + len(body))
    theirs = [(op.name, argument) for op, argument, _ in pickletools.genops(body)]
    assert [(name, numeral(name, argument)) for name, argument in ours] == [
        (name, numeral(name, plain(name, argument))) for name, argument in theirs
    ]
    assert len({name for name, _ in ours}) > 25


def test_arguments_of_a_whole_network(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pt").read_bytes()
    at = 0
    for _ in range(5):
        theirs = list(pickletools.genops(whole[at : at + (1 << 20)]))
        stop = at + (theirs[-1][2] or 0) + 1
        ours = arguments(tmp_path / "x.pt", at, len(whole))
        assert [(name, numeral(name, argument)) for name, argument in ours] == [
            (op.name, numeral(op.name, plain(op.name, argument))) for op, argument, _ in theirs
        ]
        at = stop


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_may_end_anywhere(protocol: int, tmp_path: Path) -> None:
    body = pickle.dumps([VALUES[:30], VALUES[30:36]], protocol)
    (tmp_path / "x").write_bytes(body)
    for stop in range(len(body)):
        with ModelFile(tmp_path / "x") as file, pytest.raises(RefusedArchive, match=r"damaged pickle|not end"):
            PickleReader(file, Budget()).read(0, stop, "x")
