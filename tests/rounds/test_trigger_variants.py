"""Variants of a trigger, by hand on small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from trojai_seam.rounds.stamped_triggers import Canvas, Trigger, read_trigger
from trojai_seam.rounds.trigger_variants import fainter, moved, scaled, trigger_variants

CANVAS = Canvas(1, 8, 8)
GREY = torch.full((1, 1, 8, 8), 0.2)


def trigger(*steps: dict, folder: Path = Path()) -> Trigger:
    return read_trigger(list(steps), [folder], CANVAS, "round.json")


def pixels(stamped: Trigger) -> torch.Tensor:
    """``[8, 8]`` of a grey image with the trigger."""
    return stamped(GREY)[0, 0]


def rows_and_columns(stamped: Trigger) -> tuple[list[int], list[int]]:
    changed = (pixels(stamped) - 0.2).abs() > 1e-6
    return changed.any(1).nonzero().flatten().tolist(), changed.any(0).nonzero().flatten().tolist()


def test_a_patch():
    patch = trigger({"kind": "patch", "at": [6, 6], "size": [2, 2], "color": 255})
    assert rows_and_columns(patch) == ([6, 7], [6, 7])
    assert rows_and_columns(moved(patch)) == ([4, 5], [4, 5])  # by its size, to where there is room
    assert float(pixels(moved(patch))[4, 4]) == 1
    assert rows_and_columns(scaled(patch)) == ([5, 6, 7], [5, 6, 7])  # kept inside
    torch.testing.assert_close(pixels(fainter(patch))[6, 6], torch.tensor(0.6))  # half way from grey to white
    assert rows_and_columns(fainter(patch)) == ([6, 7], [6, 7])
    assert set(trigger_variants(patch)) == {"moved", "scaled", "fainter"}


def test_steps_stay_together():
    two = trigger(
        {"kind": "patch", "at": [0, 0], "size": [1, 1], "color": 255},
        {"kind": "patch", "at": [0, 2], "size": [1, 1], "color": 0},
    )
    assert rows_and_columns(moved(two)) == ([1], [3, 5])
    found = pixels(scaled(two))
    assert rows_and_columns(scaled(two))[1][0] == 0
    assert float(found[0, 0]) == 1
    assert 0.0 in found.tolist()[0]


def test_a_pattern_of_the_whole_image_goes_round(tmp_path):
    pattern = np.zeros((8, 8), np.float32)
    pattern[0, 0], pattern[7, 7], pattern[4, 4] = 0.4, 0.4, 0.8
    np.save(tmp_path / "pattern.npy", pattern)
    whole = trigger({"kind": "additive", "pattern": "pattern.npy"}, folder=tmp_path)
    assert float(pixels(moved(whole))[5, 5]) == 1  # by an eighth
    torch.testing.assert_close(pixels(moved(whole))[0, 0], torch.tensor(0.6))  # what left below comes in above
    torch.testing.assert_close(pixels(fainter(whole))[4, 4], torch.tensor(0.6))
    large = pixels(scaled(whole))
    assert large.shape == (8, 8)
    assert float(large.max()) == 1
    assert float(large[0, 0]) == np.float32(0.2)  # the corners were cut


def test_a_warp(tmp_path):
    still = np.stack(np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)), axis=2).astype(np.float32)
    bent = still.copy()
    bent[2:4, 2:4, 0] += 0.5
    np.save(tmp_path / "grid.npy", bent)
    warp = trigger({"kind": "warp", "grid": "grid.npy"}, folder=tmp_path)
    half = fainter(warp).steps[0][0]
    torch.testing.assert_close(half, torch.tensor((still + bent) / 2))
    where = (moved(warp).steps[0][0] - torch.tensor(still)).abs().sum(2) > 0.1
    assert where.nonzero().tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]
