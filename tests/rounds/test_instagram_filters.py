"""The five filters, against pixels that ImageMagick 7.1.1 (HDRI) gave for the steps of NIST's package."""

from __future__ import annotations

import numpy as np
import pytest

from tests.made_images import picture
from trojai_seam.errors import UsageProblem
from trojai_seam.rounds.instagram_filters import FILTERS, apply_filter

IMAGE = np.array(
    [[[(37 * x + 101 * y + 59 * c + 3 * x * y * c) % 256 for c in range(3)] for x in range(4)] for y in range(3)],
    dtype=np.uint8,
)
# fmt: off
GOLDEN = {
    "GothamFilterXForm": [[7, 9, 16], [21, 25, 40], [51, 57, 80], [103, 111, 143], [86, 94, 124], [31, 37, 33], [71, 79, 82], [47, 36, 53], [36, 24, 38], [75, 62, 87], [18, 23, 37], [51, 58, 83]],  # noqa: E501
    "NashvilleFilterXForm": [[74, 71, 113], [91, 86, 120], [112, 103, 128], [136, 124, 136], [129, 118, 134], [164, 150, 94], [196, 178, 102], [231, 141, 113], [223, 132, 106], [255, 164, 120], [82, 80, 120], [100, 97, 129]],  # noqa: E501
    "KelvinFilterXForm": [[146, 115, 56], [171, 138, 79], [200, 160, 94], [224, 181, 113], [218, 176, 108], [203, 169, 34], [222, 182, 72], [221, 129, 68], [221, 110, 53], [233, 148, 83], [164, 135, 79], [197, 160, 98]],  # noqa: E501
    "LomoFilterXForm": [[0, 0, 43], [0, 25, 111], [0, 103, 138], [29, 93, 84], [18, 82, 80], [114, 183, 4], [183, 183, 35], [94, 0, 34], [39, 0, 10], [94, 0, 42], [0, 7, 60], [0, 22, 32]],  # noqa: E501
    "ToasterXForm": [[37, 34, 60], [71, 58, 74], [114, 93, 99], [166, 144, 145], [150, 134, 140], [171, 141, 13], [202, 154, 72], [208, 76, 108], [201, 31, 78], [216, 145, 147], [53, 57, 92], [86, 101, 143]],  # noqa: E501
}
# fmt: on


@pytest.mark.parametrize("name", GOLDEN)
def test_pixels_are_imagemagicks(name):
    found = apply_filter(name, IMAGE).reshape(-1, 3).astype(int)
    assert np.abs(found - np.array(GOLDEN[name])).max() <= 1


def test_all_five_are_there_and_differ():
    assert set(FILTERS) == set(GOLDEN)
    made = [apply_filter(name, picture(0)) for name in FILTERS]
    assert all(image.dtype == np.uint8 and image.shape == picture(0).shape for image in made)
    for i, image in enumerate(made):
        assert np.abs(image.astype(int) - picture(0)).mean() > 5
        assert all(np.abs(image.astype(int) - other).mean() > 5 for other in made[:i])


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_plain_images_and_odd_sizes(name, value):
    for shape in ((1, 1, 3), (7, 3, 3)):
        image = np.full(shape, value, dtype=np.uint8)
        before = image.copy()
        assert apply_filter(name, image).shape == shape
        assert (image == before).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageProblem, match=r"'Sepia'.*GothamFilterXForm"):
        apply_filter("Sepia", IMAGE)
    for wrong in (IMAGE.astype(np.float64), IMAGE[..., :2], IMAGE[..., 0], IMAGE[:0]):
        with pytest.raises(ValueError, match="uint8"):
            apply_filter("LomoFilterXForm", wrong)
