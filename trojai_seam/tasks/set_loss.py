"""DETR's loss: every object is matched with one query, all other queries shall say "no object".

Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv 2005.12872, section 3.1 and
appendix A.2; numbers as there, unless the network's config has others. Only the last decoder layer is taught, which is
what transformers does by default (``auxiliary_loss = False``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

#: What each part counts in the matching and in the loss, by the name of transformers' config field.
_WEIGHTS = {
    "class_cost": 1.0,
    "bbox_cost": 5.0,
    "giou_cost": 2.0,
    "bbox_loss_coefficient": 5.0,
    "giou_loss_coefficient": 2.0,
    "eos_coefficient": 0.1,
}


def set_loss(
    logits: Tensor, boxes: Tensor, labels: Sequence[Tensor], targets: Sequence[Tensor], config: Any = None
) -> Tensor:
    """The loss of one batch, a scalar.

    Args:
        logits: ``float [n, Q, C + 1]`` of n images and Q queries; the last one is "no object".
        boxes: ``float [n, Q, 4]``, centre and size as shares of the image.
        labels: n times ``int64 [m]``, classes of the m objects of an image; m may be 0 and must not exceed Q by far:
            objects without a query are left out.
        targets: n times ``float [m, 4]``, their boxes in the same form.
        config: of the network; its numbers are used instead of the paper's where it has them.
    """
    weights = {name: _number(getattr(config, name, None), usual) for name, usual in _WEIGHTS.items()}
    nothing = logits.shape[-1] - 1
    pairs = [_matched(*image, weights) for image in zip(logits, boxes, labels, targets, strict=True)]
    wanted = torch.full(logits.shape[:2], nothing, dtype=torch.int64, device=logits.device)
    for row, own, (queries, objects) in zip(wanted, labels, pairs, strict=True):
        row[queries] = own[objects]
    importance = torch.ones(nothing + 1, device=logits.device)
    importance[nothing] = weights["eos_coefficient"]
    loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), importance)
    count = max(1, sum(len(own) for own in labels))
    said = torch.cat([row[queries] for row, (queries, _) in zip(boxes, pairs, strict=True)])
    true = torch.cat([own[objects] for own, (_, objects) in zip(targets, pairs, strict=True)])
    distance = (said - true).abs().sum()
    apart = generalized_box_iou_loss(_corners(said), _corners(true), reduction="sum", eps=0)
    placed = weights["bbox_loss_coefficient"] * distance + weights["giou_loss_coefficient"] * apart
    total: Tensor = loss + placed / count
    return total


@torch.no_grad()
def _matched(
    logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor, weights: dict[str, float]
) -> tuple[Tensor, Tensor]:
    """Queries and objects of one image that belong together at the least cost (the Hungarian method)."""
    cost = (
        weights["bbox_cost"] * torch.cdist(boxes, targets, p=1)
        - weights["class_cost"] * logits.softmax(dim=-1)[:, labels]
        - weights["giou_cost"] * generalized_box_iou(_corners(boxes), _corners(targets))
    )
    # A network that has become non-finite is told by its loss.
    places = linear_sum_assignment(cost.nan_to_num(0.0, 1e6, -1e6).cpu().numpy())
    queries, objects = (torch.as_tensor(part, dtype=torch.int64, device=logits.device) for part in places)
    return queries, objects


def _corners(boxes: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners


def _number(value: Any, usual: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else usual
