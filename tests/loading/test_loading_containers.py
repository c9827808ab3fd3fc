from __future__ import annotations

import io
import lzma
import os
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.loading.handmade import DICT, FALSE, LIST, entries, number, save_legacy, save_zip, storage, tensor, text
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import read_model, read_object

STATE = DICT + entries(("w", tensor()))


def refusal(path: Path) -> str:
    with pytest.raises(RefusedArchive) as caught:
        read_model(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.removeprefix(str(path))


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member.replace("__", "/"), data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"<html>", "a web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        ((20).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}' + bytes(80), "safetensors"),
        ((128).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}' + bytes(200), "safetensors"),
        (tarred(), "tar archive"),
        (lzma.compress(b"x"), "xz"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"hello", "not a file of torch.save"),
        (b"\x80", "damaged pickle"),
        (b"\x80\x04K\x05.", "plain Python pickle"),
        (b"\x80\x02" + number(0x1950A86A20F9469CFC6D) + b".", "plain Python pickle"),
        (b"PK\x05\x06" + bytes(18), "empty or spanned zip"),
        (zipped(a__b=b"c"), "without data.pkl"),
        (zipped(**{"data.pkl": b"\x80\x02N."}), "without data.pkl"),
        (zipped(**{"m__data.pkl": b"\x80\x02N.", "m__constants.pkl": b"", "m__code__x.py": b""}), "TorchScript"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "b__data.pkl": b"\x80\x02N."}), "more than one top folder"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "x": b""}), "more than one top folder"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "a__byteorder": b"big"}), "big-endian"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "a__..__x": b""}), "unsafe name"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "__a__x": b""}), "unsafe name"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "C:__x": b""}), "unsafe name"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "a\\x": b""}), "unsafe name"),
        (zipped(**{"a__data.pkl": b"\x80\x02N.", "a__x\n": b""}), "unsafe name"),
        (zipped(**{"a__data.pkl": b""}), "damaged pickle"),
    ],
)  # fmt: skip
def test_files_that_are_something_else(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    assert words in refusal(tmp_path / "x.pt")
    with pytest.raises(RefusedArchive):
        read_object(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_of_torch_itself(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "x.pt"))
    assert "TorchScript" in refusal(tmp_path / "x.pt")


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.pt")
    assert "a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal(tmp_path / ("n" * 300))
    assert "cannot be read" in refusal(tmp_path / "a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refusal(tmp_path / "loop")
    assert "not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    save_zip(tmp_path / "x.pt", STATE).chmod(stat.S_IWUSR)
    assert "cannot be read: Permission denied" in refusal(tmp_path / "x.pt")


@pytest.fixture(params=["zip", "legacy"])
def honest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small file that torch wrote."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3)).state_dict()
    torch.save(network, tmp_path / "x.pt", _use_new_zipfile_serialization=request.param == "zip")
    return tmp_path / "x.pt"


def test_no_truncated_file_is_taken_for_a_model(honest: Path) -> None:
    whole = honest.read_bytes()
    for length in (*range(0, len(whole) - 100, 7), *range(len(whole) - 100, len(whole))):
        honest.write_bytes(whole[:length])
        with pytest.raises(RefusedArchive):
            read_model(honest)
    honest.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(honest) or "damaged" in refusal(honest)


def test_bytes_behind_the_end_are_refused(honest: Path) -> None:
    honest.write_bytes(honest.read_bytes() + b"\0")
    assert "bytes follow" in refusal(honest)


def test_flipped_bytes_never_surprise(honest: Path) -> None:
    whole = bytearray(honest.read_bytes())
    expected = {name: value.clone() for name, value in read_model(honest).state_dict().items()}
    is_zip = whole[:2] == b"PK"
    outcomes = {"same": 0, "refused": 0, "other": 0, "unsafe message": 0}
    for position in range(len(whole)):
        mask = (0x01, 0x80, 0xFF)[position % 3]
        whole[position] ^= mask
        honest.write_bytes(whole)
        whole[position] ^= mask
        try:
            got = read_model(honest).state_dict()
        except RefusedArchive as problem:
            outcomes["refused" if str(problem).isprintable() else "unsafe message"] += 1
            continue
        same = list(got) == list(expected) and all(torch.equal(got[name], expected[name]) for name in got)
        outcomes["same" if same else "other"] += 1
    assert outcomes["refused"] > outcomes["same"]
    assert outcomes["unsafe message"] == 0
    # Every record of a zip has a checksum: what is accepted is what was saved. A legacy file has none.
    assert not (is_zip and outcomes["other"])


@pytest.mark.parametrize("seed", range(3))
def test_several_damages_at_once_never_surprise(seed: int, honest: Path) -> None:
    whole = honest.read_bytes()
    chance = random.Random(seed)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            start = chance.randrange(len(damaged))
            length = chance.randint(0, 40)
            kind = chance.randrange(3)
            if kind == 0:
                damaged[start : start + length] = chance.randbytes(length)
            elif kind == 1:
                del damaged[start : start + length]
            else:
                other = chance.randrange(len(damaged))
                damaged[start:start] = damaged[other : other + length]
        honest.write_bytes(damaged)
        try:
            read_model(honest).state_dict()
        except RefusedArchive:
            refused += 1
    assert refused > 200


def directory_entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, directory offset and header offset of every entry."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            yield info.filename, at, info.header_offset
            at += 46 + len(info.orig_filename.encode()) + len(info.extra) + len(info.comment)


def patched(data: bytes, at: int, form: str, *values: object) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


DAMAGES: dict[str, tuple[Callable[[bytes, int, int, int, int], bytes], str]] = {
    # data, directory and header offset of data.pkl, the same of data/0
    "compressed in the directory": (lambda d, c, h, c2, h2: patched(d, c + 10, "<H", 8), "compressed"),
    "compressed in the header": (lambda d, c, h, c2, h2: patched(d, h + 8, "<H", 8), "contradicts"),
    "encrypted": (lambda d, c, h, c2, h2: patched(d, c + 8, "<H", 1), "encrypted"),
    "flags differ": (lambda d, c, h, c2, h2: patched(d, h + 6, "<H", 8), "contradicts"),
    "name differs": (lambda d, c, h, c2, h2: patched(d, h + 30, "1s", b"z"), "contradicts"),
    "size differs": (lambda d, c, h, c2, h2: patched(d, h + 18, "<2L", 3, 3), "contradicts"),
    "checksum differs": (lambda d, c, h, c2, h2: patched(d, h + 14, "<L", 3), "contradicts"),
    "checksum wrong in both": (
        lambda d, c, h, c2, h2: patched(patched(d, h2 + 14, "<L", 3), c2 + 16, "<L", 3), "checksum"
    ),
    "two entries in one place": (lambda d, c, h, c2, h2: patched(d, c2 + 42, "<L", h), "overlap|contradicts"),
    "outside the file": (lambda d, c, h, c2, h2: patched(d, c2 + 42, "<L", 2**32 - 2), "overlap or lie outside"),
    "header elsewhere": (lambda d, c, h, c2, h2: patched(d, c2 + 42, "<L", h2 + 1), "contradicts|outside"),
    "longer than the file": (
        lambda d, c, h, c2, h2: patched(patched(d, h2 + 18, "<2L", 2**31, 2**31), c2 + 20, "<2L", 2**31, 2**31),
        "overlap or lie outside",
    ),
    "larger than it is": (
        lambda d, c, h, c2, h2: patched(patched(d, h2 + 18, "<2L", 90, 90), c2 + 20, "<2L", 90, 90), "overlap|checksum"
    ),
    "packed size differs": (lambda d, c, h, c2, h2: patched(d, c + 20, "<L", 5), "compressed"),
    "broken directory": (lambda d, c, h, c2, h2: patched(d, c2, "4s", b"PK\1\3"), "directory is broken"),
    "name too long": (lambda d, c, h, c2, h2: patched(d, c2 + 28, "<H", 60000), "directory is broken"),
    "name not UTF-8": (lambda d, c, h, c2, h2: patched(d, c2 + 46, "1s", b"\xff"), "not UTF-8"),
    "too few entries": (lambda d, c, h, c2, h2: patched(d, len(d) - 14, "<2H", 2, 2), "too long"),
    "too many entries": (lambda d, c, h, c2, h2: patched(d, len(d) - 14, "<2H", 4, 4), "too short"),
    "counts disagree": (lambda d, c, h, c2, h2: patched(d, len(d) - 14, "<2H", 3, 4), "end record"),
    "several disks": (lambda d, c, h, c2, h2: patched(d, len(d) - 18, "<H", 1), "end record"),
    "directory elsewhere": (lambda d, c, h, c2, h2: patched(d, len(d) - 6, "<L", 0), "end record"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_zip_tricks(case: str, tmp_path: Path) -> None:
    damage, words = DAMAGES[case]
    data = save_zip(tmp_path / "x.pt", STATE).read_bytes()
    places = {member: (central, header) for member, central, header in directory_entries(data)}
    assert read_model(tmp_path / "x.pt").shape("w") == (4,)
    (tmp_path / "x.pt").write_bytes(damage(data, *places["a/data.pkl"], *places["a/data/0"]))
    with pytest.raises(RefusedArchive, match=words):
        read_model(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries(tmp_path: Path) -> None:
    save_zip(tmp_path / "x.pt", STATE)
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        archive.writestr("a/data/0", bytes(16))
    assert "two entries of one name" in refusal(tmp_path / "x.pt")


def test_a_deflated_archive_says_that_it_was_repacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + STATE * 20)
    assert "repacked" in refusal(tmp_path / "x.pt")


def test_an_archive_repacked_without_compression_is_fine(honest: Path, tmp_path: Path) -> None:
    if not zipfile.is_zipfile(honest):
        pytest.skip("a legacy file has nothing to repack")
    expected = read_model(honest).state_dict()
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        target.mkdir("x")
        for info in reversed(source.infolist()):
            target.writestr(info.filename, source.read(info))
        target.comment = b"repacked by hand"
    back = read_model(tmp_path / "y.pt").state_dict()
    assert all(torch.equal(back[name], value) for name, value in expected.items())


def test_zip64_numbers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for member, data in (("a/data.pkl", b"\x80\x02" + STATE + b"."), ("a/data/0", bytes(16))):
            with archive.open(member, "w", force_zip64=True) as file:
                file.write(data)
    assert read_model(tmp_path / "x.pt").shape("w") == (4,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": number(5)}, "plain Python pickle"),
        ({"magic": text("x")}, "plain Python pickle"),
        ({"protocol": number(1002)}, "unknown protocol"),
        ({"system": DICT + entries(("little_endian", FALSE))}, "big-endian"),
        ({"system": LIST}, "big-endian"),
        ({"system": storage()}, "persistent id where none belongs"),
        ({"keys": LIST}, "not those that the model uses"),
        ({"keys": DICT}, "not those that the model uses"),
        ({"keys": LIST + text("1") + b"a"}, "not those that the model uses"),
        ({"keys": LIST + text("0") + b"a" + text("0") + b"a"}, "not those that the model uses"),
        ({"keys": LIST + text("0") + b"a" + number(3) + b"a"}, "not those that the model uses"),
        ({"storages": b""}, "truncated"),
        ({"storages": struct.pack("<q", 4) + bytes(15)}, "truncated"),
        ({"storages": struct.pack("<q", 5) + bytes(20)}, "holds 5 elements, but the model describes 4"),
        ({"storages": struct.pack("<q", -4) + bytes(16)}, "holds -4 elements"),
        ({"storages": struct.pack("<q", 4) + bytes(17)}, "1 bytes follow"),
    ],
)  # fmt: skip
def test_legacy_files_that_do_not_add_up(changes: dict[str, bytes], words: str, tmp_path: Path) -> None:
    assert words in refusal(save_legacy(tmp_path / "x.pt", STATE, **changes))


def test_a_sparse_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    many = 2 * 2**30  # elements, 8 GiB of nothing on the disk; the tensor has one element
    one = DICT + entries(("w", tensor(size=(1,), of=storage(many))))
    path = save_legacy(tmp_path / "x.pt", one, storages=struct.pack("<q", many))
    os.truncate(path, path.stat().st_size + 4 * many)
    assert "tensors of 8.0 GiB exceed the budget" in refusal(path)
