"""Reading untrusted image files with Pillow, to 8-bit RGB.

What NIST's readers (skimage, cv2) did is kept where it is clear: grey and palette images become RGB, an alpha channel
is dropped without blending. What they would have got wrong or scaled differently is refused: 16-bit channels, CMYK.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import ExampleProblem, shown

Picture: TypeAlias = NDArray[np.uint8]
"""``uint8 [H, W, 3]``, RGB (``[H, W, 4]`` with alpha where that is said)."""

MOST_PIXELS = 4096 * 4096
MOST_TOGETHER = 2**29
"""Pixels of all images of one folder; the largest set of any round has 2e8. A PNG of some kilobytes can have 1e7."""
FORMATS = ("PNG", "JPEG")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PLAIN_PNG = (b"\x08\x00", b"\x08\x02", b"\x08\x03", b"\x08\x04", b"\x08\x06")
"""Depth and colour type: 8 bits, grey, RGB, palette, with or without alpha."""
EIGHT_BIT_MODES = ("RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "1")


def read_image(path: Path, mode: str = "RGB") -> Picture:
    """The pixels of a PNG or JPEG file as ``uint8 [H, W, 3]`` (``[H, W, 4]`` for ``mode="RGBA"``).

    Raises:
        ExampleProblem: unreadable, truncated, too large, CMYK or more than 8 bits per channel.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd chunks; the bounds here are tighter
            depth = _png_bit_depth(file.read(26))
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check(path, image, depth)
                return np.asarray(image.convert(mode), dtype=np.uint8).copy()
    except Image.DecompressionBombError:
        raise ExampleProblem(f"{path}: more than {MOST_PIXELS} pixels, no example image") from None
    except UnidentifiedImageError:  # whose own words repeat the path
        found = "it is empty" if path.stat().st_size == 0 else "it begins like neither"
        raise ExampleProblem(f"{path}: is not a readable PNG or JPEG image: {found}") from None
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, struct.error, zlib.error) as problem:
        raise ExampleProblem(f"{path}: is not a readable PNG or JPEG image: {shown(problem, 200)}") from None


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG or JPEG file, from its header; a PNG without its end is decoded after all.

    Raises:
        ExampleProblem: as for :func:`read_image`, as far as the header and the end tell.
    """
    try:
        with path.open("rb") as file:
            head = file.read(26)
            file.seek(-min(12, file.seek(0, 2)), 2)
            whole = file.read(12) == _PNG_END
    except OSError:
        head, whole = b"", False
    plain = head[12:16] == b"IHDR" and head.startswith(b"\x89PNG\r\n\x1a\n") and head[24:26] in _PLAIN_PNG
    width, height = (int.from_bytes(head[start : start + 4], "big") for start in (16, 20))
    if whole and plain and 0 < width * height <= MOST_PIXELS:
        return height, width
    if head.startswith(b"\xff\xd8"):
        return _size_by_header(path)
    return read_image(path).shape[:2]


def _size_by_header(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check(path, image, 0)
            return image.height, image.width
    except (Image.DecompressionBombError, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return read_image(path).shape[:2]  # which says what is wrong


def read_images(paths: Iterable[Path]) -> Iterator[Picture]:
    """The same for several, one after the other, RGB.

    Raises:
        ExampleProblem: one is unusable, or they have more than ``MOST_TOGETHER`` pixels so far.
    """
    pixels = 0
    for path in paths:
        picture = read_image(path)
        pixels += picture.shape[0] * picture.shape[1]
        if pixels > MOST_TOGETHER:
            raise ExampleProblem(f"{path}: the images up to this one have more than {MOST_TOGETHER} pixels together")
        yield picture


def _check(path: Path, image: Image.Image, depth: int) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise ExampleProblem(f"{path}: {image.width}×{image.height} pixels, more than {MOST_PIXELS} in all")
    if depth > 8 or image.mode.startswith(("I", "F")):
        raise ExampleProblem(f"{path}: {max(depth, 16)} bits per channel, expected an image with 8")
    if image.mode not in EIGHT_BIT_MODES:
        raise ExampleProblem(f"{path}: colour mode {shown(image.mode)}, expected RGB")


def _png_bit_depth(head: bytes) -> int:
    """Bits per channel of a PNG (Pillow turns 16-bit RGB into 8 without a word); 0 for any other file."""
    is_png = len(head) == 26 and head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR"
    return head[24] if is_png else 0
