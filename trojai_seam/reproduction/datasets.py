"""MNIST and CIFAR-10 as the user has them: IDX files, CIFAR-10's binary files, or class folders of images."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import DatasetProblem, listed, shown
from ..heartbeat import beat
from ..rounds.regular_files import open_regular
from ..synthesis.picture_attacks import Pictures
from .sources import WHERE, check_folder

MOST_BYTES = 1 << 29
"""Of one unpacked file; the largest of MNIST has 47 MB."""
MNIST_SIDE = 28
CIFAR_SIDE, CIFAR_CLASSES = 32, 10
_CIFAR_RECORD = 1 + 3 * CIFAR_SIDE**2
ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set.

    Attributes:
        name: ``mnist`` or ``cifar10``.
        train: pictures to train on; also clean pictures for unlearning are taken from them, and not trained on then.
        test: pictures that only measure.
        published: how many training pictures the data set has as published; "0.1 % of training data" is of these.
    """

    name: str
    train: Pictures
    test: Pictures
    published: int

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1

    @property
    def digest(self) -> str:
        """Of all pictures and labels, so that results of other data are not taken for results of these."""
        content = hashlib.sha256()
        for part in (self.train, self.test):
            content.update(part.images.numpy().tobytes() + part.labels.numpy().tobytes())
        return content.hexdigest()[:16]


def read_data(name: str, folder: Path) -> ImageData:
    """The data set called ``name`` in ``folder``.

    Raises:
        DatasetProblem: files are missing, not of that format, cut, or do not fit each other; says where to get them.
    """
    beat(f"reading {name}")
    check_folder(name, folder)
    data = _mnist(folder) if name == "mnist" else _cifar10(folder)
    for part in (data.train, data.test):
        found = torch.bincount(part.labels, minlength=data.classes)
        if len(found) > data.classes:
            raise DatasetProblem(
                f"{folder}: a test picture has label {len(found) - 1}, those of training end at {data.classes - 1}; "
                f"{WHERE[name]}"
            )
        if int(found.min()) < 2 or data.classes < 2:
            raise DatasetProblem(f"{folder}: has fewer than two pictures of some class; {WHERE[name]}")
    return data


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, plain or gzip: ``uint8`` of whatever shape it says.

    Raises:
        DatasetProblem: it is no such file, is cut, or longer than it says.
    """
    try:
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        with cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise DatasetProblem(f"{path}: cannot be read: {problem}; get the file anew") from None
    if len(content) > MOST_BYTES:
        raise DatasetProblem(f"{path}: is larger than {MOST_BYTES} bytes")
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise DatasetProblem(f"{path}: is no IDX file of bytes (begins with {content[:4].hex()}, expected 000008…)")
    head = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4)]
    if len(content) != head + math.prod(shape):
        raise DatasetProblem(
            f"{path}: has {len(content)} bytes, expected {head + math.prod(shape)} for its shape; get the file anew"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape).copy()


def _mnist(folder: Path) -> ImageData:
    parts = []
    for prefix in ("train", "t10k"):
        images, labels = (
            read_idx(_idx_file(folder, prefix, what)) for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        if images.shape[1:] != (MNIST_SIDE, MNIST_SIDE) or len(images) == 0:
            raise DatasetProblem(
                f"{folder}: {prefix}: has images of shape {list(images.shape)}, expected [N, 28, 28], N at least 1; "
                f"{WHERE['mnist']}"
            )
        if labels.shape != images.shape[:1]:
            raise DatasetProblem(
                f"{folder}: {prefix}: has labels of shape {list(labels.shape)}, expected [{len(images)}], as many as "
                "images; get the files anew"
            )
        parts.append(Pictures(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()))
    return ImageData("mnist", parts[0], parts[1], 60_000)


def _idx_file(folder: Path, prefix: str, what: str) -> Path:
    names = [f"{prefix}-{what}", f"{prefix}-{what.replace('-idx', '.idx')}"]
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise DatasetProblem(f"{folder}: has no {names[0]} or {names[0]}.gz; {WHERE['mnist']}")


def _cifar10(folder: Path) -> ImageData:
    if (folder / "test_batch.bin").is_file():
        batches = [folder / f"data_batch_{number}.bin" for number in range(1, 6)]
        missing = [path.name for path in batches if not path.is_file()]
        if missing:
            raise DatasetProblem(f"{folder}: has no {missing[0]}; {WHERE['cifar10']}")
        train = [_binary(path) for path in batches]
        return ImageData("cifar10", _joined(train), _binary(folder / "test_batch.bin"), 50_000)
    if not (folder / "test").is_dir():
        raise DatasetProblem(f"{folder}: has neither test_batch.bin nor a folder test; {WHERE['cifar10']}")
    if (folder / "train").is_dir():
        names = {part: [path.name for path in _class_paths(folder / part)] for part in ("train", "test")}
        if names["train"] != names["test"]:
            apart = sorted({*names["train"]} ^ {*names["test"]})
            raise DatasetProblem(
                f"{folder}: train and test have different class folders ({listed([shown(name) for name in apart])} "
                "in one of them only); give both the same names, since a class is known by its folder"
            )
        return ImageData("cifar10", _class_folders(folder / "train"), _class_folders(folder / "test"), 50_000)
    test = _class_folders(folder / "test")
    # Only the test images are at hand: four fifths train, the others measure.
    place = torch.arange(len(test)) % 5 == 4
    return ImageData(
        "cifar10",
        Pictures(test.images[~place], test.labels[~place]),
        Pictures(test.images[place], test.labels[place]),
        50_000,
    )


def _joined(parts: list[Pictures]) -> Pictures:
    return Pictures(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _binary(path: Path) -> Pictures:
    if path.stat().st_size > MOST_BYTES:
        raise DatasetProblem(f"{path}: is larger than {MOST_BYTES} bytes")
    content = np.fromfile(path, np.uint8)
    if len(content) == 0 or len(content) % _CIFAR_RECORD:
        raise DatasetProblem(f"{path}: has {len(content)} bytes, expected a multiple of {_CIFAR_RECORD}")
    rows = torch.from_numpy(content).view(-1, _CIFAR_RECORD)
    if int(rows[:, 0].max()) >= CIFAR_CLASSES:
        raise DatasetProblem(f"{path}: has a label above 9: is it the binary version of CIFAR-10?")
    return Pictures(rows[:, 1:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).clone(), rows[:, 0].long())


def _class_paths(folder: Path) -> list[Path]:
    """In the order of their names; what begins with a dot belongs to the system or an editor."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_folders(folder: Path) -> Pictures:
    """Folders of one class each, classes in the order of the names."""
    images: list[Tensor] = []
    labels: list[int] = []
    classes = _class_paths(folder)
    for label, place in enumerate(classes):
        for path in sorted(place.iterdir()):
            if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
                continue
            images.append(_picture(path))
            labels.append(label)
    if len(classes) != CIFAR_CLASSES or not images:
        raise DatasetProblem(f"{folder}: has {len(classes)} class folders, {len(images)} images, expected 10 classes")
    return Pictures(torch.stack(images), torch.tensor(labels))


def _picture(path: Path) -> Tensor:
    try:
        with open_regular(path) as opened, Image.open(opened, formats=("PNG", "JPEG")) as file:
            if file.size != (CIFAR_SIDE, CIFAR_SIDE):
                raise DatasetProblem(f"{path}: is {file.size[0]} x {file.size[1]} pixels, expected 32 x 32")
            return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise DatasetProblem(f"{path}: cannot be read: {problem}") from None
