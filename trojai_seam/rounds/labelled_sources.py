"""Images of a user's own with their classes, in the forms in which people keep them.

Class folders (``cat/0.png``), a CSV of paths and labels, JSON side-cars, names such as ``class_3_example_0.png``, a
NumPy archive with ``x`` and ``y``, or two ``.npy`` files. Which one it is is told by what lies there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DatasetProblem, ExampleProblem, listed, shown
from .example_files import class_label, sidecar
from .image_arrays import array_pair, npz_arrays, picture_of
from .image_files import MOST_TOGETHER, Picture, read_image
from .image_labels import UNKNOWN, name_tokens
from .regular_files import read_bounded

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")
SIDECARS = ("{stem}.json", "{name}.json")
MOST_CSV_BYTES = 2**28
PATH_COLUMNS = ("path", "file", "filename", "image", "name")
LABEL_COLUMNS = ("label", "class", "classid", "class_id", "target", "y")


class LabelledImages(NamedTuple):
    """Images with true classes.

    Attributes:
        where: the folder or file that they are from.
        names: of each, unique: its path below ``where``.
        labels: of each; ``UNKNOWN`` where nothing tells.
        pictures: reads them, one after the other, in this order: ``uint8 [H, W, 3]``, or for arrays of 0 … 1
            ``float32``; grey ones of arrays ``[H, W, 1]``.
        classes: names by number, where folders or labels have names.
    """

    where: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]
    pictures: Callable[[], Iterator[Picture]]
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)


def read_labelled(
    path: Path,
    num_classes: int,
    classes: Sequence[str] | None = None,
    suffixes: Sequence[str] = SUFFIXES,
    labelled: bool = True,
) -> LabelledImages:
    """The images at ``path``, a folder, a ``.csv``, ``.npz`` or ``.npy`` file.

    Args:
        path: where they are.
        num_classes: outputs of the network.
        classes: names of the classes in the network's order; needed where folders have names and their alphabetical
            order is not the network's.
        suffixes: of files that are images.
        labelled: without labels they are no use; False: poisoned images, whose true class may be unknown.

    Raises:
        ExampleProblem: nothing usable is there, a label is missing or no class of the network, or the order of classes
            would be guesswork.
    """
    reader = _Reader(path, num_classes, classes, suffixes, labelled)
    if path.is_dir():
        return reader.folder()
    if not path.is_file():
        raise ExampleProblem(f"{path}: no such file or folder of images")
    kind = path.suffix.lower()
    if kind == ".csv":
        return reader.table(path)
    if kind == ".npz":
        return reader.arrays(*npz_arrays(path, labelled))
    if kind == ".npy":
        return reader.arrays(*array_pair(path, labelled))
    raise ExampleProblem(f"{path}: expected a folder, or a .csv, .npz or .npy file of images (unpack archives first)")


class _Reader:
    def __init__(
        self, path: Path, num_classes: int, classes: Sequence[str] | None, suffixes: Sequence[str], labelled: bool
    ) -> None:
        self.path, self.num_classes, self.suffixes, self.labelled = path, num_classes, suffixes, labelled
        self.classes = None if classes is None else tuple(classes)
        if self.classes is not None and len(self.classes) != num_classes:
            raise ExampleProblem(
                f"{path}: {len(self.classes)} class names are given, the network has {num_classes} classes"
            )

    def folder(self) -> LabelledImages:
        """Class folders, or a folder of images with labels beside them."""
        entries = sorted(entry for entry in self.path.iterdir() if not entry.name.startswith("."))
        here = [entry for entry in entries if entry.suffix.lower() in self.suffixes and entry.is_file()]
        below = [(entry, self._images_in(entry)) for entry in entries if entry.is_dir()]
        if any(files for _, files in below) and not here:
            return self._class_folders([(folder, files) for folder, files in below if files])
        if not here:
            inner = [folder.name for folder, _ in below if any(child.is_dir() for child in folder.iterdir())]
            hint = f"; it holds {listed(inner)}: is one of these meant?" if inner else ""
            raise ExampleProblem(f"{self.path}: no images ({', '.join(self.suffixes)}) in it or in folders of it{hint}")
        tables = [entry for entry in entries if entry.suffix.lower() == ".csv"]
        if len(tables) == 1:
            return self.table(tables[0])
        arrays = [entry for entry in here if entry.suffix.lower() == ".npy"]
        if len(arrays) == len(here) == 2:
            return self.arrays(*array_pair(arrays[0], self.labelled, arrays))
        return self._files(here, [self._beside(path) for path in here])

    def _images_in(self, folder: Path) -> list[Path]:
        files = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(path for path in files if path.suffix.lower() in self.suffixes and path.is_file())

    def _class_folders(self, found: list[tuple[Path, list[Path]]]) -> LabelledImages:
        numbers = self.numbers([folder.name for folder, _ in found], self.path)
        paths = [path for _, files in found for path in files]
        labels = [number for number, (_, files) in zip(numbers, found, strict=True) for _ in files]
        return self._files(paths, labels)

    def numbers(self, names: Sequence[str], where: Path) -> list[int]:
        """Class numbers of labels or folders called ``names``: numbers themselves, else places in ``classes``, else in
        alphabetical order, as torchvision's ImageFolder counts them.

        Raises:
            ExampleProblem: a name is no class, or not every class has a name here.
        """
        distinct = sorted(set(names))
        if self.classes is not None and all(name in self.classes for name in distinct):
            return [self.classes.index(name) for name in names]
        if all(name.isascii() and name.isdigit() and len(name) < 10 for name in distinct):
            return [class_label(int(name), self.num_classes, where) for name in names]
        if self.classes is not None:
            unknown = [name for name in distinct if name not in self.classes]
            raise ExampleProblem(
                f"{where}: {listed(unknown)} is no class; the classes are {listed(self.classes, most=50)}"
            )
        if len(distinct) != self.num_classes:
            raise ExampleProblem(
                f"{where}: {len(distinct)} classes by name ({listed(distinct, most=4)}), the network has "
                f"{self.num_classes}: which is which would be guesswork; name the folders by class number, or give the "
                "names in the network's order (--classes a,b,c)"
            )
        self.classes = tuple(distinct)
        return [distinct.index(name) for name in names]

    def _beside(self, path: Path) -> int:
        """The label that a side-car or the file's own name tells."""
        try:
            where, value = sidecar(path, SIDECARS)
        except ExampleProblem:
            try:
                return class_label(name_tokens(path)["class"], self.num_classes, path)
            except ExampleProblem:
                if not self.labelled:
                    return UNKNOWN
                raise ExampleProblem(
                    f"{path}: nothing tells its class; expected class folders ({self.path.name}/0/…), a side-car "
                    f"{path.stem}.json, a CSV with the columns path and label, or a name such as class_3_example_0.png"
                ) from None
        if isinstance(value, Mapping):
            value = value.get("clean_label", value.get("label"))
        if value is None and not self.labelled:
            return UNKNOWN
        return class_label(value, self.num_classes, where)

    def table(self, path: Path) -> LabelledImages:
        """A CSV whose rows say the path of an image, relative to the CSV, and its class."""
        try:
            text = read_bounded(path, MOST_CSV_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise ExampleProblem(f"{path}: is not a readable CSV file: {shown(problem, 120)}") from None
        rows = _rows(text)
        if not rows:
            raise ExampleProblem(f"{path}: is an empty table")
        file_at, label_at, rows = _columns(path, rows)
        labels = self.numbers([_cell(path, row, label_at) for row in rows], path)
        return self._files([path.parent / _cell(path, row, file_at) for row in rows], labels, path.parent)

    def _files(self, paths: Sequence[Path], labels: Sequence[int], root: Path | None = None) -> LabelledImages:
        root = root or self.path
        names = tuple(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths)
        return LabelledImages(self.path, names, tuple(labels), lambda: file_pictures(paths), self.classes)

    def arrays(self, images: Any, labels: Any) -> LabelledImages:
        """Arrays of images ``[N, H, W, C]``, ``[N, C, H, W]`` or ``[N, H, W]`` and labels ``[N]`` (None: unknown)."""
        if labels is None:
            numbers = [UNKNOWN] * len(images)
        elif labels.dtype.kind in "US":
            numbers = self.numbers([str(label) for label in labels], self.path)
        else:
            numbers = [class_label(int(label), self.num_classes, self.path) for label in labels]
        names = tuple(f"{number:06d}" for number in range(len(images)))
        return LabelledImages(self.path, names, tuple(numbers), lambda: iter(images), self.classes)


def file_pictures(paths: Iterable[Path]) -> Iterator[Picture]:
    """The pixels of image files, one after the other.

    Raises:
        ExampleProblem: one is unusable, or they have more than ``MOST_TOGETHER`` pixels so far.
    """
    pixels = 0
    for path in paths:
        picture = picture_of(path) if path.suffix.lower() == ".npy" else read_image(path)
        pixels += picture.shape[0] * picture.shape[1]
        if pixels > MOST_TOGETHER:
            raise ExampleProblem(f"{path}: the images up to this one have more than {MOST_TOGETHER} pixels together")
        yield picture


def _rows(text: str) -> list[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]


def _columns(path: Path, rows: list[list[str]]) -> tuple[int, int, list[list[str]]]:
    """Places of path and label, and the rows without the header."""
    header = [cell.strip().lower() for cell in rows[0]]
    file_at = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    label_at = next((header.index(name) for name in LABEL_COLUMNS if name in header), None)
    if file_at is not None and label_at is not None:
        return file_at, label_at, rows[1:]
    if len(header) == 2 and Path(rows[0][0]).suffix.lower() in SUFFIXES:
        return 0, 1, rows  # no header
    raise DatasetProblem(
        f"{path}: has the columns {listed(header)}; expected one of {listed(PATH_COLUMNS)} and one of "
        f"{listed(LABEL_COLUMNS)}"
    )


def _cell(path: Path, row: list[str], place: int) -> str:
    if place >= len(row):
        raise DatasetProblem(f"{path}: a row of {len(row)} cells: {shown(','.join(row), 80)}")
    return row[place].strip()
