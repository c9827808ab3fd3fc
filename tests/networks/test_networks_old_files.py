"""Small files that old libraries wrote (``benchmarks/pinned_networks.py``): classes under the names of their day."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from trojai_seam.loading import read_model
from trojai_seam.networks import rebuild
from trojai_seam.networks.class_names import RENAMED, of_class, today
from trojai_seam.networks.registry import keep_only, register_network, registered

FOLDER = Path(__file__).parent / "old_files"
FILES = sorted(FOLDER.glob("*.pt.xz"))
IDS = {
    "input_ids": torch.tensor([[2, 5, 9, 14], [2, 8, 3, 1]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def pictures(size: int) -> torch.Tensor:
    rows = torch.linspace(0, 6, size)
    waves = [torch.sin(rows[:, None] * (k + 1.3) + rows[None] * (2.1 - k)) for k in range(6)]
    return torch.stack(waves).reshape(2, 3, size, size) * 0.5 + 0.5


INPUTS = {
    "attention": torch.linspace(-1, 1, 48).reshape(3, 2, 8),
    "mobilenet_v2": pictures(32),
    "mobilenet_v3_small": pictures(32),
    "vit": pictures(16),
    "vit-layerscale": pictures(16),
}


class Attending(nn.Module):
    """The user's own network with torch's attention, as its owner registers it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.head(self.attention(x, x, x)[0].mean(0))
        return hidden


@pytest.fixture
def taught():
    before = [network.name for network in reversed(registered())]
    register_network("attending", ("their_networks.Attending",))(lambda saved, hints: Attending())
    yield
    keep_only(before)


@torch.no_grad()
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".pt.xz"))
def test_an_old_file_computes_what_its_library_computed(file, tmp_path, taught):
    (tmp_path / "model.pt").write_bytes(lzma.decompress(file.read_bytes()))
    told = json.loads(file.with_name(file.name.replace(".pt.xz", ".json")).read_text())
    saved = read_model(tmp_path / "model.pt")
    named = {node.class_path for node in saved.modules.values()}
    assert set(told["classes"]) <= named | {"torch.nn.modules.linear._LinearWithBias"}
    network = rebuild(saved)
    name = file.name.rpartition("-torch")[0]
    found = network(INPUTS[name]) if name in INPUTS else network(**IDS)[0]
    wanted = torch.tensor(told["outputs"])
    assert (found.flatten(1) - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    kept = {of_class(type(part)) for part in network.modules()} | {"torch.nn.modules.linear.Identity"}
    renamed = {path for path in named if today(path) != path and today(path) in kept}
    assert all(any(re.fullmatch(rule.pattern, path) for rule in RENAMED) for path in renamed)


def test_the_files_name_the_classes_that_were_renamed():
    paths = {path for file in FOLDER.glob("*.json") for path in json.loads(file.read_text())["classes"]}
    pinned = {rule.pattern for rule in RENAMED if any(re.fullmatch(rule.pattern, path) for path in paths)}
    assert len(FILES) >= 30
    assert len(pinned) >= 11, sorted(pinned)
