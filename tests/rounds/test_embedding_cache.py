"""The cache of vectors: shared by writers, found out when damaged, never in the way and never in the dataset."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from trojai_seam.errors import UsageProblem
from trojai_seam.rounds.embedding_cache import VARIABLE, VectorCache, cache_folder

KEY = "0f" * 32
VECTOR = np.arange(5, dtype=np.float32) / 3


def entry(cache: VectorCache, key: str = KEY) -> Path:
    assert cache.folder is not None
    return cache.folder / key[:2] / key


def test_what_is_put_is_got_to_the_bit(tmp_path):
    cache = VectorCache(tmp_path, "group")
    assert cache.get(KEY) is None
    cache.put(KEY, VECTOR)
    again = VectorCache(tmp_path, "group").get(KEY)
    assert again.dtype == np.float32
    assert again.tobytes() == VECTOR.tobytes()
    assert VectorCache(tmp_path, "other").get(KEY) is None
    assert [path.name for path in entry(cache).parent.iterdir()] == [KEY]


def test_without_a_folder_it_holds_nothing():
    cache = VectorCache(None, "group")
    cache.put(KEY, VECTOR)
    assert cache.get(KEY) is None
    assert cache.problem is None


def test_damaged_entries_are_no_entries_and_are_written_anew(tmp_path):
    cache = VectorCache(tmp_path, "group")
    cache.put(KEY, VECTOR)
    whole = entry(cache).read_bytes()
    broken = [b"", b"garbage", whole[:-1], whole[:-4], whole + b"\0\0\0\0", whole[:60] + b"\1" + whole[61:],
              whole.replace(b"vector 1", b"vector 2")]  # fmt: skip
    for content in broken:
        entry(cache).write_bytes(content)
        assert cache.get(KEY) is None, content
        cache.put(KEY, VECTOR)
        assert cache.get(KEY) is not None


def test_an_entry_in_the_place_of_another_is_found_out(tmp_path):
    cache = VectorCache(tmp_path, "group")
    cache.put(KEY, VECTOR)
    other = "0f" + "00" * 31
    os.replace(entry(cache), entry(cache, other))
    assert cache.get(other) is None


def test_an_entry_that_is_no_file_is_no_entry(tmp_path):
    cache = VectorCache(tmp_path, "group")
    entry(cache).mkdir(parents=True)
    assert cache.get(KEY) is None
    cache.put(KEY, VECTOR)
    assert "cannot be written" in str(cache.problem)
    assert not [path for path in entry(cache).parent.iterdir() if path.name != KEY]


def test_a_cache_that_cannot_be_written_says_so_once_and_still_reads(tmp_path):
    full = VectorCache(tmp_path, "group")
    full.put(KEY, VECTOR)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    cache = VectorCache(blocked, "group")
    cache.put(KEY, VECTOR)
    first = cache.problem
    assert first is not None
    assert str(blocked) in first
    cache.put("ff" * 32, VECTOR)
    assert cache.problem == first
    cache.folder = full.folder
    assert cache.get(KEY) is not None


def test_many_writers_of_the_same_entries(tmp_path):
    keys = [f"{number:064x}" for number in range(8)]
    wrong: list[str] = []

    def work(seed: int) -> None:
        cache = VectorCache(tmp_path, "group")
        for turn in range(40):
            key = keys[(seed * 7 + turn) % len(keys)]
            found = cache.get(key)
            if found is not None and found.tobytes() != (VECTOR + int(key, 16)).tobytes():
                wrong.append(key)
            cache.put(key, VECTOR + np.float32(int(key, 16)))
            if cache.problem is not None:
                wrong.append(cache.problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == keys


def test_where_it_is(tmp_path, monkeypatch):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    monkeypatch.setattr("sys.platform", "linux")
    home = {"HOME": str(tmp_path / "home")}
    assert cache_folder(None, dataset, home) == tmp_path / "home" / ".cache" / "trojai-seam"
    assert cache_folder(None, dataset, {**home, "XDG_CACHE_HOME": "/x"}) == Path("/x/trojai-seam")
    assert cache_folder(None, dataset, {**home, "XDG_CACHE_HOME": "relative"}) == tmp_path / "home/.cache/trojai-seam"
    assert cache_folder(None, dataset, {**home, VARIABLE: "/v"}) == Path("/v")
    assert cache_folder(Path("/given"), dataset, {**home, VARIABLE: "/v"}) == Path("/given")
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder(None, dataset, home) == tmp_path / "home" / "Library" / "Caches" / "trojai-seam"


def test_it_is_never_in_the_dataset(tmp_path):
    dataset = tmp_path / "dataset"
    (dataset / "models").mkdir(parents=True)
    (tmp_path / "link").symlink_to(dataset)
    for asked in (dataset, dataset / "models" / "cache", tmp_path / "link" / "cache"):
        with pytest.raises(UsageProblem, match=r"--cache .*: is within the dataset"):
            cache_folder(asked, dataset, {})
    with pytest.raises(UsageProblem, match="is within the dataset"):
        cache_folder(None, dataset, {VARIABLE: str(dataset / "c")})
    assert cache_folder(None, tmp_path, {"HOME": str(tmp_path / "home")}) is None
    assert cache_folder(dataset.parent / "cache", dataset, {}) == tmp_path / "cache"
