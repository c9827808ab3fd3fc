"""Files of ``torch.save`` put together byte by byte, to hold what torch itself would never write."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

STOP = b"."
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, PERSID = b"R", b"b", b"\x81", b"\x92", b"Q"
MARK, POP, POP_MARK, DUP, NONE, TRUE, FALSE = b"(", b"0", b"1", b"2", b"N", b"\x88", b"\x89"
TUPLE, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3 = b"t", b")", b"\x85", b"\x86", b"\x87"
LIST, DICT, APPEND, APPENDS, SETITEM, SETITEMS = b"]", b"}", b"a", b"e", b"s", b"u"
STACK_GLOBAL = b"\x93"
MAGIC = 0x1950A86A20F9469CFC6C
ORDERED = b"ccollections\nOrderedDict\n)R"


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """BININT, or LONG1 where that is too short."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def put(index: int) -> bytes:
    """LONG_BINPUT."""
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    """LONG_BINGET."""
    return b"j" + struct.pack("<I", index)


def group(*parts: bytes) -> bytes:
    """A tuple of any length."""
    return MARK + b"".join(parts) + TUPLE


def entries(*pairs: tuple[str, bytes]) -> bytes:
    """SETITEMS on the dict below."""
    return MARK + b"".join(text(key) + value for key, value in pairs) + SETITEMS


def storage(numel: int = 4, kind: str = "FloatStorage", key: str = "0", more: bytes = b"") -> bytes:
    """The persistent id of a storage."""
    return group(text("storage"), name("torch", kind), text(key), text("cpu"), number(numel), more) + PERSID


def tensor(
    size: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    of: bytes | None = None,
    tail: bytes = FALSE + ORDERED,
    func: str = "_rebuild_tensor_v2",
) -> bytes:
    """A call of ``torch._utils._rebuild_tensor_v2``."""
    sizes, strides = (group(*map(number, values)) for values in (size, stride))
    return name("torch._utils", func) + group(of or storage(), number(offset), sizes, strides, tail) + REDUCE


def module(cls: bytes = name("nets", "Net"), more: tuple[tuple[str, bytes], ...] = (), **groups: bytes) -> bytes:
    """An nn.Module instance; ``groups`` replaces ``parameters``, ``buffers`` or ``modules``."""
    inner = {"_parameters": ORDERED, "_buffers": ORDERED, "_modules": ORDERED} | {"_" + k: v for k, v in groups.items()}
    return cls + EMPTY_TUPLE + NEWOBJ + DICT + entries(*inner.items(), *more) + BUILD


def call(function: bytes, *args: bytes) -> bytes:
    """REDUCE."""
    return function + group(*args) + REDUCE


def save_zip(path: Path, body: bytes, records: dict[str, bytes] | None = None, proto: int = 2, root: str = "a") -> Path:
    """A zip file whose data.pkl is ``body`` between PROTO and STOP."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", b"\x80" + bytes([proto]) + body + STOP)
        archive.writestr(f"{root}/version", b"3\n")
        for key, data in (records if records is not None else {"data/0": bytes(16)}).items():
            archive.writestr(f"{root}/{key}", data)
    return path


def save_legacy(
    path: Path,
    body: bytes,
    keys: bytes | None = None,
    storages: bytes | None = None,
    magic: bytes = number(MAGIC),
    protocol: bytes = number(1001),
    system: bytes = DICT + entries(("little_endian", TRUE)),
) -> Path:
    """A legacy file; each part is the body of one of its five pickles."""
    keys = LIST + text("0") + APPEND if keys is None else keys
    pickles = b"".join(b"\x80\x02" + part + STOP for part in (magic, protocol, system, body, keys))
    path.write_bytes(pickles + (struct.pack("<q", 4) + bytes(16) if storages is None else storages))
    return path


def touching(marker: Path) -> bytes:
    """A call that creates ``marker`` if anything runs it."""
    return call(name("os", "mkdir"), text(os.fspath(marker)))


class Thing:
    """An object for :func:`dump`: class path, state, and the arguments of ``__new__``."""

    def __init__(self, class_path: str, state: object, args: tuple[object, ...] = ()) -> None:
        self.class_path, self.state, self.args = class_path, state, args


class Called:
    """A call for :func:`dump`."""

    def __init__(self, path: str, args: tuple[object, ...]) -> None:
        self.path, self.args = path, args


def dump(value: object) -> bytes:
    """What protocol 2 writes for plain values, :class:`Thing` and :class:`Called`; no class need exist."""
    if value is None or isinstance(value, bool):
        return {None: NONE, True: TRUE, False: FALSE}[value]
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return dump(Called("_codecs.encode", (value.decode("latin-1"), "latin1")))
    if isinstance(value, tuple):
        return group(*map(dump, value))
    if isinstance(value, list):
        return LIST + MARK + b"".join(map(dump, value)) + APPENDS
    if isinstance(value, set):
        return dump(Called("__builtin__.set", (sorted(value),)))
    if isinstance(value, dict):
        return DICT + MARK + b"".join(dump(k) + dump(v) for k, v in value.items()) + SETITEMS
    if isinstance(value, Called):
        return name(*value.path.rsplit(".", 1)) + dump(value.args) + REDUCE
    assert isinstance(value, Thing)
    return name(*value.class_path.rsplit(".", 1)) + dump(value.args) + NEWOBJ + dump(value.state) + BUILD
