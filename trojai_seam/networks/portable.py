"""Whether a rebuilt network, saved whole, opens where trojai_seam is not installed."""

from __future__ import annotations

from torch import nn


def own_classes(model: nn.Module) -> list[str]:
    """Names of the classes of ``model`` that only trojai_seam has; none for networks of torch, torchvision, timm and
    transformers."""
    return sorted({type(m).__name__ for m in model.modules() if type(m).__module__.split(".")[0] == "trojai_seam"})
