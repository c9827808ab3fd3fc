"""The container before PyTorch 1.6: five pickles, then the raw storages, each behind its element count."""

from __future__ import annotations

import struct
from typing import Final

from ..errors import RefusedArchive, shown
from .model_file import ModelFile, Record
from .nodes import DictNode, Inert
from .pickle_reader import PickleReader

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_COUNT: Final = struct.Struct("<q")


def read_legacy(file: ModelFile, reader: PickleReader) -> tuple[Inert, dict[str, Record]]:
    """Read all five pickles and find all storages.

    Returns:
        The root node, and every storage by its key.

    Raises:
        RefusedArchive: not such a file, or damaged, truncated or hostile.
    """
    path, total = file.path, file.size
    magic, at = reader.read(0, total, "the first pickle")
    if type(magic) is not int or magic != _MAGIC:
        raise RefusedArchive(path, "a plain Python pickle, not a file of torch.save; it was not loaded")
    protocol, at = reader.read(at, total, "the protocol pickle")
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise RefusedArchive(path, "a PyTorch file of an unknown protocol version", f"byte {at}")
    system, at = reader.read(at, total, "the sys_info pickle")
    if not isinstance(system, DictNode) or system.get("little_endian") is not True:
        raise RefusedArchive(path, "was written on a big-endian machine, which is not supported", f"byte {at}")
    root, at = reader.read(at, total, "the object pickle", persistent=True)
    listed_keys, at = reader.read(at, total, "the pickle of storage keys")
    keys = listed_keys if isinstance(listed_keys, list) else []
    names = [key for key in keys if isinstance(key, str)]
    if len(names) != len(keys) or len(set(names)) != len(names) or set(names) != set(reader.storages):
        raise RefusedArchive(path, "the storages listed are not those that the model uses", f"byte {at}")
    records: dict[str, Record] = {}
    for key in names:
        storage = reader.storages[key]
        if at + _COUNT.size + storage.nbytes > total:
            left = max(0, total - at - _COUNT.size)
            problem = f"truncated: storage {shown(key, 40)} needs {storage.nbytes} bytes, {left} are left"
            raise RefusedArchive(path, problem, f"byte {at}")
        (numel,) = _COUNT.unpack(file.read(at, at + _COUNT.size))
        if numel != storage.numel:
            problem = f"storage {shown(key, 40)} holds {numel} elements, but the model describes {storage.numel}"
            raise RefusedArchive(path, problem, f"byte {at}")
        at += _COUNT.size
        records[key] = Record(key, at, storage.nbytes, None)
        at += storage.nbytes
    if at != total:
        raise RefusedArchive(path, f"{total - at} bytes follow the last storage", f"byte {at}")
    return root, records
