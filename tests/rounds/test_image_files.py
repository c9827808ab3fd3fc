"""Untrusted image files: what is read, what is refused, and how pixels become the network's input."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made_images import picture
from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds import image_files
from trojai_seam.rounds.image_files import read_image, read_images
from trojai_seam.rounds.image_preprocessing import Preprocessing, cropped


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_is_read_as_it_is(tmp_path):
    image = picture(1)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == image).all()
    Image.fromarray(image).save(tmp_path / "b.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "b.jpg").astype(int) - image).mean() < 3
    (tmp_path / "a.png").rename(tmp_path / "wrong.jpg")  # content decides, not the name
    assert (read_image(tmp_path / "wrong.jpg") == image).all()


def test_alpha_is_dropped_without_blending_and_grey_and_palettes_become_rgb(tmp_path):
    image = picture(2)
    alpha = np.full(image.shape[:2], 7, dtype=np.uint8)
    Image.fromarray(np.dstack([image, alpha])).save(tmp_path / "rgba.png")
    assert (read_image(tmp_path / "rgba.png") == image).all()
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == image[..., :1]).all()
    few = (image // 64) * 64
    Image.fromarray(few).quantize(64).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == image.shape


@pytest.mark.parametrize("kind", [0, 2])
def test_sixteen_bits_are_refused(tmp_path, kind):
    channels = {0: 1, 2: 3}[kind]
    rows = b"".join(b"\0" + b"\x12\x34" * channels * 4 for _ in range(4))
    (tmp_path / "deep.png").write_bytes(png(4, 4, 16, kind, rows))
    with pytest.raises(ExampleProblem, match=r"deep\.png: 16 bits per channel, expected an image with 8"):
        read_image(tmp_path / "deep.png")


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(picture(3)).convert("CMYK").save(tmp_path / "ink.jpg")
    with pytest.raises(ExampleProblem, match=r"ink\.jpg: colour mode CMYK, expected RGB"):
        read_image(tmp_path / "ink.jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ExampleProblem, match=r"cut.*not a readable PNG or JPEG image") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000, 8, 2, b"\0"))
    with pytest.raises(ExampleProblem, match=r"bomb\.png: .*pixels"):
        read_image(tmp_path / "bomb.png")
    (tmp_path / "large.png").write_bytes(png(8000, 8000, 8, 2, b"\0"))
    with pytest.raises(ExampleProblem, match=r"large\.png: 8000×8000 pixels, more than"):
        read_image(tmp_path / "large.png")


def test_other_formats_and_random_bytes_are_refused(tmp_path):
    Image.fromarray(picture(4)).save(tmp_path / "other.png", format="BMP")
    (tmp_path / "noise.png").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "folder.png").mkdir()
    for name in ("other.png", "noise.png", "folder.png", "absent.png"):
        with pytest.raises(ExampleProblem, match="not a readable"):
            read_image(tmp_path / name)


def test_any_single_damaged_byte_is_read_or_refused(tmp_path):
    Image.fromarray(picture(5, 8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for at in range(0, len(whole), 3):
        (tmp_path / "a.png").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(ExampleProblem):
            assert read_image(tmp_path / "a.png").ndim == 3


def test_crop_is_central_and_never_enlarges():
    image = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)
    assert (cropped(image, 4, Path("x")) == image[1:5, 1:5]).all()
    assert (cropped(image, 6, Path("x")) == image[:, 0:6]).all()
    with pytest.raises(ExampleProblem, match=r"x\.png: 1×1 pixels, smaller than the 224×224"):
        cropped(np.zeros((1, 1, 3), dtype=np.uint8), 224, Path("x.png"))
    with pytest.raises(ExampleProblem, match="7×6"):
        cropped(image, 7, Path("x"))


def test_scaling_and_channel_order():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 50, 100, 150
    image[0, 0] = 250
    plain = Preprocessing(8, "rgb", "/255").apply([image])
    assert plain.shape == (1, 3, 8, 8)
    assert plain.dtype.is_floating_point
    assert plain[0, :, 1, 1].tolist() == pytest.approx([50 / 255, 100 / 255, 150 / 255])
    scaled = Preprocessing(8, "bgr", "min-max").apply([image, image])
    assert scaled[1, :, 1, 1].tolist() == pytest.approx([0.5, 0.25, 0.0])
    assert (scaled.amin(), scaled.amax()) == (0, 1)
    one_colour = np.full((8, 8, 3), 77, dtype=np.uint8)
    assert Preprocessing(8, "rgb", "min-max").apply([one_colour]).abs().max() == 0


def test_many_small_files_of_many_pixels_are_not_unpacked_together(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_TOGETHER", 3 * 64 * 64)
    (tmp_path / "a.png").write_bytes(png(64, 64, 8, 2, b"".join(b"\0" * (1 + 3 * 64) for _ in range(64))))
    assert len(list(read_images([tmp_path / "a.png"] * 3))) == 3
    with pytest.raises(ExampleProblem, match=r"a\.png: the images up to this one have more than 12288 pixels together"):
        list(read_images([tmp_path / "a.png"] * 4))
