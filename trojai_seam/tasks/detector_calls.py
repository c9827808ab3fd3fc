"""How detectors are called, and how they are taught: the two conventions that the rounds' networks follow.

*torchvision* (SSD, Faster R-CNN): a list of images; detections in eval mode, a dict of losses in training mode; boxes
in pixels; output 0 of the head is background. *transformers* (DETR and its kin): one padded batch ``pixel_values`` with
a ``pixel_mask``; ``logits`` and ``pred_boxes`` (centre and size as shares of the image) of a fixed number of queries;
the last output is "no object". Which of the two a network follows is told by the arguments of its ``forward``.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_convert

from .set_loss import set_loss

THINNEST = 1.0
"""Pixels: boxes with a shorter side are not trained on. torchvision raises at those that its resizing makes empty."""


def predicts_sets(model: nn.Module) -> bool:
    """Whether ``model`` follows transformers' convention; torchvision's otherwise."""
    return "pixel_values" in inspect.signature(model.forward).parameters


def background_class(model: nn.Module, num_classes: int) -> int:
    """The output of the head that stands for no object: the last one in transformers, the first in torchvision."""
    return num_classes - 1 if predicts_sets(model) else 0


def detections(model: nn.Module, images: Tensor, sizes: Tensor) -> Tensor:
    """What ``model`` (in eval mode) finds: ``float [n, D, 6]`` of x0, y0, x1, y1 in pixels, class as the head counts
    it, score; rows of zeros pad.

    Args:
        model: a detector of either convention.
        images: ``float32 [n, 3, H, W]``, 0 to 1, padded at the right and at the bottom.
        sizes: ``int64 [n, 2]`` on the CPU: height and width of each image.

    Raises:
        TypeError: the network returns neither torchvision's nor transformers' detections.
    """
    if predicts_sets(model):
        logits, boxes = _set_outputs(_ask_for_sets(model, images, sizes))
        scores, labels = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        corners = box_convert(boxes, "cxcywh", "xyxy") * _scale(sizes, boxes)
        return torch.cat([corners, labels[..., None].to(boxes.dtype), scores[..., None]], dim=-1)
    found = model(_cut(images, sizes))
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and {"boxes", "labels", "scores"} <= one.keys() for one in found
    ):
        raise TypeError(f"no boxes, labels and scores in the {type(found).__name__} that the network returned")
    rows = [
        torch.cat([one["boxes"], one["labels"][:, None].to(one["boxes"].dtype), one["scores"][:, None]], dim=1)
        for one in found
    ]
    return pad_sequence(rows, batch_first=True)


def training_loss(model: nn.Module, images: Tensor, sizes: Tensor, labels: Tensor) -> Tensor:
    """The loss that such a network (in training mode) is trained with, a scalar: the sum of all that torchvision
    returns, or DETR's set loss. Of ``labels`` (``float [n, M, 5]``), boxes of a class below 0 and boxes that are too
    thin are left out."""
    sides = (labels[..., 2:4] - labels[..., :2]).amin(dim=-1)
    kept = (labels[..., 4] >= 0) & (sides >= THINNEST)
    wanted = [rows[use] for rows, use in zip(labels, kept, strict=True)]
    if predicts_sets(model):
        logits, boxes = _set_outputs(_ask_for_sets(model, images, sizes))
        scale = _scale(sizes, boxes)
        targets = [box_convert(rows[:, :4] / by, "xyxy", "cxcywh") for rows, by in zip(wanted, scale, strict=True)]
        return set_loss(logits, boxes, [rows[:, 4].long() for rows in wanted], targets, getattr(model, "config", None))
    losses = model(_cut(images, sizes), [{"boxes": rows[:, :4], "labels": rows[:, 4].long()} for rows in wanted])
    if not isinstance(losses, dict):
        raise TypeError(f"no losses in the {type(losses).__name__} that the network returned in training mode")
    total: Tensor = torch.stack([loss.float() for loss in losses.values()]).sum()
    return total


def _cut(images: Tensor, sizes: Tensor) -> list[Tensor]:
    return [image[:, :height, :width] for image, (height, width) in zip(images, sizes.tolist(), strict=True)]


def _scale(sizes: Tensor, like: Tensor) -> Tensor:
    """Width, height, width, height of every image: ``float [n, 1, 4]``."""
    return sizes[:, [1, 0, 1, 0]].to(like.device, like.dtype, non_blocking=True)[:, None]


def _ask_for_sets(model: nn.Module, images: Tensor, sizes: Tensor) -> Any:
    height, width = images.shape[-2:]
    whole = bool((sizes == torch.tensor([height, width])).all())
    if whole or "pixel_mask" not in inspect.signature(model.forward).parameters:
        return model(pixel_values=images)
    down, across = torch.arange(height), torch.arange(width)
    mask = (down[:, None] < sizes[:, 0, None, None]) & (across < sizes[:, 1, None, None])
    return model(pixel_values=images, pixel_mask=mask.long().to(images.device, non_blocking=True))


def _set_outputs(result: Any) -> tuple[Tensor, Tensor]:
    logits, boxes = getattr(result, "logits", None), getattr(result, "pred_boxes", None)
    if not isinstance(logits, Tensor) or not isinstance(boxes, Tensor):
        raise TypeError(f"no logits and pred_boxes in the {type(result).__name__} that the network returned")
    return logits.float(), boxes.float()
