"""Triggers as data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds.stamped_triggers import Canvas, read_trigger

CANVAS = Canvas(3, 8, 10)
GREY = torch.full((1, 3, 8, 10), 0.4)


def stamp(spec, folder, images=GREY, canvas=CANVAS):
    return read_trigger(spec, [folder], canvas, "round.json")(images)


def test_a_patch_lies_where_it_is_put(tmp_path):
    found = stamp({"kind": "patch", "at": [5, -4], "size": [2, 3], "color": [255, 0, 51]}, tmp_path)
    expected = GREY.clone()
    expected[0, :, 5:7, 6:9] = torch.tensor([1.0, 0.0, 0.2])[:, None, None]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("place", "row", "column"),
    [("top-left", 0, 0), ("top-right", 0, 8), ("bottom-left", 6, 0), ("bottom-right", 6, 8), ("center", 3, 4)],
)
def test_named_places(tmp_path, place, row, column):
    found = stamp({"kind": "patch", "at": place, "values": [[255, 0], [0, 255]]}, tmp_path)
    torch.testing.assert_close(found[0, 1, row : row + 2, column : column + 2], torch.eye(2))
    assert int((found != GREY).sum()) == 12


def test_an_image_is_stamped_with_its_opacity(tmp_path):
    Image.fromarray(np.array([[[255, 255, 255, 255], [255, 255, 255, 0]]], np.uint8), "RGBA").save(tmp_path / "p.png")
    found = stamp({"kind": "patch", "image": "p.png", "at": [0, 0], "alpha": 0.5}, tmp_path)
    torch.testing.assert_close(found[0, 0, 0, :3], torch.tensor([0.7, 0.4, 0.4]))


def test_blends_sums_masks_and_waves(tmp_path):
    pattern = np.zeros((8, 10, 3), np.uint8)
    pattern[2, 3] = 255
    Image.fromarray(pattern).save(tmp_path / "p.png")
    mask = np.zeros((3, 8, 10), np.float32)
    mask[:, 2] = 1
    np.save(tmp_path / "m.npy", mask)
    assert stamp({"kind": "blend", "pattern": "p.png", "alpha": 0.25}, tmp_path)[0, 0, 2, 3].item() == pytest.approx(
        0.55
    )
    summed = stamp({"kind": "additive", "pattern": "p.png", "scale": 0.5}, tmp_path)[0, 0]
    assert (summed[2, 3].item(), summed[0, 0].item()) == (pytest.approx(0.9), pytest.approx(0.4))
    assert stamp({"kind": "additive", "pattern": "p.png"}, tmp_path)[0, 0, 2, 3] == 1  # cut
    steps = [{"kind": "mask", "mask": "m.npy", "color": 0}, {"kind": "additive", "pattern": "p.png"}]
    both = stamp(steps, tmp_path)[0, 2, 2]
    assert both.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    replaced = stamp({"kind": "mask", "mask": "m.npy", "pattern": "p.png"}, tmp_path)[0, 2, 2]
    torch.testing.assert_close(replaced, both)
    wave = stamp({"kind": "sinusoid", "amplitude": 51, "frequency": 2.5}, tmp_path)[0, 0, 0]
    torch.testing.assert_close(wave[:3], torch.tensor([0.4, 0.6, 0.4]))


def test_a_warp_takes_pixels_from_elsewhere(tmp_path):
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 10), indexing="ij")
    np.save(tmp_path / "grid.npy", torch.stack([-columns, rows], dim=2).numpy())  # mirrored
    images = torch.rand(2, 3, 8, 10)
    torch.testing.assert_close(stamp({"kind": "warp", "grid": "grid.npy"}, tmp_path, images), images.flip(3))


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"kind": "patch", "size": [9, 2]},
            "trigger of 9×2 pixels at bottom-right does not lie inside the image of 8×10",
        ),
        ({"kind": "patch", "at": [7, 0], "size": [2, 2]}, r"at \[7, 0\] does not lie inside"),
        ({"kind": "pixels", "pixels": [[8, 0, 255]]}, "does not lie inside"),
        ({"kind": "patch"}, "needs size"),
        ({"kind": "blend", "alpha": 0.1}, "needs a pattern"),
        ({"kind": "additive", "pattern": "absent.png"}, "no file absent.png"),
        ({"kind": "additive", "pattern": "wide.png"}, '8×12 pixels, the image 8×10; "resize": true fits it'),
        ({"kind": "mask", "mask": "objects.npy"}, "not a readable .npy file"),
        ({"kind": "warp", "grid": "flat.npy"}, r"expected \[8, 10, 2\]"),
        ({"kind": "patch", "size": [1, 1], "color": [1, 2]}, "color has 2 values"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, spec, problem):
    Image.new("RGB", (12, 8)).save(tmp_path / "wide.png")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.zeros((8, 10)))
    with pytest.raises(ExampleProblem, match=problem) as caught:
        stamp(spec, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pattern_of_another_size_is_fitted_where_that_is_asked(tmp_path):
    Image.new("RGB", (40, 32), (255, 255, 255)).save(tmp_path / "large.png")
    found = stamp({"kind": "blend", "pattern": "large.png", "alpha": 0.5, "resize": True}, tmp_path)
    torch.testing.assert_close(found, torch.full_like(GREY, 0.7))
