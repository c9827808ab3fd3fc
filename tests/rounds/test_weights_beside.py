"""The state dict that round 13 ships beside a model: agreement is silent, anything else a note in the row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.made_scenes import small_ssd
from trojai_seam.loading import Budget, read_model
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.rounds.opening import open_network
from trojai_seam.rounds.weights_beside import STATE_DICT, disagreement


@pytest.fixture
def network(tmp_path: Path) -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    torch.save(made, tmp_path / "model.pt")
    return made


def note(folder: Path) -> str | None:
    return disagreement(read_model(folder / "model.pt"), Budget())


def test_agreement_and_absence_are_silent(network: nn.Module, tmp_path: Path) -> None:
    assert note(tmp_path) is None
    torch.save(network.state_dict(), tmp_path / STATE_DICT)
    assert note(tmp_path) is None


def test_one_bit_is_a_difference(network: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["2.bias"].view(torch.int32)[0] ^= 1
    torch.save(state, tmp_path / STATE_DICT)
    assert note(tmp_path) == f"{STATE_DICT} differs from the model's weights in 1 tensors (2.bias)"


def test_not_a_number_equals_itself(network: nn.Module, tmp_path: Path) -> None:
    network.get_parameter("2.bias").data[:] = torch.nan
    torch.save(network, tmp_path / "model.pt")
    torch.save(network.state_dict(), tmp_path / STATE_DICT)
    assert note(tmp_path) is None


def test_missing_further_and_misshapen_tensors(network: nn.Module, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    state["more"] = state.pop("0.weight")
    state["2.weight"] = state["2.weight"].T.contiguous()
    state["2.bias"] = state["2.bias"].double()
    torch.save(state, tmp_path / STATE_DICT)
    assert "in 4 tensors (0.weight, more and 2 more)" in (note(tmp_path) or "")


def test_a_damaged_or_other_file_is_told(network: nn.Module, tmp_path: Path) -> None:
    (tmp_path / STATE_DICT).write_bytes(b"PK\x03\x04 not a zip")
    assert f"{STATE_DICT} beside the model cannot be read" in (note(tmp_path) or "")
    torch.save(network, tmp_path / STATE_DICT)
    assert "holds no state dict" in (note(tmp_path) or "")


def test_the_row_gets_the_note(tmp_path: Path) -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    made = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    torch.save(made, tmp_path / "model.pt")
    torch.save(small_ssd(4).state_dict(), tmp_path / STATE_DICT)
    _, facts = open_network(ModelDirectory(tmp_path, tmp_path.name, tmp_path))
    assert "differs from the model's weights" in facts["notes"]
