"""Tensors that a file keeps outside the state dict, or that today's libraries compute anew: the file's values win.

Cell anchors, buffers that are not saved in a state dict, position ids, masks. They are taken into the rebuilt network;
where it has no place for one, its value must be the one that the network computes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import DictNode, Inert, TensorRef
from .registry import TEACH, Network, dimensions

if TYPE_CHECKING:
    from ..loading import ModuleNode, SavedModel

Values = Mapping[str, Tensor]


def _causal(value: Tensor) -> bool:
    size = value.shape[-1]
    if tuple(value.shape[-2:]) != (size, size):
        return False
    return bool((value.bool() == _lower_triangle(size, str(value.device))).all())


@lru_cache(maxsize=2)
def _lower_triangle(size: int, device: str) -> Tensor:
    """Every layer and model of a kind has the same mask, and making one takes longer than comparing."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def _hides(value: Tensor) -> bool:
    return value.numel() == 1 and float(value) <= -1e4


def _counts(value: Tensor) -> bool:
    return bool((value.flatten() == torch.arange(value.numel(), device=value.device)).all())


def _is_grid(anchors: Tensor, cells: Tensor) -> bool:
    """Whether ``anchors`` [places × A, 4] are ``cells`` [A, 4] moved to every place of a grid, row by row."""
    if anchors.dim() != 2 or anchors.shape[1] != 4 or len(cells) == 0 or len(anchors) % len(cells):
        return False
    moved = anchors.reshape(-1, len(cells), 4) - cells.to(anchors)
    shifts = moved[:, 0]
    x, y = shifts[:, 0], shifts[:, 1]
    width = int((y == y[0]).long().cumprod(0).sum())
    if len(x) % width or not bool((moved - shifts[:, None]).abs().max() < 1e-2):
        return False
    x, y = x.reshape(-1, width), y.reshape(-1, width)
    steps = (x[0], y[:, 0])
    even = all(bool((line - torch.arange(len(line)) * line[1:2].sum()).abs().max() < 1e-2) for line in steps)
    same = bool((x - x[:1]).abs().max() < 1e-2 and (y - y[:, :1]).abs().max() < 1e-2)
    return even and same and bool((shifts[:, :2] == shifts[:, 2:]).all())


#: Buffers that today's classes have no more → what they must hold, because today's computes it so.
_GONE: Final[Mapping[str, Callable[[Tensor], bool]]] = {
    "bias": _causal,
    "masked_bias": _hides,
    "position_ids": _counts,
    "token_type_ids": lambda value: not bool(value.any()),
}


class KeptValues:
    """What is to be read from the file after the comparison, and where it goes.

    Attributes:
        refs: tensors of the file by a name of their own.
    """

    def __init__(self, saved: SavedModel, network: Network) -> None:
        self.saved, self.network = saved, network
        self.refs: dict[str, TensorRef] = {}
        self._takes: list[Callable[[Values], None]] = []

    def add_buffers(self, path: str, node: ModuleNode, rebuilt: nn.Module) -> None:
        """Buffers that were not part of the state dict."""
        for name, ref in node.buffers.items():
            self._buffer(path, name, ref, rebuilt, gone=True)

    def add_ignored(self, module: nn.Module) -> None:
        """Tensors that were part of the state dict and are no more."""
        for name in self.network.ignored(self.saved.tensors):
            path, _, leaf = name.rpartition(".")
            try:
                owner = module.get_submodule(path)
            except AttributeError:
                continue
            self._buffer(path, leaf, self.saved.tensors[name], owner, gone=leaf in _GONE)

    def add_attribute(self, path: str, name: str, value: Inert, rebuilt: Any) -> None:
        """An attribute that is a tensor, or a list of tensors, such as the cell anchors."""
        mine = getattr(rebuilt, name)
        refs = [value] if isinstance(value, TensorRef) else list(value)  # type: ignore[call-overload]
        ours = [mine] if isinstance(value, TensorRef) else mine
        fits = isinstance(ours, (list, tuple)) and len(ours) == len(refs)
        if not fits or any(
            not isinstance(o, Tensor) or tuple(o.shape) != r.size for o, r in zip(ours, refs, strict=True)
        ):
            raise StateMismatch(f"{self._where(path, name)} holds tensors of other shapes than the network's; {TEACH}")
        keys = [self._add(path, f"{name}[{k}]", ref) for k, ref in enumerate(refs)]

        def take(values: Values) -> None:
            found = [self._fitting(values[key], old, path, name) for key, old in zip(keys, ours, strict=True)]
            setattr(rebuilt, name, found[0] if isinstance(value, TensorRef) else type(mine)(found))

        self._takes.append(take)

    def add_grids(self, path: str, value: Inert, rebuilt: Any) -> None:
        """What anchor generators until torchvision 0.9 remembered: their cell anchors at every place of the feature
        maps, by the sizes of these. Today's compute it anew, so it must be just that."""
        grids = [grid for _, grid in value.pairs] if isinstance(value, DictNode) else [None]
        keys: list[list[str]] = []
        for k, grid in enumerate(grids):
            if not isinstance(grid, list) or any(not isinstance(ref, TensorRef) for ref in grid):
                raise UnsupportedModel(f"{self._where(path, '_cache')} holds other things than anchors; {TEACH}")
            keys.append([self._add(path, f"_cache[{k}][{j}]", ref) for j, ref in enumerate(grid)])

        def take(values: Values) -> None:
            cells = rebuilt.cell_anchors
            for names in keys:
                if len(names) != len(cells) or not all(
                    _is_grid(values[n], c) for n, c in zip(names, cells, strict=True)
                ):
                    raise UnsupportedModel(
                        f"{self._where(path, '_cache')} holds other anchors than cell_anchors; {TEACH}"
                    )

        self._takes.append(take)

    def _buffer(self, path: str, name: str, ref: TensorRef, rebuilt: nn.Module, gone: bool) -> None:
        mine = rebuilt._buffers.get(name)
        if mine is not None and tuple(mine.shape) != ref.size:
            sizes = f"{dimensions(ref.size)} in the file, {dimensions(mine.shape)} in the network"
            raise StateMismatch(f"{self._where(path, name)} is {sizes}")
        if mine is None and not gone:
            return
        if mine is None and name not in _GONE:
            raise UnsupportedModel(f"{self._where(path, name)} is a buffer that the network does not have; {TEACH}")
        key = self._add(path, name, ref)

        def take(values: Values) -> None:
            old = rebuilt._buffers.get(name)
            if old is not None:
                rebuilt._buffers[name] = self._fitting(values[key], old, path, name)
            elif not _GONE[name](values[key]):
                raise UnsupportedModel(f"{self._where(path, name)} is not what the installed version computes; {TEACH}")

        self._takes.append(take)

    def _add(self, path: str, name: str, ref: TensorRef) -> str:
        key = f"{path}.{name} (kept)"
        self.refs[key] = ref
        return key

    def _fitting(self, value: Tensor, old: Tensor, path: str, name: str) -> Tensor:
        """``value`` as ``old`` is: of its type and, where they are indices, within its bounds."""
        if value.is_floating_point() != old.is_floating_point() or value.is_complex():
            raise StateMismatch(f"{self._where(path, name)} holds {value.dtype}, not {old.dtype}")
        if not value.is_floating_point() and not old.is_meta and old.numel() and value.numel():
            low, high = int(old.min()), int(old.max())
            if int(value.min()) < low or int(value.max()) > high:
                raise UnsupportedModel(f"{self._where(path, name)} holds numbers that are not from {low} to {high}")
        return value.to(old.dtype)

    def take(self, values: Values) -> None:
        """Put the tensors of :attr:`refs` where they belong.

        Raises:
            UnsupportedModel: one has another value than the network computes with, and no place in it.
            StateMismatch: one is of another kind of number.
        """
        for take in self._takes:
            take(values)

    def _where(self, path: str, name: str) -> str:
        return f"{self.saved.path}: {shown(f'{path}.{name}' if path else name, 80)}"
