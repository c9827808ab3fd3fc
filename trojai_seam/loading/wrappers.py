"""What training puts around a network and does not change its outputs: taken off, in a module tree and in a state dict.

Data parallelism, averages of weights over training and ``torch.compile``, alone, together, and around a part of a
network as around the whole. A wrapper with forward hooks of its own stays, and is refused like any unknown class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from .nodes import DictNode, Inert, Instance

_ORIGINAL: Final = "_orig_mod"
#: Class of the wrapper → its child that is the network.
_INSIDE: Final[Mapping[str, str]] = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.distributed_cpu.DistributedDataParallelCPU": "module",
    "apex.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "timm.utils.model_ema.ModelEmaV2": "module",
    "timm.utils.model_ema.ModelEmaV3": "module",
    "torch._dynamo.eval_frame.OptimizedModule": _ORIGINAL,
}
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")
_MOST: Final = 16
_PARALLEL: Final = "module."
#: The counter of ``AveragedModel``.
_COUNTER: Final = "n_averaged"

T = TypeVar("T")


def unwrapped(node: Inert) -> Inert:
    """The network inside any number of wrappers; anything else as it is."""
    for _ in range(_MOST):
        inner = _inside(node) if isinstance(node, Instance) else None
        if inner is None:
            break
        node = inner
    return node


def _inside(wrapper: Instance) -> Instance | None:
    name = _INSIDE.get(wrapper.cls.path)
    if name is None or any(_holds_any(wrapper.get(hooks)) for hooks in _HOOKS):
        return None
    children = wrapper.get("_modules")
    inner = children.get(name) if isinstance(children, DictNode) else None
    if inner is None and name == _ORIGINAL and wrapper.args:
        inner = wrapper.args[0]  # torch 2.6 and later call the class with the network
    return inner if isinstance(inner, Instance) else None


def _holds_any(hooks: Inert) -> bool:
    return isinstance(hooks, DictNode) and bool(hooks.pairs)


def without_wrappers(tensors: Mapping[str, T]) -> dict[str, T]:
    """A state dict with the names that the network itself has.

    ``_orig_mod.`` is taken out wherever it stands, ``module.`` at the beginning of all names and where all names of one
    part have it next, such as ``features.module.0.weight``.
    """
    names = {name: _plain(name) for name in tensors}
    averaged = {name: new for name, new in names.items() if new != _COUNTER}
    while averaged and all(new.startswith(_PARALLEL) for new in averaged.values()):
        averaged = {name: new.removeprefix(_PARALLEL) for name, new in averaged.items()}
        names = averaged  # with the counter gone
        averaged = {name: new for name, new in names.items() if new != _COUNTER}
    for prefix in _parallel_parts(names.values()):
        names = {name: _without(new, prefix) for name, new in names.items()}
    return {new: tensors[name] for name, new in names.items()} if len(set(names.values())) == len(names) else {**tensors}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _ORIGINAL) if _ORIGINAL in name else name


def _parallel_parts(names: Iterable[str]) -> list[str]:
    """Prefixes such as ``features.`` all of whose names go on with ``module.``."""
    names = list(names)
    found = {name[: name.index(f".{_PARALLEL}") + 1] for name in names if f".{_PARALLEL}" in name}
    return [part for part in sorted(found) if all(n.startswith(part + _PARALLEL) for n in names if n.startswith(part))]


def _without(name: str, prefix: str) -> str:
    start = prefix + _PARALLEL
    return prefix + name[len(start) :] if name.startswith(start) else name
