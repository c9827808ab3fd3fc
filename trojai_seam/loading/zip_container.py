"""The zip container of PyTorch 1.6 and later: where its records lie in the file, checked to the last byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import RefusedArchive, shown
from .budget import Budget
from .model_file import ModelFile, Record
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
#: Of the directory: its entries with all that may follow them, its end with the records before it.
_LONGEST_ENTRY: Final = _CENTRAL.size + 3 * _FULL16
_LONGEST_END: Final = _END.size + _FULL16 + _LOCATOR64.size
_STRETCH: Final = 1 << 20


class _Entry(NamedTuple):
    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    size: int
    packed: int
    header: int


def read_zip(
    file: ModelFile, budget: Budget, reader: PickleReader, defer_checksums: bool
) -> tuple[Inert, dict[str, Record], set[Record]]:
    """Read ``data.pkl`` and find the records of all its storages.

    Returns:
        The root node, every storage by its key, and the records whose checksums were not compared: with
        ``defer_checksums`` those of all storages, else none.

    Raises:
        RefusedArchive: damage, tricks, or a zip that is not a PyTorch model.
    """
    path = file.path
    entries = _directory(file, budget)
    root = _root_folder(path, entries)
    by_name = _located(file, entries)
    data = {name: record for name, record in by_name.items() if name.startswith(f"{root}/data/")}
    for name, record in by_name.items():
        if name not in data:
            file.check_record(record)
    order = by_name.get(f"{root}/byteorder")
    if order is not None and file.read(order.start, order.start + min(order.size, 16)) != b"little":
        raise RefusedArchive(path, "was written on a big-endian machine, which is not supported", order.name)
    pickled = by_name[f"{root}/data.pkl"]
    stop = pickled.start + pickled.size
    node, end = reader.read(pickled.start, stop, pickled.name, persistent=True)
    if end != stop:
        raise RefusedArchive(path, f"{stop - end} bytes follow the end of the pickle", pickled.name)
    unchecked = set(data.values())
    if not defer_checksums:
        for record in data.values():
            file.check_record(record)
        unchecked.clear()
    storages: dict[str, Record] = {}
    for key, storage in reader.storages.items():
        found = data.get(f"{root}/data/{key}")
        if found is None:
            raise RefusedArchive(path, f"the record of storage {shown(key, 40)} is missing", f"{root}/data")
        if found.size != storage.nbytes:
            problem = f"{storage.numel} elements of {storage.dtype} need {storage.nbytes} bytes, not {found.size}"
            raise RefusedArchive(path, problem, found.name)
        storages[key] = found
    return node, storages, unchecked


def _directory(file: ModelFile, budget: Budget) -> list[_Entry]:
    path = file.path
    begin, stop, count = _find_directory(file)
    if count > budget.nodes:
        raise RefusedArchive(path, f"a zip archive of more than {budget.nodes} entries")
    entries = []
    data, base, at = b"", begin, 0  # a stretch of the directory, where it begins in the file, and our place in it
    for _ in range(count):
        if len(data) - at < _LONGEST_ENTRY and base + len(data) < stop:
            base, at = base + at, 0
            data = file.read(base, min(base + _STRETCH, stop))
        if at + _CENTRAL.size > len(data):
            raise RefusedArchive(path, "damaged zip archive: its directory is too short", f"byte {base + at}")
        fields = _CENTRAL.unpack_from(data, at)
        signature, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, _, _, _, header = fields
        body = at + _CENTRAL.size
        following = body + n_name + n_extra + n_comment
        if signature != b"PK\x01\x02" or following > len(data):
            raise RefusedArchive(path, "damaged zip archive: its directory is broken", f"byte {base + at}")
        raw = data[body : body + n_name]
        size, packed, header = _wide(data[body + n_name : body + n_name + n_extra], size, packed, header)
        name = _checked_name(path, raw, base + at)
        if not (name.endswith("/") and size == 0):
            entries.append(_Entry(name, raw, flags, method, crc, size, packed, header))
        at = following
    if base + at != stop:
        raise RefusedArchive(path, "damaged zip archive: its directory is too long", f"byte {base + at}")
    if len({entry.name for entry in entries}) != len(entries):
        raise RefusedArchive(path, "a zip archive with two entries of one name")
    return entries


def _find_directory(file: ModelFile) -> tuple[int, int, int]:
    """Offset, end and number of entries of the central directory."""
    path = file.path
    tail = max(0, file.size - _LONGEST_END)
    data = file.read(tail, file.size)
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - _END.size - _FULL16))
    if end < 0 or end + _END.size > len(data):
        problem = "a zip archive without its directory: the file is truncated, perhaps by a broken download"
        raise RefusedArchive(path, problem, f"byte {file.size}, its end")
    _, disk, first_disk, here, count, size, start, n_comment = _END.unpack_from(data, end)
    if end + _END.size + n_comment != len(data):
        raise RefusedArchive(path, "damaged zip archive: bytes follow its end", f"byte {tail + end}")
    stop, locator = tail + end, end - _LOCATOR64.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        _, _, stop, _ = _LOCATOR64.unpack_from(data, locator)
        wide = file.read(stop, stop + _END64.size) if stop + _END64.size <= tail + locator else b""
        if not wide.startswith(b"PK\x06\x06"):
            raise RefusedArchive(path, "damaged zip archive: its zip64 end record is broken", f"byte {tail + locator}")
        values = _END64.unpack(wide)
        narrow = zip((here, count, size, start), values[6:10], (_FULL16, _FULL16, _FULL32, _FULL32), strict=True)
        if any(number not in (value, full) for number, value, full in narrow):
            raise RefusedArchive(path, "damaged zip archive: its two end records disagree", f"byte {tail + end}")
        disk, first_disk, here, count, size, start = values[4:10]
    if disk or first_disk or here != count or start + size != stop:
        raise RefusedArchive(path, "damaged zip archive: its end record is broken", f"byte {tail + end}")
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


def _located(file: ModelFile, entries: list[_Entry]) -> dict[str, Record]:
    """Every entry's bytes by its name, after its local header was compared with the directory."""
    path = file.path
    records: dict[str, Record] = {}
    previous = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.flags & _ENCRYPTED:
            raise RefusedArchive(path, "an encrypted zip entry", shown(entry.name))
        if entry.method != 0 or entry.packed != entry.size:
            problem = "a compressed zip entry; torch.save stores its records uncompressed, so this file was repacked"
            raise RefusedArchive(path, problem, shown(entry.name))
        body = entry.header + _LOCAL.size
        if entry.header < previous or body > file.size:
            raise RefusedArchive(path, "zip entries overlap or lie outside the file", shown(entry.name))
        data = file.read(entry.header, min(body + len(entry.raw), file.size))
        signature, _, flags, method, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack_from(data)
        start = body + n_name + n_extra
        # PyTorch writes zeros here and the numbers behind the data; a saturated field is zip64.
        blank = (0, _FULL32) if entry.flags & _DESCRIPTOR else (_FULL32,)
        agrees = (
            (signature, flags, method, n_name) == (b"PK\x03\x04", entry.flags, 0, len(entry.raw))
            and data[_LOCAL.size :] == entry.raw
            and all(value == entry.size or value in blank for value in (packed, size))
            and (crc == entry.crc or (crc == 0 and entry.flags & _DESCRIPTOR))
        )
        if not agrees:
            raise RefusedArchive(path, "a zip entry whose header contradicts the directory", shown(entry.name))
        previous = start + entry.size
        if previous > file.size:
            raise RefusedArchive(path, "zip entries overlap or lie outside the file", shown(entry.name))
        records[entry.name] = Record(entry.name, start, entry.size, entry.crc)
    return records
