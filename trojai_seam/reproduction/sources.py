"""Where the data sets come from; imports nothing of weight, so that a missing folder is said at once."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetProblem, shown

WHERE = {
    "mnist": "put MNIST's four IDX files there, plain or .gz (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte), e.g. from https://ossci-datasets.s3.amazonaws.com/mnist/",
    "cifar10": "put CIFAR-10's binary version there (data_batch_1.bin … test_batch.bin, from "
    "https://www.cs.toronto.edu/~kriz/cifar.html), or class folders of images: test/CLASS/*.jpg and, if you have them, "
    "train/CLASS/*.jpg",
}


def check_folder(name: str, folder: Path) -> None:
    """Whether there is a folder that may hold the data set called ``name``.

    Raises:
        DatasetProblem: there is none; says where to get the data.
    """
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "no such folder"
        raise DatasetProblem(f"{shown(str(folder), 2000)}: {found} (--data); {WHERE[name]}")
