"""DETR's loss: equal to that of transformers, and defined where that one raises."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.made_scenes import detr, scenes
from trojai_seam.tasks.detector_calls import training_loss
from trojai_seam.tasks.set_loss import set_loss


@pytest.mark.parametrize(
    "options", [{}, {"class_cost": 3, "bbox_cost": 1, "giou_loss_coefficient": 7, "eos_coefficient": 0.4}]
)
def test_loss_is_that_of_transformers(options: dict[str, Any]) -> None:
    network = detr(3, **options)
    for parameter in network.get_submodule("bbox_predictor").parameters():
        parameter.data.mul_(20)  # else all queries answer alike, and any matching is as good
    examples = scenes(6, background=3).subset([0, 3])  # unpadded, with and without further boxes
    assert (examples.labels[..., 4] >= 0).sum(dim=1).tolist() != [3, 3]
    sizes = torch.tensor([[64, 64]] * 2)
    said = [
        {"class_labels": rows[:, 4].long(), "boxes": centred(rows[:, :4] / 64)}
        for rows in (labels[labels[:, 4] >= 0] for labels in examples.labels)
    ]
    images = examples.inputs["x"]
    expected = network(pixel_values=images, labels=said).loss
    assert training_loss(network, images, sizes, examples.labels).item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    theirs = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    training_loss(network, images, sizes, examples.labels).backward()
    for parameter, wanted in zip(network.parameters(), theirs, strict=True):
        if wanted is not None:
            assert torch.allclose(parameter.grad, wanted, atol=1e-4, rtol=1e-3)


def centred(corners: torch.Tensor) -> torch.Tensor:
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)


def test_more_objects_than_queries_and_none_at_all() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, 3, 5, requires_grad=True), torch.rand(2, 3, 4) * 0.4 + 0.2
    many = torch.rand(6, 4) * 0.4 + 0.2
    loss = set_loss(logits, boxes, [torch.arange(6) % 4, torch.zeros(0).long()], [many, torch.zeros(0, 4)])
    assert torch.isfinite(loss)
    loss.backward()


def test_non_finite_answers_make_a_non_finite_loss_and_no_error() -> None:
    logits, boxes = torch.full((1, 3, 5), torch.nan), torch.full((1, 3, 4), torch.nan)
    loss = set_loss(logits, boxes, [torch.tensor([1])], [torch.rand(1, 4)])
    assert torch.isnan(loss)
