"""Images of a user's own with their classes, in every form, and what is wrong with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from trojai_seam.errors import TrojaiSeamError
from trojai_seam.rounds.labelled_sources import read_labelled


def png(path, value=0, mode="RGB", size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def summary(source):
    return list(zip(source.names, source.labels, [int(p[0, 0, 0]) for p in source.pictures()], strict=True))


def test_class_folders_by_number_and_by_name(tmp_path):
    for name, value in (("10", 30), ("2", 20), ("0", 10)):
        png(tmp_path / "numbers" / name / "a.png", (value, 0, 0))
    assert summary(read_labelled(tmp_path / "numbers", 11)) == [
        ("0/a.png", 0, 10),
        ("10/a.png", 10, 30),
        ("2/a.png", 2, 20),
    ]
    for name in ("cat", "ant"):
        png(tmp_path / "names" / name / "a.jpg")
    assert read_labelled(tmp_path / "names", 2).labels == (0, 1)
    assert read_labelled(tmp_path / "names", 3, classes=["cat", "dog", "ant"]).labels == (2, 0)
    with pytest.raises(TrojaiSeamError, match=r"2 classes by name .ant, cat., the network has 3: which is which"):
        read_labelled(tmp_path / "names", 3)
    with pytest.raises(TrojaiSeamError, match="ant is no class; the classes are cat, dog"):
        read_labelled(tmp_path / "names", 2, classes=["cat", "dog"])


def test_tables_sidecars_and_names(tmp_path):
    for name in ("a.png", "b.png"):
        png(tmp_path / "t" / name)
    (tmp_path / "t" / "labels.csv").write_text("Filename;Width;ClassId\na.png;4;1\nb.png;4;0\n")
    assert read_labelled(tmp_path / "t", 2).labels == (1, 0)
    (tmp_path / "t" / "labels.csv").write_text("path,label\nb.png,dog\na.png,cat\n")
    assert read_labelled(tmp_path / "t" / "labels.csv", 2).labels == (1, 0)
    (tmp_path / "t" / "labels.csv").write_text("a.png,1\n")
    assert read_labelled(tmp_path / "t" / "labels.csv", 2).labels == (1,)
    (tmp_path / "t" / "labels.csv").unlink()
    with pytest.raises(TrojaiSeamError, match="nothing tells its class; expected class folders"):
        read_labelled(tmp_path / "t", 2)
    assert read_labelled(tmp_path / "t", 2, labelled=False).labels == (-1, -1)
    (tmp_path / "t" / "a.json").write_text("1")
    (tmp_path / "t" / "b.json").write_text(json.dumps({"clean_label": 0, "poisoned_label": None}))
    assert read_labelled(tmp_path / "t", 2).labels == (1, 0)
    png(tmp_path / "n" / "class_1_example_0.png")
    assert read_labelled(tmp_path / "n", 2).labels == (1,)


def test_arrays(tmp_path):
    images = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    np.savez(tmp_path / "a.npz", images=images.transpose(0, 3, 1, 2), labels=np.array([2, 0, 1]))
    found = read_labelled(tmp_path / "a.npz", 3)
    assert found.labels == (2, 0, 1)
    assert np.array_equal(np.stack(list(found.pictures())), images)
    np.save(tmp_path / "x.npy", images.astype(np.float32) / 255)
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    assert read_labelled(tmp_path / "x.npy", 3).labels == (0, 1, 2)
    (tmp_path / "one" / "1").mkdir(parents=True)
    np.save(tmp_path / "one" / "1" / "picture.npy", images[0, :, :, 0])
    (picture,) = read_labelled(tmp_path / "one", 3).pictures()
    assert picture.shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": np.zeros((2, 4, 4, 3), np.uint8)}, "has no array of labels: it holds x"),
        ({"x": np.zeros((2, 4, 4, 3), np.uint8), "y": np.zeros(3, int)}, r"shape \[3\] for 2 images"),
        (
            {"x": np.full((1, 4, 4, 3), 700, np.uint16), "y": np.zeros(1, int)},
            "uint16 from 700 to 700; expected 0 to 255",
        ),
        ({"x": np.full((1, 4, 4, 3), -2.1), "y": np.zeros(1, int)}, "before any normalisation"),
        ({"x": np.zeros((1, 4)), "y": np.zeros(1, int)}, r"shape \[1, 4\]"),
        (
            {"x": np.zeros((1, 4, 4, 3), np.uint8), "y": np.array([9])},
            "label 9, but the network has only classes 0 to 2",
        ),
        ({"x": np.array([{}]), "y": np.zeros(1, int)}, "is not a readable .npz file"),
    ],
)
def test_arrays_that_are_none(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TrojaiSeamError, match=problem):
        read_labelled(tmp_path / "a.npz", 3)


def test_folders_without_images(tmp_path):
    png(tmp_path / "data" / "test" / "0" / "a.png")
    with pytest.raises(TrojaiSeamError, match=r"no images .* it holds test: is one of these meant"):
        read_labelled(tmp_path / "data", 2)
    with pytest.raises(TrojaiSeamError, match="no such file or folder"):
        read_labelled(tmp_path / "absent", 2)
    (tmp_path / "images.tar").write_bytes(b"x")
    with pytest.raises(TrojaiSeamError, match="unpack archives first"):
        read_labelled(tmp_path / "images.tar", 2)
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(TrojaiSeamError, match="has the columns a, b, c; expected one of path"):
        read_labelled(tmp_path / "t.csv", 2)
