"""What the pickled tree says beyond the tensors: eps, momentum, dropout, strides. Checked, then copied or compared.

Two networks with the same state dict can compute different things. Numbers that may vary (eps, p …) are validated and
copied into the rebuilt network; what a constructor fixes (stride, padding, the kind of activation …) must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import StateMismatch, UnsupportedModel, listed, shown
from .interval import Interval

if TYPE_CHECKING:
    from ..loading import ModuleNode, SavedModel


_EPS = Interval(0, 1, closed=False)
_SHARE = Interval(0, 1)
_NORM = {"eps": _EPS, "momentum": Interval(0, 1, optional=True)}
_DROP = {"p": _SHARE}
_BOUND = Interval(-1e6, 1e6)
_CLIP = {"min_val": _BOUND, "max_val": _BOUND}
_BETWEEN = {"dropout": _SHARE}

#: Class name → attributes that are copied from the file once they pass.
_NUMBERS: Mapping[str, Mapping[str, Interval]] = {
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d"), _NORM),
    "FrozenBatchNorm2d": {"eps": Interval(0, 1)},  # round 10 has eps 0.0
    "LayerNorm": {"eps": _EPS},
    "GroupNorm": {"eps": _EPS},
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "StochasticDepth"), _DROP),
    "_DenseLayer": {"drop_rate": _SHARE},
    "DropPath": {"drop_prob": Interval(0, 1, optional=True)},
    "LeakyReLU": {"negative_slope": _BOUND},
    "ELU": {"alpha": _BOUND},
    "CELU": {"alpha": _BOUND},
    "Hardtanh": _CLIP,
    "ReLU6": _CLIP,
    "Softplus": {"beta": _BOUND, "threshold": _BOUND},
    "Threshold": {"threshold": _BOUND, "value": _BOUND},
    **dict.fromkeys(("LSTM", "GRU", "RNN", "MultiheadAttention"), _BETWEEN),
}

_CONV = ("kernel_size", "stride", "padding", "dilation", "groups", "output_padding", "padding_mode")
_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")
_ADAPTIVE = ("output_size",)
_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", "proj_size")

#: Class name → attributes that must equal those of the rebuilt module.
_GEOMETRY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d"), _CONV),
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"), _POOL),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"), _ADAPTIVE),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), ("affine", "track_running_stats")),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
    "GroupNorm": ("num_groups", "affine"),
    "LayerNorm": ("elementwise_affine",),
    "GELU": ("approximate",),
    "Flatten": ("start_dim", "end_dim"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), ("dim",)),
    "MultiheadAttention": ("num_heads", "batch_first", "add_zero_attn"),
    "Embedding": ("padding_idx", "max_norm"),
}

#: Other names of the same class: private ones of torch 1.x, and what quantisation-aware torch calls a Linear.
_SAME = {"_LinearWithBias": "Linear", "NonDynamicallyQuantizableLinear": "Linear", "LayerNorm2d": "LayerNorm"}

#: What changes the result of a module without leaving a trace in its tensors.
_REPLACEMENTS = ("forward", "_forward_hooks", "_forward_pre_hooks")

_TORCH = "torch.nn.modules."
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict", "Module")
_LIBRARIES = ("torchvision.", "timm.", "transformers.")


def apply_tree(module: nn.Module, saved: SavedModel) -> None:
    """Compare ``module`` with the pickled tree path by path and copy the checked numbers into it.

    Paths that only one of both has are left alone where library versions differ: parts of libraries, and what does
    nothing in eval mode. Other parts that only the file has take part in the computation, and are refused.

    Raises:
        UnsupportedModel: a number is missing its type or range (``dropout`` with p 7.0).
        StateMismatch: a layer computes something else than the rebuilt one (kind, stride, padding …).
    """
    for path, node in saved.modules.items():
        kind = _kind(node.class_path)
        where = f"{saved.path}: {shown(path or 'the network', 80)}"
        rebuilt = _at(module, path)
        if rebuilt is None:
            if _computes(node, kind) and _has_same_owner(module, saved, path):
                raise StateMismatch(f"{where} is a {shown(node.class_path, 80)} in the file, nothing in the network")
            continue
        _compare_replacements(node, rebuilt, where)
        if kind == "Sequential":
            _compare_parts(node, rebuilt, where)
        if kind is None or kind in _CONTAINERS:
            continue
        ours = _own_kind(rebuilt)
        if kind.startswith("Dropout") and ours == "Identity":
            if node.get("p") == 0:
                continue
            rebuilt = getattr(nn, kind)() if hasattr(nn, kind) else nn.Dropout()
            module.set_submodule(path, rebuilt)
        elif kind != ours and not (kind == "Identity" and getattr(rebuilt, "p", None) == 0):
            raise StateMismatch(f"{where} is a {shown(kind, 40)} in the file, a {ours} in the network")
        _copy_numbers(node, rebuilt, kind, where)
        _compare_geometry(node, rebuilt, kind, where)


def _at(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _computes(node: ModuleNode, kind: str | None) -> bool:
    """Whether a part that the network lacks changes its outputs; losses only do something with labels."""
    if kind is None:
        return not node.class_path.startswith(_LIBRARIES)
    return kind not in _CONTAINERS and _matters(kind, node.get("p")) and not kind.endswith("Loss")


def _has_same_owner(module: nn.Module, saved: SavedModel, path: str) -> bool:
    """Whether the nearest module around ``path`` that the network has is of the class that it has in the file.

    A builder may arrange a network anew, as ours do for NIST's small ones; then paths tell nothing.
    """
    rebuilt = None
    while rebuilt is None and path:
        path = path.rpartition(".")[0]
        rebuilt = _at(module, path)
    node = saved.modules.get(path)
    return node is not None and rebuilt is not None and _same_class(node, rebuilt)


def _same_class(node: ModuleNode, rebuilt: nn.Module) -> bool:
    return node.class_path.rpartition(".")[2] == type(rebuilt).__name__


def _kind(class_path: str) -> str | None:
    """The class name if it is one of torch.nn's, or of ours in the tables above; None for anything else."""
    module, _, name = class_path.rpartition(".")
    name = _SAME.get(name, name)
    return name if module.startswith(_TORCH) or name in _NUMBERS else None


def _own_kind(module: nn.Module) -> str:
    """The same for a live module: timm derives its own LayerNorm from torch's."""
    names = (_kind(f"{c.__module__}.{c.__qualname__}") for c in type(module).__mro__)
    return next((name for name in names if name not in (None, "Module")), type(module).__name__) or ""


def _compare_replacements(node: ModuleNode, rebuilt: nn.Module, where: str) -> None:
    """A hook, a ``forward`` or another method of its own computes what neither tensors nor class path tell."""
    replaced = [name for name in _REPLACEMENTS if name in node.attributes]
    if _same_class(node, rebuilt):
        replaced += [name for name in node.attributes if callable(getattr(type(rebuilt), name, None))]
    for name in replaced:
        if not vars(rebuilt).get(name):
            name = shown(name.strip("_"), 60)
            raise StateMismatch(f"{where} was saved with {name} of its own, which the network does not have")


def _compare_parts(node: ModuleNode, rebuilt: nn.Module, where: str) -> None:
    theirs = [name for name, child in node.children.items() if _matters(_kind(child.class_path), child.get("p"))]
    if not isinstance(rebuilt, nn.Sequential):
        if theirs:
            raise StateMismatch(f"{where} is a Sequential in the file, a {type(rebuilt).__name__} in the network")
        return
    parts: Mapping[str, nn.Module | None] = rebuilt._modules  # named_children() leaves out the second of a shared one
    ours = [n for n, part in parts.items() if part is not None and _matters(_own_kind(part), getattr(part, "p", None))]
    if theirs != ours:
        extra, lacking = sorted({*theirs} - {*ours}), sorted({*ours} - {*theirs})
        problems = [f"has {listed(extra)} besides"] * bool(extra) + [f"lacks {listed(lacking)}"] * bool(lacking)
        problems = problems or ["has its parts in another order"]
        raise StateMismatch(f"{where} {' and '.join(problems)}, compared with what its class path calls for")


def _matters(kind: str | None, p: object) -> bool:
    return kind != "Identity" and not (kind is not None and kind.startswith("Dropout"))


def _copy_numbers(node: ModuleNode, rebuilt: nn.Module, kind: str, where: str) -> None:
    for name, interval in _NUMBERS.get(kind, {}).items():
        if name not in node.attributes or not hasattr(rebuilt, name):
            continue
        value = node.attributes[name]
        if not interval.admits(value):
            raise UnsupportedModel(
                f"{where}: {kind} with {name} = {_text(value)}, which is no number "
                f"{'from' if interval.closed else 'between'} {interval.low:g} {'to' if interval.closed else 'and'} "
                f"{interval.high:g}"
            )
        setattr(rebuilt, name, value)


def _compare_geometry(node: ModuleNode, rebuilt: nn.Module, kind: str, where: str) -> None:
    for name in _GEOMETRY.get(kind, ()):
        if name not in node.attributes or not hasattr(rebuilt, name):
            continue
        theirs, ours = node.attributes[name], getattr(rebuilt, name)
        if not _agree(theirs, ours):
            raise StateMismatch(f"{where}: {kind} has {name} {_text(theirs)} in the file, {_text(ours)} in the network")


def _agree(theirs: object, ours: Any) -> bool:
    """Equal, where a single number stands for the same number in every dimension."""
    if isinstance(theirs, (tuple, list)) != isinstance(ours, tuple):
        many, one = (theirs, ours) if isinstance(theirs, (tuple, list)) else (ours, theirs)
        return len(many) > 0 and all(_same(value, one) for value in many)
    if isinstance(theirs, (tuple, list)):
        return len(theirs) == len(ours) and all(_same(a, b) for a, b in zip(theirs, ours, strict=True))
    return _same(theirs, ours)


def _same(a: object, b: object) -> bool:
    return (type(a) is type(b) or {type(a), type(b)} <= {int, float}) and a == b


def _text(value: object) -> str:
    """Shown in a message. Only flat values: a hostile list can be shared 2**60 times."""
    if isinstance(value, (tuple, list)):
        return f"({listed(_text(v) if not isinstance(v, (tuple, list)) else '…' for v in value[:9])})"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge integer"
    return shown(value, 40) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
