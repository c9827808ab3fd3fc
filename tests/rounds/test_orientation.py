"""Pictures with an orientation tag: turned where the round's reader does, counted where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trojai_seam.rounds import get_round, list_rounds
from trojai_seam.rounds.image_files import Orientation, orientation_of, read_image, read_images

# What a viewer does with a picture that has this tag, said with numpy.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, 1),
}


def tagged(path: Path, tag: int, kind: str = "png") -> np.ndarray:
    stored = np.random.default_rng(tag).integers(0, 256, (6, 10, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(stored).save(path, kind, exif=exif)
    return stored


@pytest.mark.parametrize("tag", list(UPRIGHT))
def test_every_tag(tmp_path, tag):
    stored = tagged(tmp_path / "a.png", tag)
    follow, leave = Orientation(follow=True), Orientation()
    assert np.array_equal(read_image(tmp_path / "a.png", orientation=follow), UPRIGHT[tag](stored))
    assert np.array_equal(read_image(tmp_path / "a.png", orientation=leave), stored)
    assert np.array_equal(read_image(tmp_path / "a.png"), stored)
    assert follow.tagged == leave.tagged == (tag != 1)


def test_jpegs_notes_and_tags_that_say_nothing(tmp_path):
    for number, tag in enumerate((1, 6, 8, 99)):
        tagged(tmp_path / f"{number}.jpg", tag, "jpeg")
    broken = (
        (tmp_path / "1.jpg").read_bytes().replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    )
    (tmp_path / "4.jpg").write_bytes(broken)
    paths = sorted(tmp_path.iterdir())
    orientation = Orientation(follow=True)
    sizes = [picture.shape[:2] for picture in read_images(paths, orientation)]
    assert sizes == [(6, 10), (10, 6), (10, 6), (6, 10), (6, 10)]
    assert orientation.note == "2 images have an orientation tag and are turned as it says"
    assert (
        Orientation(tagged=1).note
        == "1 images have an orientation tag and are read as stored, as the round's reader does"
    )
    assert Orientation().note is None


def test_the_rounds_that_follow_tags_are_those_of_opencv():
    following = {one.aliases[0] for one in list_rounds() if orientation_of(one.preprocessing).follow}
    assert following == {"r10", "r11"}
    stored = get_round("r11").with_options({"preprocessing.orientation": "stored"})
    assert not orientation_of(stored.preprocessing).follow
    assert "turned as their orientation tag says" in get_round("r10").reading
    assert "pictures are read as stored" in get_round("r4").reading
    assert "byte-order mark" in get_round("r12").reading
