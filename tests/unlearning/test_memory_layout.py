from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from tests.made_phases import recovery, seam
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.memory_layout import channels_last
from trojai_seam.unlearning.outcome import PhaseOutcome
from trojai_seam.unlearning.phase_kinds import PHASES, PhaseKind, PhaseSettings


class Viewing(nn.Module):
    """Does what works in one layout only."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(x).view(len(x), -1))


class Flattening(Viewing):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(x).flatten(1))


def is_last(model: Viewing) -> bool:
    return model.convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_only_what_can_stand_it_is_laid_out_anew() -> None:
    images = torch.rand(2, 3, 8, 8)
    for model, expected in ((Viewing(), False), (Flattening(), True)):
        assert channels_last(model, lambda model=model: model(images)) == expected
        assert is_last(model) == expected


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "expected"), [(4, 1, 2, False), (4, 1, 1, True), (8, 1, 2, True), (4, 3, 2, True)]
)
def test_what_would_write_beyond_its_memory_stays_as_it_is(channels, kernel, stride, expected) -> None:
    model = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 5, kernel, stride))
    assert channels_last(model, lambda: model(torch.rand(2, 3, 8, 8))) == expected
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) == expected


def test_the_network_as_shipped_is_laid_out_like_the_one_that_is_changed(monkeypatch) -> None:
    fit = ExampleSet({"x": torch.rand(6, 3, 8, 8)}, torch.arange(6) % 2, tuple("abcdef"))
    seen = []

    class LookSettings(PhaseSettings):
        kind: Literal["look-only"] = "look-only"

    def asked(context, settings):
        seen.append(is_last(context.shipped))
        assert not context.shipped.convolution.weight.requires_grad
        return PhaseOutcome(settings.name)

    monkeypatch.setitem(PHASES._entries, "look-only", PhaseKind(LookSettings, asked))
    for model in (Viewing(), Flattening()):
        unlearn(model, get_task("classification", 2), fit, UnlearnConfig(phases=[{"kind": "look-only"}]), seed=0)
        assert not is_last(model)
    assert seen == [False, True]


def test_unlearning_trains_either_and_gives_the_usual_layout_back() -> None:
    fit = ExampleSet({"x": torch.rand(6, 3, 8, 8)}, torch.arange(6) % 2, tuple("abcdef"))
    config = seam(recover=recovery(max_epochs=2, views={"augmentation": 1, "color_jitter": 1, "random_erasing": 1}))
    for model in (Viewing(), Flattening()):
        after = unlearn(model, get_task("classification", 2), fit, config, seed=0).model
        assert all(p.is_contiguous() for p in after.parameters())
        assert not torch.equal(after.head.weight, model.head.weight)
