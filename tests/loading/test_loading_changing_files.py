"""A file that shrinks, grows or is replaced while it is read is one refused file, at whatever moment it happens."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.loading.handmade import DICT, Thing, dump, entries, save_zip, storage, tensor
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import describe, read_model, read_object, read_tokenizer
from trojai_seam.loading.model_file import ModelFile

SAID = "was truncated or replaced while it was being read"
LONG_AGO = 1_600_000_000


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut_last_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def begin_again(path: Path) -> None:
    """What a download that starts over leaves: another file of other length under the same inode."""
    path.write_bytes(path.read_bytes()[1000:] + bytes(5000))


def rewrite(path: Path) -> None:
    """Other bytes, as many."""
    path.write_bytes(bytes(path.stat().st_size))


IN_PLACE = [shrink, empty, cut_last_byte, begin_again, rewrite]


@pytest.fixture(params=["zip", "legacy"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small network that torch wrote a while ago."""
    path = tmp_path / "model.pt"
    network = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.BatchNorm1d(30), torch.nn.Linear(30, 2))
    torch.save(network, path, _use_new_zipfile_serialization=request.param == "zip")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture(params=["zip", "legacy"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of torch.save without tensors, which no reader of tokenizers would take; it is refused later."""
    path = tmp_path / "tokenizer.pt"
    torch.save({"vocabulary": [f"word {n}" for n in range(9000)]}, path,
               _use_new_zipfile_serialization=request.param == "zip")  # fmt: skip
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def at_every_read(
    path: Path, read: Callable[[Path], object], harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What ``read`` answers where ``harm`` is done just before its first, second, … last access to the file."""
    genuine = ModelFile._some
    count, turn = 0, -1

    def counted(self: ModelFile, start: int, target: memoryview) -> int:
        nonlocal count
        if count == turn:
            harm(path)
        count += 1
        return genuine(self, start, target)

    monkeypatch.setattr(ModelFile, "_some", counted)
    spare = path.with_suffix(".spare")
    shutil.copy2(path, spare)
    read(path)
    total, answers = count, []
    for turn in range(total):  # noqa: B007 - counted() reads it
        count = 0
        shutil.copy2(spare, path)
        try:
            read(path)
            answers.append("read")
        except RefusedArchive as problem:
            answers.append(str(problem).removeprefix(f"{path}: "))
    return answers


@pytest.mark.parametrize("deferred", [False, True], ids=["checked at once", "checked later"])
@pytest.mark.parametrize("harm", IN_PLACE)
def test_a_model_that_changes_under_the_reader_is_refused(
    harm: Callable[[Path], None], deferred: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> None:
        read_model(path, defer_checksums=deferred).state_dict()

    answers = at_every_read(model, read, harm, monkeypatch)
    assert len(answers) > 10  # the directory, the pickles, every storage
    assert all(answer.startswith(SAID) for answer in answers), answers


@pytest.mark.parametrize("harm", IN_PLACE)
@pytest.mark.parametrize("read", [read_object, describe])
def test_another_file_that_changes_under_the_reader_is_refused(
    read: Callable[[Path], object], harm: Callable[[Path], None], tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = at_every_read(tokenizer, read, harm, monkeypatch)
    assert len(answers) > 4
    assert all(answer.startswith(SAID) for answer in answers), answers


def test_a_tokenizer_that_changes_under_the_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Thing("transformers.models.bert.tokenization_bert.BertTokenizer", {"vocab": {"[UNK]": 0}})
    path = save_zip(tmp_path / "tokenizer.pt", dump(thing))
    genuine = ModelFile.read_into

    def shrinking(self: ModelFile, start: int, target: memoryview) -> None:
        shrink(path)
        genuine(self, start, target)

    monkeypatch.setattr(ModelFile, "read_into", shrinking)
    with pytest.raises(RefusedArchive, match=SAID):
        read_tokenizer(path)


def test_a_model_that_shrank_between_reading_and_taking_its_tensors(model: Path) -> None:
    saved = read_model(model)
    shrink(model)
    with pytest.raises(RefusedArchive, match=SAID):
        saved.state_dict()
    with pytest.raises(RefusedArchive, match=SAID):
        describe(saved)


def test_a_model_that_another_one_took_the_place_of(model: Path, tmp_path: Path) -> None:
    saved = read_model(model)
    shutil.copy2(model, tmp_path / "other.pt")  # the same bytes and the same time, and yet another file
    os.replace(tmp_path / "other.pt", model)
    with pytest.raises(RefusedArchive, match=SAID):
        saved.state_dict()
    model.unlink()
    with pytest.raises(RefusedArchive, match="cannot be read any more: it was removed"):
        saved.state_dict()


def test_a_model_that_is_replaced_by_renaming_is_read_to_its_end(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_model(model).state_dict()
    got = []

    def replace(path: Path) -> None:
        path.with_suffix(".new").write_bytes(b"another")
        os.replace(path.with_suffix(".new"), path)

    answers = at_every_read(model, lambda path: got.append(read_model(path).state_dict()), replace, monkeypatch)
    # Replaced in the first pass: the second is refused. Replaced in the second: it goes on with the file it has open.
    assert answers == sorted(answers, key=lambda answer: answer == "read")
    assert {answer.split(";")[0] for answer in answers} == {SAID, "read"}
    assert all(torch.equal(state[name], value) for state in got for name, value in expected.items())


def test_a_disk_that_fails_is_a_refusal(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = read_model(model)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(ModelFile, "_some", fail)
    for read in (lambda: read_model(model), saved.state_dict):
        with pytest.raises(RefusedArchive, match="cannot be read: Input/output error"):
            read()


def test_where_the_system_has_no_positioned_reads(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_model(model).state_dict()
    monkeypatch.delattr(os, "preadv")
    saved = read_model(model)
    assert all(torch.equal(value, expected[name]) for name, value in saved.state_dict().items())
    shrink(model)
    with pytest.raises(RefusedArchive, match=SAID):
        saved.state_dict()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_no_file_stays_open(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(model.read_bytes()[:-1])
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    kept: list[object] = []
    for _ in range(30):
        saved = read_model(model)
        kept += [saved, saved.state_dict(), describe(saved)]
        for path in (tmp_path / "broken.pt", tmp_path):
            with pytest.raises(RefusedArchive) as refusal:
                read_model(path)
            kept.append(refusal)
    assert len(os.listdir("/proc/self/fd")) == before


def test_looking_at_a_model_does_not_take_its_memory(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(8 << 20)}, tmp_path / "x.pt")
    tracemalloc.start()
    try:
        describe(read_model(tmp_path / "x.pt"))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# checksums ------------------------------------------------------------------------------------------------------------


def flipped(path: Path, record: str) -> Path:
    """The zip file at ``path`` with one bit of ``record`` wrong."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(record)
        with archive.open(record) as stream:
            content = stream.read()
    whole = bytearray(path.read_bytes())
    at = whole.index(content, info.header_offset)
    whole[at + len(content) // 2] ^= 4
    path.write_bytes(whole)
    return path


def test_deferred_checksums_are_compared_when_the_tensors_are_taken(tmp_path: Path) -> None:
    torch.save({"a": torch.rand(100), "b": torch.rand(300_000)}, tmp_path / "x.pt")
    path = flipped(tmp_path / "x.pt", "x/data/1")
    with pytest.raises(RefusedArchive, match="checksum"):
        read_model(path)
    saved = read_model(path, defer_checksums=True)
    for take in (saved.state_dict, lambda: saved.tensor(saved.tensors["b"]), saved.state_dict):
        with pytest.raises(RefusedArchive, match=r"checksum \(CRC-32\) is wrong \(at x/data/1\)"):
            take()


def test_deferred_checksums_of_records_that_no_tensor_uses(tmp_path: Path) -> None:
    body = DICT + entries(("w", tensor(of=storage(key="0"))))
    path = save_zip(tmp_path / "x.pt", body, {"data/0": bytes(16), "data/unused": b"some bytes that nobody needs"})
    flipped(path, "a/data/unused")
    with pytest.raises(RefusedArchive, match="checksum"):
        read_model(path)
    with pytest.raises(RefusedArchive, match=r"checksum .*a/data/unused"):
        read_model(path, defer_checksums=True).state_dict()


def test_a_damaged_pickle_is_found_at_once(tmp_path: Path) -> None:
    torch.save({"a": torch.rand(100)}, tmp_path / "x.pt")
    with pytest.raises(RefusedArchive, match="checksum"):
        read_model(flipped(tmp_path / "x.pt", "x/data.pkl"), defer_checksums=True)


@pytest.mark.parametrize("deferred", [False, True])
def test_tensors_that_are_taken_twice_are_independent(deferred: bool, model: Path) -> None:
    saved = read_model(model, defer_checksums=deferred)
    first, second = saved.state_dict(), saved.state_dict()
    before = {name: value.clone() for name, value in second.items()}
    for value in first.values():
        value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in second.items())
    assert second["0.weight"].abs().sum() > 0
