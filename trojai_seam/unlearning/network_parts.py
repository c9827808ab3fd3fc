"""Parts of networks by what they do: the layer that gives the classes, the modules of a detector.

Detectors of the rounds follow three conventions: torchvision's two-stage detectors (``rpn``, ``roi_heads``), its
one-stage ones (``head``), and transformers' (DETR and its kin).
"""

from __future__ import annotations

from torch import nn

from ..errors import EngineFailure, listed, shown
from ..tasks import Task
from .training_mode import head

_DETECTORS: dict[str, tuple[str, ...]] = {
    "region": ("rpn.head",),
    "class": (
        "roi_heads.box_predictor.cls_score",
        "head.classification_head",
        "class_labels_classifier",
        "class_embed",
    ),
    "box": ("roi_heads.box_predictor.bbox_pred", "head.regression_head", "bbox_predictor", "bbox_embed"),
    "head": ("roi_heads.box_head", "roi_heads.box_predictor", "head", "class_labels_classifier", "class_embed",
             "bbox_predictor", "bbox_embed"),
    "backbone": ("backbone", "model.backbone"),
}  # fmt: skip


def class_layer(model: nn.Module, task: Task) -> nn.Linear | nn.Conv2d:
    """The last layer of a classifier, one row of weights per class.

    Raises:
        EngineFailure: the last layer with weights is none, or has other rows than the task has classes.
    """
    layer = head(model)
    if task.places or not isinstance(layer, nn.Linear | nn.Conv2d) or len(layer.weight) != task.num_classes:
        what = type(layer).__name__
        rows = f" of {len(layer.weight)} rows" if isinstance(layer, nn.Linear | nn.Conv2d) else ""
        raise EngineFailure(
            f"the network ends in a {what}{rows}, not in a layer with a row for each of {task.num_classes} classes; "
            "use another --preset"
        )
    return layer


def parts(model: nn.Module, task: Task, name: str) -> list[nn.Module]:
    """The modules that ``name`` means.

    Args:
        model: any network.
        task: what it does.
        name: of a classifier ``head``, its last layer; of a detector ``region`` (the proposals of two-stage ones),
            ``class``, ``box``, ``head`` (the last two and what they share) or ``backbone``; or the path of any module.

    Raises:
        EngineFailure: it has no such part.
    """
    if not task.places and name == "head":
        return [class_layer(model, task)]
    modules = dict(model.named_modules())
    known = {part: [modules[path] for path in paths if path in modules] for part, paths in _DETECTORS.items()}
    found = known.get(name) if task.places else None
    found = found or ([modules[name]] if name and name in modules else [])
    if not found:
        words = [part for part, there in known.items() if there] if task.places else ["head"]
        raise EngineFailure(f"this network has no part {shown(name)!r}; name {listed(words)} or the path of a module")
    return found
