"""The engine on CUDA: same draws, near-same numbers as on the CPU, and the same numbers twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.outcome import Outcome

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TASK = get_task("classification", 3)


def subject(device: str) -> tuple[nn.Module, ExampleSet]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    x = 3 * torch.eye(3, 8)[labels] + 0.2 * torch.randn(30, 8, generator=generator)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 3)).to(device)
    return net, ExampleSet({"x": x}, labels, tuple(map(str, range(30)))).to(device)


def run(device: str, config: UnlearnConfig) -> Outcome:
    model, fit = subject(device)
    return unlearn(model, TASK, fit, config, seed=4)


def test_cuda_draws_what_the_cpu_draws() -> None:
    config = resolve("authors-trojai", {"forget.max_epochs": "3", "recover.max_epochs": "3"})
    cpu = run("cpu", config)
    cuda = run("cuda", config)
    for a, b in zip(cpu.trace, cuda.trace, strict=True):
        assert (a.phase, a.epoch, a.steps) == (b.phase, b.epoch, b.steps)
        assert a.loss == pytest.approx(b.loss, rel=1e-3)


def test_the_same_seed_gives_the_same_network_on_cuda() -> None:
    model, fit = subject("cuda")
    first, again = (unlearn(model, TASK, fit, resolve("default"), seed=2).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(tensor.is_cuda for tensor in first.values())
