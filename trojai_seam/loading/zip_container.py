"""The zip container of PyTorch 1.6 and later: where its records lie in the file, checked to the last byte."""

from __future__ import annotations

import mmap
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import RefusedArchive, shown
from .budget import Budget
from .mapped import CHUNK, release
from .nodes import Inert
from .pickle_reader import PickleReader

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED: Final = 0x2041
_DESCRIPTOR: Final = 0x0008


class _Entry(NamedTuple):
    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    size: int
    packed: int
    header: int


def read_zip(path: Path, data: mmap.mmap, budget: Budget, reader: PickleReader) -> tuple[Inert, dict[str, int]]:
    """Read ``data.pkl`` and find the records of all its storages.

    Returns:
        The root node, and the byte offset of every storage in the file, by storage key.

    Raises:
        RefusedArchive: damage, tricks, or a zip that is not a PyTorch model.
    """
    entries = _directory(path, data, budget)
    root = _root_folder(path, entries)
    starts = _locate(path, data, entries)
    by_name = {entry.name: entry for entry in entries}
    tensors = [entry for entry in entries if entry.name.startswith(f"{root}/data/")]
    for entry in entries:
        if not entry.name.startswith(f"{root}/data/"):
            _check_crc(path, data, entry, starts[entry.name])
    order = by_name.get(f"{root}/byteorder")
    if order is not None and data[starts[order.name] : starts[order.name] + min(order.size, 16)] != b"little":
        raise RefusedArchive(path, "was written on a big-endian machine, which is not supported", order.name)
    pickled = by_name[f"{root}/data.pkl"]
    start, stop = starts[pickled.name], starts[pickled.name] + pickled.size
    # Sums are made without Python's lock: where a core is free, they are ready when the pickle is read.
    with ThreadPoolExecutor(max_workers=1) as beside:
        checks = beside.map(lambda entry: _check_crc(path, data, entry, starts[entry.name]), tensors)
        node, end = reader.read(start, stop, pickled.name, persistent=True)
        list(checks)  # raises what a check raised
    if end != stop:
        raise RefusedArchive(path, f"{stop - end} bytes follow the end of the pickle", pickled.name)
    spans: dict[str, int] = {}
    for key, storage in reader.storages.items():
        record = by_name.get(f"{root}/data/{key}")
        if record is None:
            raise RefusedArchive(path, f"the record of storage {shown(key, 40)} is missing", f"{root}/data")
        if record.size != storage.nbytes:
            problem = f"{storage.numel} elements of {storage.dtype} need {storage.nbytes} bytes, not {record.size}"
            raise RefusedArchive(path, problem, record.name)
        spans[key] = starts[record.name]
    return node, spans


def _directory(path: Path, data: mmap.mmap, budget: Budget) -> list[_Entry]:
    at, stop, count = _find_directory(path, data)
    if count > budget.nodes:
        raise RefusedArchive(path, f"a zip archive of more than {budget.nodes} entries")
    entries = []
    for _ in range(count):
        if at + _CENTRAL.size > stop:
            raise RefusedArchive(path, "damaged zip archive: its directory is too short", f"byte {at}")
        fields = _CENTRAL.unpack_from(data, at)
        signature, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, _, _, _, header = fields
        body = at + _CENTRAL.size
        following = body + n_name + n_extra + n_comment
        if signature != b"PK\x01\x02" or following > stop:
            raise RefusedArchive(path, "damaged zip archive: its directory is broken", f"byte {at}")
        raw = data[body : body + n_name]
        size, packed, header = _wide(data[body + n_name : body + n_name + n_extra], size, packed, header)
        name = _checked_name(path, raw, at)
        if not (name.endswith("/") and size == 0):
            entries.append(_Entry(name, raw, flags, method, crc, size, packed, header))
        at = following
    if at != stop:
        raise RefusedArchive(path, "damaged zip archive: its directory is too long", f"byte {at}")
    if len({entry.name for entry in entries}) != len(entries):
        raise RefusedArchive(path, "a zip archive with two entries of one name")
    return entries


def _find_directory(path: Path, data: mmap.mmap) -> tuple[int, int, int]:
    """Offset, end and number of entries of the central directory."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - _END.size - _FULL16))
    if end < 0 or end + _END.size > len(data):
        problem = "a zip archive without its directory: the file is truncated, perhaps by a broken download"
        raise RefusedArchive(path, problem, f"byte {len(data)}, its end")
    _, disk, first_disk, here, count, size, start, n_comment = _END.unpack_from(data, end)
    if end + _END.size + n_comment != len(data):
        raise RefusedArchive(path, "damaged zip archive: bytes follow its end", f"byte {end}")
    stop, locator = end, end - _LOCATOR64.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        _, _, stop, _ = _LOCATOR64.unpack_from(data, locator)
        if stop + _END64.size > locator or data[stop : stop + 4] != b"PK\x06\x06":
            raise RefusedArchive(path, "damaged zip archive: its zip64 end record is broken", f"byte {locator}")
        wide = _END64.unpack_from(data, stop)
        narrow = zip((here, count, size, start), wide[6:10], (_FULL16, _FULL16, _FULL32, _FULL32), strict=True)
        if any(number not in (value, full) for number, value, full in narrow):
            raise RefusedArchive(path, "damaged zip archive: its two end records disagree", f"byte {end}")
        disk, first_disk, here, count, size, start = wide[4:10]
    if disk or first_disk or here != count or start + size != stop:
        raise RefusedArchive(path, "damaged zip archive: its end record is broken", f"byte {end}")
    return start, stop, count


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The three numbers with those that are saturated taken from the zip64 extra field."""
    values, at = [size, packed, header], 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field, used = extra[at + 4 : at + 4 + length], 0
            for i, value in enumerate(values):
                if value == _FULL32 and used + 8 <= len(field):
                    (values[i],) = struct.unpack_from("<Q", field, used)
                    used += 8
            break
        at += 4 + length
    return values[0], values[1], values[2]


def _checked_name(path: Path, raw: bytes, at: int) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise RefusedArchive(path, "a zip entry whose name is not UTF-8", f"byte {at}") from None
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise RefusedArchive(path, f"a zip entry with the unsafe name {shown(name, 80)}", f"byte {at}")
    return name


def _root_folder(path: Path, entries: list[_Entry]) -> str:
    names = {entry.name for entry in entries}
    folders = {name.partition("/")[0] for name in names}
    roots = sorted(folder for folder in folders if f"{folder}/data.pkl" in names)
    if any(f"{folder}/constants.pkl" in names for folder in folders) or any("/code/" in name for name in names):
        raise RefusedArchive(path, "a TorchScript archive (torch.jit.save), not a model saved with torch.save")
    if not roots:
        problem = "a zip archive without data.pkl, not a file of torch.save; if the model lies inside, unpack it first"
        raise RefusedArchive(path, problem)
    if len(folders) != 1:
        raise RefusedArchive(path, "a zip archive with more than one top folder, not a file of torch.save")
    return roots[0]


def _locate(path: Path, data: mmap.mmap, entries: list[_Entry]) -> dict[str, int]:
    """Offset of every entry's bytes, after its local header was compared with the directory."""
    starts: dict[str, int] = {}
    previous = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.flags & _ENCRYPTED:
            raise RefusedArchive(path, "an encrypted zip entry", shown(entry.name))
        if entry.method != 0 or entry.packed != entry.size:
            problem = "a compressed zip entry; torch.save stores its records uncompressed, so this file was repacked"
            raise RefusedArchive(path, problem, shown(entry.name))
        if entry.header < previous or entry.header + _LOCAL.size > len(data):
            raise RefusedArchive(path, "zip entries overlap or lie outside the file", shown(entry.name))
        signature, _, flags, method, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack_from(data, entry.header)
        body = entry.header + _LOCAL.size
        start = body + n_name + n_extra
        # PyTorch writes zeros here and the numbers behind the data; a saturated field is zip64.
        blank = (0, _FULL32) if entry.flags & _DESCRIPTOR else (_FULL32,)
        agrees = (
            (signature, flags, method, data[body : body + n_name]) == (b"PK\x03\x04", entry.flags, 0, entry.raw)
            and all(value == entry.size or value in blank for value in (packed, size))
            and (crc == entry.crc or (crc == 0 and entry.flags & _DESCRIPTOR))
        )
        if not agrees:
            raise RefusedArchive(path, "a zip entry whose header contradicts the directory", shown(entry.name))
        previous = start + entry.size
        if previous > len(data):
            raise RefusedArchive(path, "zip entries overlap or lie outside the file", shown(entry.name))
        starts[entry.name] = start
    return starts


def _check_crc(path: Path, data: mmap.mmap, entry: _Entry, start: int) -> None:
    crc = 0
    with memoryview(data) as view:
        for at in range(start, start + entry.size, CHUNK):
            stop = min(at + CHUNK, start + entry.size)
            with view[at:stop] as piece:
                crc = zlib.crc32(piece, crc)
            release(data, at, stop)
    if crc != entry.crc:
        raise RefusedArchive(path, "a damaged record: its checksum (CRC-32) is wrong", shown(entry.name))
