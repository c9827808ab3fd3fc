"""How networks are called, and how their scores are taken out of what they return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .details import BoxDetails
from .examples import ExampleSet
from .task import Task

BATCH = 256
TEXT_BATCH = 32
"""Text is asked by length, in smaller batches: most of a large one would be padding."""
SCENE_BATCH = 8
SCENE_WEIGHT = 16
"""Images with boxes are large, and detectors enlarge them further (Faster R-CNN to 800 pixels): so many other examples
does one stand for where a batch is given, so that a batch that was halved for want of memory is smaller here too."""


def call(model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """One positional input if it is called ``x``, else by keyword, as transformers are."""
    return model(inputs["x"]) if "x" in inputs else model(**inputs)


def logits(result: Any) -> Tensor:
    """The scores in what a network returned: a tensor, a transformers output, or a tuple such as NIST's (loss, logits).

    Raises:
        TypeError: there are none.
    """
    if isinstance(result, Tensor):
        return result
    named = getattr(result, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(result, tuple):
        found = next((part for part in result if isinstance(part, Tensor) and part.ndim > 1), None)
        if found is not None:
            return found
    raise TypeError(f"no scores in the {type(result).__name__} that the network returned")


@torch.no_grad()
def batched_outputs(model: nn.Module, task: Task, inputs: Mapping[str, Tensor], batch_size: int = BATCH) -> Tensor:
    """Raw scores of ``inputs`` as they are, ``float [N, ...]``, as the network stands; no synchronisation."""
    count = min(len(tensor) for tensor in inputs.values())
    slices = [slice(begin, begin + batch_size) for begin in range(0, count, batch_size)]
    return torch.cat([task.outputs(model, {name: t[where] for name, t in inputs.items()}) for where in slices])


@torch.no_grad()
def all_outputs(model: nn.Module, task: Task, examples: ExampleSet, batch_size: int = BATCH) -> Tensor:
    """Raw scores of all ``examples`` in their order, ``float [N, ...]``, as the network stands; no synchronisation
    but the first look at the extent of text, and those inside of detectors. Scores of text end behind the longest
    example, detections behind the largest number of them in one image."""
    if isinstance(examples.details, BoxDetails):
        order, size = torch.arange(len(examples)), min(SCENE_BATCH, max(1, batch_size // SCENE_WEIGHT))
    elif examples.extents is not None:
        order, size = examples.extents.tokens.argsort(stable=True), min(batch_size, TEXT_BATCH)
    elif examples.prepare is None:
        return batched_outputs(model, task, examples.inputs, batch_size)
    else:
        order, size = torch.arange(len(examples)), batch_size
    places = order.to(examples.labels.device, non_blocking=True)
    chunks = zip(torch.split(order, size), torch.split(places, size), strict=True)
    parts = [task.outputs(model, examples.rows(where, at)) for where, at in chunks]
    widest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    whole = torch.cat([_padded(part, widest) for part in parts])
    back = order.argsort().to(places.device, non_blocking=True)
    return whole[back]


def _padded(scores: Tensor, sizes: list[int]) -> Tensor:
    missing = [side for have, want in zip(scores.shape[:0:-1], sizes[::-1], strict=True) for side in (0, want - have)]
    return functional.pad(scores, missing) if any(missing) else scores
