"""MNIST and CIFAR-10 are read as users have them, and what is wrong with the files is said in one line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from PIL import Image

from trojai_seam.errors import DatasetProblem
from trojai_seam.reproduction.datasets import read_data, read_idx


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder, packed: bool, dotted: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28))
        for what, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", np.arange(count) % 10)):
            name = f"{prefix}-{what.replace('-idx', '.idx') if dotted else what}"
            content = idx(array)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return images


@pytest.mark.parametrize(("packed", "dotted"), [(False, False), (True, False), (False, True)])
def test_mnist_is_read_plain_and_packed(tmp_path, packed, dotted):
    images = write_mnist(tmp_path, packed, dotted)
    data = read_data("mnist", tmp_path)
    assert data.train.images.shape == (40, 1, 28, 28)
    assert data.test.labels.tolist() == [n % 10 for n in range(20)]
    assert np.array_equal(data.test.images[:, 0].numpy(), images)
    assert (data.classes, data.published) == (10, 60_000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no IDX file"),
        (b"\x80\x04junk", "is no IDX file"),
        (idx(np.zeros((3, 2)))[:-1], "get the file anew"),
        (idx(np.zeros((3, 2))) + b"x", "get the file anew"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "get the file anew"),
        (gzip.compress(idx(np.zeros(400)), mtime=0)[:-12], "cannot be read"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DatasetProblem, match=said):
        read_idx(path)


def test_missing_files_are_named_with_where_to_get_them(tmp_path):
    for name in ("mnist", "cifar10"):
        with pytest.raises(DatasetProblem, match="https://"):
            read_data(name, tmp_path / "nowhere")
        with pytest.raises(DatasetProblem, match="https://"):
            read_data(name, tmp_path)


def test_cifar10_is_read_from_its_binary_version(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (20, 3073)).astype(np.uint8)
    rows[:, 0] = np.arange(20) % 10
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        rows.tofile(tmp_path / name)
    data = read_data("cifar10", tmp_path)
    assert data.train.images.shape == (100, 3, 32, 32)
    assert data.test.images[3].flatten().tolist() == rows[3, 1:].tolist()
    rows[0, 0] = 10
    rows.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(DatasetProblem, match="label above 9"):
        read_data("cifar10", tmp_path)


def test_cifar10_is_read_from_class_folders(tmp_path):
    for label in range(10):
        folder = tmp_path / "test" / f"class-{label}"
        folder.mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (32, 32), (label, number, 0)).save(folder / f"{number:04}.png")
    data = read_data("cifar10", tmp_path)
    assert (len(data.train), len(data.test)) == (80, 20)
    assert (data.test.images[:, 0, 0, 0] == data.test.labels).all()
    Image.new("RGB", (31, 32)).save(tmp_path / "test" / "class-0" / "0000.png")
    with pytest.raises(DatasetProblem, match="31 x 32"):
        read_data("cifar10", tmp_path)


def test_the_real_mnist_is_read(shared):
    folder = shared / "public-trojaned" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"needs MNIST in {folder}")
    data = read_data("mnist", folder)
    assert (len(data.train), len(data.test), data.classes) == (60_000, 10_000, 10)
    assert 33 < float(data.train.images.float().mean()) < 34
