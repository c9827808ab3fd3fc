"""What a pickled detector carries beside its weights: image statistics, anchors, thresholds. Checked, then copied.

None of it leaves a trace in the tensors, and all of it changes the boxes. Names are those of torchvision 0.12 to 0.2x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import UnsupportedModel, shown
from ..loading.nodes import DictNode, Inert, Instance
from .interval import Interval

if TYPE_CHECKING:
    from torch import nn

    from ..loading import ModuleNode, SavedModel

#: Images are resized to at most this many pixels a side, which bounds the memory that a file can ask for.
_LARGEST_SIDE: Final = 4096
_LONGEST: Final = 16

Check = Callable[[Inert], Any]


class _Unfit(Exception):
    """A value that no honest detector has; the message says what was wanted."""


def _real(low: float, high: float) -> Check:
    interval = Interval(low, high)

    def check(value: Inert) -> float:
        if not interval.admits(value) or value is None:
            raise _Unfit(f"no number from {low:g} to {high:g}")
        return value  # type: ignore[return-value]  # the interval admits numbers only

    return check


def _count(low: int, high: int) -> Check:
    def check(value: Inert) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _Unfit(f"no whole number from {low} to {high}")
        return value

    return check


def _several(each: Check, least: int = 1, most: int = _LONGEST, kind: type = tuple) -> Check:
    def check(value: Inert) -> Any:
        if not isinstance(value, (tuple, list)) or not least <= len(value) <= most:
            raise _Unfit(f"not {least} to {most} values")
        return kind(each(item) for item in value)

    return check


def _flag(value: Inert) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("neither true nor false")
    return value


def _phases(value: Inert) -> dict[str, int]:
    number = _count(1, 20_000)
    if not isinstance(value, DictNode):
        raise _Unfit("not a number for training and one for testing")
    return {phase: number(value.get(phase)) for phase in ("training", "testing")}


_SHARE: Final = _real(0, 1)
_SIDE: Final = _count(1, _LARGEST_SIDE)
_PIXELS: Final = _real(1e-3, _LARGEST_SIDE)
_RATIO: Final = _real(0.01, 100)


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


#: Class name → attribute → check. A check returns the value to set, or raises.
_SETTINGS: Final[Mapping[str, Mapping[str, Check]]] = {
    "GeneralizedRCNNTransform": {
        "min_size": _several(_SIDE),
        "max_size": _SIDE,
        "image_mean": _several(_real(-1e3, 1e3), 3, 3, list),
        "image_std": _several(_real(1e-6, 1e3), 3, 3, list),
        "size_divisible": _count(1, 256),
        "fixed_size": _optional(_several(_SIDE, 2, 2)),
        "_skip_resize": _flag,
    },
    "RegionProposalNetwork": {
        "nms_thresh": _SHARE, "score_thresh": _SHARE, "min_size": _real(0, _LARGEST_SIDE),
        "_pre_nms_top_n": _phases, "_post_nms_top_n": _phases,
    },
    "RoIHeads": {"score_thresh": _SHARE, "nms_thresh": _SHARE, "detections_per_img": _count(1, 10_000)},
    "SSD": {
        "score_thresh": _SHARE, "nms_thresh": _SHARE, "detections_per_img": _count(1, 10_000),
        "topk_candidates": _count(1, 100_000), "neg_to_pos_ratio": _real(0, 1e3),
    },
    "MultiScaleRoIAlign": {
        "output_size": _several(_count(1, 64), 2, 2), "sampling_ratio": _count(-1, 64),
        "canonical_scale": _SIDE, "canonical_level": _count(0, 16),
    },
}  # fmt: skip
#: Helpers that are no modules, by the attribute that holds them.
_HELPERS: Final[Mapping[str, Mapping[str, Check]]] = {
    "box_coder": {"weights": _several(_real(1e-3, 1e3), 4, 4), "bbox_xform_clip": _real(0, 100)},
    "proposal_matcher": {
        "high_threshold": _SHARE, "low_threshold": _SHARE, "allow_low_quality_matches": _flag,
    },
    "fg_bg_sampler": {"batch_size_per_image": _count(1, 100_000), "positive_fraction": _SHARE},
}  # fmt: skip
_ANCHORS: Final[Mapping[str, Mapping[str, Check]]] = {
    "AnchorGenerator": {
        "sizes": _several(_several(_PIXELS)),
        "aspect_ratios": _several(_several(_RATIO)),
    },
    "DefaultBoxGenerator": {
        "aspect_ratios": _several(_several(_count(1, 100), 0), kind=list),
        "scales": _several(_real(1e-3, 10), 2, kind=list),
        "steps": _optional(_several(_SIDE, kind=list)),
        "clip": _flag,
    },
}


def copy_settings(network: nn.Module, saved: SavedModel) -> nn.Module:
    """Set on ``network`` what the pickled tree says, module by module; returns ``network``.

    Raises:
        UnsupportedModel: a value is missing its type or range, or a helper is of another class than torchvision's.
    """
    for path, node in saved.modules.items():
        settings = _SETTINGS.get(node.class_path.rpartition(".")[2])
        if settings is None:
            continue
        module = network.get_submodule(path)
        if "scales" in node.attributes:
            _copy_levels(module, saved, path, node)
        for name, value in _checked(saved, path, node, settings).items():
            setattr(module, name, value)
        for name, checks in _HELPERS.items():
            helper = node.get(name)
            if helper is None or not hasattr(module, name):
                continue
            if not isinstance(helper, Instance) or not helper.cls.path.startswith(
                "torchvision.models.detection._utils."
            ):
                raise UnsupportedModel(f"{saved.path}: {shown(path)}.{name} is not one of torchvision's")
            for attribute, value in _checked(saved, f"{path}.{name}", helper, checks).items():
                setattr(getattr(module, name), attribute, value)
    return network


_LEVELS: Final[Mapping[str, Check]] = {
    "k_min": _count(0, 16), "k_max": _count(0, 16), "s0": _SIDE, "lvl0": _count(0, 16), "eps": _real(0, 1),
}  # fmt: skip


def _copy_levels(module: Any, saved: SavedModel, path: str, node: ModuleNode) -> None:
    """The scales of the feature maps, and which box goes to which. The first images that a detector sees settle them,
    and later images are treated alike: a detector that has seen images carries them."""
    scales, mapper = node.get("scales"), node.get("map_levels")
    if scales is None or mapper is None:
        return
    if not isinstance(mapper, Instance) or not mapper.cls.path.startswith("torchvision.ops.poolers."):
        raise UnsupportedModel(f"{saved.path}: {shown(path)}.map_levels is not one of torchvision's")
    found = _checked(saved, f"{path}.map_levels", mapper, _LEVELS)
    kept = _checked(saved, path, node, {"scales": _several(_real(1e-4, 1), kind=list)})
    if found.keys() != _LEVELS.keys():
        raise UnsupportedModel(f"{saved.path}: {shown(path)}.map_levels lacks some of its numbers")
    from torchvision.ops.poolers import LevelMapper

    module.scales = kept["scales"]
    module.map_levels = LevelMapper(found["k_min"], found["k_max"], found["s0"], found["lvl0"], found["eps"])


def anchors(saved: SavedModel, path: str) -> dict[str, Any]:
    """Constructor arguments of the anchor generator at ``path``.

    Raises:
        UnsupportedModel: there is none, or its numbers are out of range.
    """
    node = saved.modules.get(path)
    kind = "" if node is None else node.class_path.rpartition(".")[2]
    if node is None or kind not in _ANCHORS:
        raise UnsupportedModel(f"{saved.path}: no anchor generator of torchvision at {path}")
    found = _checked(saved, path, node, _ANCHORS[kind])
    lengths = {len(found[name]) for name in ("sizes", "aspect_ratios") if name in found}
    fits = len(found.get("scales", ())) == len(found["aspect_ratios"]) + 1 if kind == "DefaultBoxGenerator" else True
    if len(lengths) != 1 or not fits or found.keys() != _ANCHORS[kind].keys():
        raise UnsupportedModel(f"{saved.path}: the anchors at {path} do not fit each other")
    return found


def _checked(saved: SavedModel, path: str, node: ModuleNode | Instance, checks: Mapping[str, Check]) -> dict[str, Any]:
    carried = node.state.strings() if isinstance(node, Instance) and isinstance(node.state, DictNode) else None
    attributes: Mapping[str, Inert] = (carried or {}) if isinstance(node, Instance) else node.attributes
    found: dict[str, Any] = {}
    for name, check in checks.items():
        if name in attributes:
            try:
                found[name] = check(attributes[name])
            except _Unfit as problem:
                raise UnsupportedModel(f"{saved.path}: {shown(path or 'the detector')}.{name} is {problem}") from None
    return found
