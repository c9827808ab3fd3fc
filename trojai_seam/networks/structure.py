"""Models of one round repeat each other's structure: what was found out about one holds for the next.

Rebuilding depends on the classes, attributes and shapes in a file and on the values of config.json that the builder
asks for, but not on the values of tensors. So the verdict on a network can be kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import UnsupportedModel
from ..loading.nodes import Call, DictNode, Global, Inert, Instance, SetNode, TensorRef
from .registry import Hints

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

_MOST_NODES: Final = 200_000
_MOST_KEPT: Final = 64
Verdict: TypeAlias = "nn.Module | tuple[type[UnsupportedModel], str]"


class _TooLarge(Exception):
    """A structure that takes longer to write down than to rebuild."""


class _Asked(Mapping[str, Any]):
    """Hints that remember which of them somebody wanted to know."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self.keys_asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
        return self._hints[key]

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(str(key))
        return key in self._hints

    def __iter__(self) -> Iterator[str]:
        self.keys_asked.update(self._hints)
        return iter(self._hints)

    def __len__(self) -> int:
        self.keys_asked.update(self._hints)
        return len(self._hints)


class KnownStructures:
    """Keeps what ``examine`` (such as :func:`~.rebuilding.check_fit`) said of the last few structures."""

    def __init__(self, examine: Callable[[SavedModel, Hints], nn.Module]) -> None:
        self._examine = examine
        self._kept: OrderedDict[bytes, tuple[dict[str, str], Verdict]] = OrderedDict()

    def examine(self, saved: SavedModel, hints: Hints) -> nn.Module:
        """The network without memory; the same object for files that do not differ but in their tensors' values.

        Raises:
            UnsupportedModel: as ``examine``.
        """
        key = structure_hash(saved)
        kept = None if key is None else self._kept.get(key)
        if key is not None and kept is not None and all(_said(hints, k) == v for k, v in kept[0].items()):
            self._kept.move_to_end(key)
            return self._answer(kept[1], saved)
        asked = _Asked(hints)
        verdict: Verdict
        try:
            verdict = self._examine(saved, asked)
        except UnsupportedModel as problem:
            verdict = type(problem), str(problem).replace(str(saved.path), "\0")
        if key is not None:
            self._kept[key] = {name: _said(hints, name) for name in asked.keys_asked}, verdict
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return self._answer(verdict, saved)

    @staticmethod
    def _answer(verdict: Verdict, saved: SavedModel) -> nn.Module:
        if isinstance(verdict, tuple):
            raise verdict[0](verdict[1].replace("\0", str(saved.path)))
        return verdict


def _said(hints: Hints, name: str) -> str:
    return repr(hints[name]) if name in hints else ""


def structure_hash(saved: SavedModel) -> bytes | None:
    """Of everything in a file but the values of its tensors; None for a file that is too large to be written down."""
    digest = hashlib.blake2b(digest_size=16)
    left = _MOST_NODES

    def write(value: Inert) -> None:
        nonlocal left
        waiting: list[Inert] = [value]
        while waiting:
            left -= 1
            if left < 0:
                raise _TooLarge
            one = waiting.pop()
            if isinstance(one, (tuple, list)):
                digest.update(f"{type(one).__name__}{len(one)}:".encode())
                waiting += one
            elif isinstance(one, DictNode):
                digest.update(f"{one.kind}{len(one.pairs)}:".encode())
                waiting += one.pairs
            elif isinstance(one, (Instance, Call)):
                named = one.cls if isinstance(one, Instance) else one.func
                digest.update(f"{type(one).__name__} {named.path}:".encode())
                waiting += [one.args, one.state, one.items]
            elif isinstance(one, SetNode):
                digest.update(f"set{len(one.items)}:".encode())
                waiting += one.items
            elif isinstance(one, TensorRef):
                digest.update(f"tensor {one.dtype} {one.size} {one.is_parameter}:".encode())
            elif isinstance(one, Global):
                digest.update(f"name {one.path}:".encode())
            else:
                digest.update(f"{type(one).__name__} {one!r}:".encode("utf-8", "surrogatepass"))

    try:
        write((saved.kind, saved.class_path or "", list(saved.objections), saved.obstacle or ""))
        for path, node in saved.modules.items():
            write((path, node.class_path, *node.attributes.items()))
        for name, ref in saved.tensors.items():
            write((name, ref))
    except _TooLarge:
        return None
    return digest.digest()
