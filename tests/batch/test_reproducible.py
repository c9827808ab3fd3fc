"""Settings that make reruns equal must hold inside and be gone outside."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.made_rounds import write_round
from trojai_seam.batch.reproducible import reproducible
from trojai_seam.batch.runner import Options, evaluate


def settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )


def test_settings_hold_inside_and_come_back_after_an_error() -> None:
    before, inside = settings(), []

    def fail_inside() -> None:
        with reproducible(3):
            inside.append(settings())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail_inside()
    assert inside == [(3, False, False, True)]
    assert settings() == before


def test_a_callers_autocast_does_not_reach_inside() -> None:
    with torch.autocast("cpu"), reproducible():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_evaluating_leaves_the_callers_process_as_it_was(tmp_path: Path) -> None:
    write_round(tmp_path / "data")
    before = settings()
    evaluate(tmp_path / "data", tmp_path / "run", Options(preset="no-op", device="cpu", threads=2))
    assert settings() == before
