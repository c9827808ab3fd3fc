"""Short numbers in training steps: what they change, what they must not, and where they are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trojai_seam.batch.reproducible import reproducible
from trojai_seam.errors import ConfigProblem, EngineFailure
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.outcome import Outcome


def run(precision: str, **options: str) -> Outcome:
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    images = torch.rand(24, 3, 10, 10) + labels.view(-1, 1, 1, 1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    fit = ExampleSet({"x": images}, labels, tuple(map(str, range(24))))
    config = resolve(
        "authors-trojai", {"precision": precision, "forget.max_epochs": "4", "recover.max_epochs": "8", **options}
    )
    return unlearn(model, get_task("classification", 3), fit, config, seed=1)


def test_bf16_steps_leave_float32_weights_near_those_of_float32_steps() -> None:
    long, short = run("float32"), run("bf16")
    for (name, expected), found in zip(long.model.state_dict().items(), short.model.state_dict().values(), strict=True):
        assert found.dtype == expected.dtype, name
    assert any(a.loss != b.loss for a, b in zip(long.trace, short.trace, strict=True))  # it was another arithmetic
    for a, b in zip(long.trace, short.trace, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=0.05)


def test_the_layers_of_a_step_compute_in_bf16_and_those_of_an_evaluation_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()
    plain = nn.Linear.forward

    def watched(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        out = plain(self, x)
        seen.add((self.training, out.dtype))
        return out

    monkeypatch.setattr(nn.Linear, "forward", watched)
    run("bf16", **{"recover.max_grad_norm": "1"})
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}


def test_bf16_steps_see_new_weights_inside_an_autocast_of_the_caller() -> None:
    """Casts of the first step's weights once stayed until the outermost autocast ended, and nothing was learnt."""
    outside = run("bf16")
    with reproducible(1):
        inside = run("bf16")
    assert [step.loss for step in inside.trace] == pytest.approx([step.loss for step in outside.trace], rel=1e-3)
    assert inside.trace[-1].loss < inside.trace[0].loss


def test_fp16_on_a_cpu_is_refused_with_what_to_do() -> None:
    with pytest.raises(EngineFailure, match=r"fp16 needs a GPU.*precision=bf16"):
        run("fp16")


def test_an_unknown_precision_is_a_config_problem() -> None:
    with pytest.raises(ConfigProblem, match="'half' should be 'float32', 'bf16' or 'fp16'"):
        run("half")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_short_numbers_on_a_gpu_train_and_repeat(precision: str) -> None:
    torch.manual_seed(0)
    labels = (torch.arange(24) % 3).cuda()
    images = torch.rand(24, 3, 10, 10).cuda() + labels.view(-1, 1, 1, 1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    ).cuda()
    fit = ExampleSet({"x": images}, labels, tuple(map(str, range(24))))
    config = resolve("authors-trojai", {"precision": precision, "recover.max_epochs": "20"})
    first, again = (unlearn(model, get_task("classification", 3), fit, config, seed=1) for _ in range(2))
    assert [step.loss for step in first.trace] == [step.loss for step in again.trace]
    assert all(p.dtype == torch.float32 and p.is_cuda for p in first.model.parameters())
    assert first.trace[-1].loss < first.trace[0].loss
