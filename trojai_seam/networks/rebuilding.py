"""Build the network that a file calls for, load its tensors strictly, and let nothing else of the file in."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ..errors import StateMismatch, TrojaiSeamError, UnsupportedModel, listed, shown
from .comparison import compare_tree
from .registry import NETWORK, Hints, Network, check_called, dimensions, find

if TYPE_CHECKING:
    from ..loading import SavedModel
    from .kept_values import KeptValues


_NO_VALUES = (RuntimeError, TypeError)
"""What torch raises where the value of a meta tensor is asked for; NumPy gets a TypeError."""
_FILLERS = frozenset({Tensor.normal_, Tensor.uniform_})


class _Unfilled(TorchFunctionMode):
    """Initial values of a tensor without memory are none. Torch goes a long way to find that out: a third of the time
    that rebuilding a ResNet-50 takes."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _FILLERS or getattr(func, "__module__", None) == "torch.nn.init":
            tensor = args[0] if args else kwargs.get("tensor")  # torch.nn.init hands it on by name
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


def rebuild(saved: SavedModel, hints: Hints | None = None, device: str | torch.device = "cpu") -> nn.Module:
    """The network in ``saved`` on ``device``, in eval mode, every floating parameter float32 and trainable.

    ``hints`` are values of config.json; builders use them only where the file itself does not say.

    Raises:
        UnsupportedModel: no constructor is registered, or the file's facts are out of range.
        StateMismatch: tensors are missing, superfluous or of another shape, or a layer differs.
        RefusedArchive: the tensor data in the file are damaged.
    """
    hints = {} if hints is None else hints
    network, device = find(saved, hints), torch.device(device)
    saved = network.up_to_date(saved)
    if network.facts is not None:
        check_called(network.facts(saved, hints), hints, saved.path)  # the checks that identify() makes, none weaker
    module, kept = _without_memory(network, saved, hints, device)
    ties, named = _tied(module), saved
    saved = _as_built(network, named, module)
    values = saved.values({**saved.tensors, **kept.refs}, str(device))
    _fill(network, saved, module, kept, values)
    if _has_meta(module):  # values that neither the state dict nor the file has: compute them for real this time
        module, kept = _checked(network, named, hints, device)
        _fill(network, saved, module, kept, values)
    _tie(module, ties, saved)
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    module = module.to(device).eval()
    tensors = (*module.parameters(), *module.buffers())
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors):
        module = module.float()  # torch's default dtype may be another one
    return module


def _fill(
    network: Network, saved: SavedModel, module: nn.Module, kept: KeptValues, values: dict[str, torch.Tensor]
) -> None:
    module.load_state_dict(_state(network, saved, module, values), strict=True, assign=True)
    kept.take(values)


def _without_memory(
    network: Network, saved: SavedModel, hints: Hints, device: torch.device
) -> tuple[nn.Module, KeptValues]:
    """Built on the meta device, without memory or random numbers; where the constructor computes with values that
    tensors there do not have, on ``device``."""
    try:
        return _checked(network, saved, hints, torch.device("meta"))
    except UnsupportedModel as refusal:
        if not isinstance(refusal.__cause__, _NO_VALUES):
            raise
        # Not lost: a mistake that has nothing to do with meta is made again here, and raised with this one before it.
        return _checked(network, saved, hints, device)


def _checked(network: Network, saved: SavedModel, hints: Hints, device: torch.device) -> tuple[nn.Module, KeptValues]:
    """A module on ``device`` with the right names, shapes and attributes; its weights are arbitrary."""
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device, _Unfilled():
            module = network.build(saved, hints)
    except (TrojaiSeamError, MemoryError):
        raise
    except Exception as error:
        raise UnsupportedModel(
            f"{saved.path}: the builder of {network.name} failed: {type(error).__name__}: {error}"
        ) from error
    saved = _as_built(network, saved, module)
    _compare(network, saved, module)
    return module, compare_tree(network, saved, module, NETWORK in hints)


def _as_built(network: Network, saved: SavedModel, module: nn.Module) -> SavedModel:
    return network.as_built(saved, module.state_dict().keys(), dict(module.named_modules()).keys())


def _wanted(network: Network, saved: SavedModel) -> list[str]:
    ignored = set(network.ignored(saved.tensors))
    return [name for name in saved.tensors if name not in ignored]


def _counters(module: nn.Module) -> set[str]:
    """Names of the numbers of batches that batch normalisation has seen. Torch before 0.4.1 did not count, converters
    do not either, and no output depends on it."""
    return {
        f"{path}.num_batches_tracked" if path else "num_batches_tracked"
        for path, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.num_batches_tracked is not None
    }


def _compare(network: Network, saved: SavedModel, module: nn.Module) -> None:
    """Raises :class:`StateMismatch` naming every missing, superfluous and misshapen tensor."""
    theirs = {name: saved.shape(name) for name in _wanted(network, saved)}
    ours = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    problems = []
    missing = [name for name in ours if name not in theirs]
    if missing and (missing := [name for name in missing if name not in _counters(module)]):
        problems.append(f"missing {listed(missing)}")
    if unexpected := [name for name in theirs if name not in ours]:
        problems.append(f"unexpected {listed(unexpected)}")
    if wrong := [name for name in theirs if name in ours and theirs[name] != ours[name]]:
        shapes = (f"{shown(n, 50)} (file {dimensions(theirs[n])}, network {dimensions(ours[n])})" for n in wrong)
        problems.append(f"wrong shape {listed(shapes)}")
    if problems:
        raise StateMismatch(f"{saved.path}: the tensors do not fit {network.name}: {'; '.join(problems)}")


def _state(
    network: Network, saved: SavedModel, module: nn.Module, values: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The state dict out of the file's tensors ``values``, floating ones as float32.

    Raises:
        StateMismatch: a tensor is of another kind of number than the network's.
    """
    ours, wanted = module.state_dict(), set(_wanted(network, saved))
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name in saved.tensors:
        if name not in wanted:
            continue
        tensor = values[name]
        if tensor.is_floating_point() != ours[name].is_floating_point() or tensor.is_complex():
            raise StateMismatch(f"{saved.path}: {shown(name, 80)} holds {tensor.dtype}, not {ours[name].dtype}")
        state[name] = tensor.to(ours[name].dtype)
    for name in ours.keys() - state.keys():  # counters, see _compare
        state[name] = torch.zeros((), dtype=torch.int64, device=next(iter(values.values())).device)
    # Names and shapes are today's, so are the layer versions: without them some modules convert, or refuse (MNASNet).
    setattr(state, "_metadata", getattr(ours, "_metadata", None))  # noqa: B010
    return state


def _tied(module: nn.Module) -> list[list[str]]:
    """Groups of names of one and the same parameter, such as an embedding that is also the output layer."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _tie(module: nn.Module, groups: list[list[str]], saved: SavedModel) -> None:
    for first, *others in groups:
        kept = module.get_parameter(first)
        for name in others:
            if not torch.equal(kept, module.get_parameter(name)):
                raise StateMismatch(f"{saved.path}: {first} and {name} are one tensor in the network, two in the file")
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, kept)


def _has_meta(module: nn.Module) -> bool:
    """Whether any tensor is left without memory: a buffer outside the state dict, or a plain attribute."""
    return any(_holds_meta(value) for part in module.modules() for value in vars(part).values())


def _holds_meta(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_meta
    if not value or not isinstance(value, (list, tuple, dict)):
        return False
    return any(_holds_meta(item) for item in (value.values() if isinstance(value, dict) else value))


def check_fit(saved: SavedModel, hints: Hints | None = None) -> nn.Module:
    """The network that :func:`rebuild` would make, in eval mode on the meta device, without reading any tensor.

    Names, shapes and kinds of the tensors, all classes and attributes have been compared; what is computed from the
    values of tensors has not.

    Raises:
        UnsupportedModel, StateMismatch: as for :func:`rebuild`.
    """
    hints = {} if hints is None else hints
    network = find(saved, hints)
    saved = network.up_to_date(saved)
    if network.facts is not None:
        network.facts(saved, hints)
    module, _ = _without_memory(network, saved, hints, torch.device("cpu"))
    ours, named = module.state_dict(), _as_built(network, saved, module)
    for name in _wanted(network, named):
        dtype = named.tensors[name].dtype
        if name in ours and dtype.startswith(("float", "bfloat")) != ours[name].is_floating_point():
            raise StateMismatch(f"{saved.path}: {shown(name, 80)} holds {dtype}, not {ours[name].dtype}")
    return module.eval()
