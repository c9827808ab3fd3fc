"""Inert nodes: what a pickle *describes*, with nothing behind it that could run.

None of these objects is ever the thing that the file names. ``Global("os", "system")`` is two strings. Nodes compare by
identity and print briefly, because a hostile file can share one node 2**60 times and a recursive ``repr``, ``==`` or
``hash`` would never end. Tuples, lists, ``str``, ``int``, ``float``, ``complex``, ``bool``, ``None`` and ``bytes``
stand for themselves. Walk nodes iteratively and remember ids: cycles are possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

#: Any value that the reader can produce. It is ``object`` on purpose: callers must check types before they trust any.
Inert: TypeAlias = object

#: Bytes per element of every dtype that a file may hold.
ITEM_SIZES: Final = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1,
    "bool": 1, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip


class Objection(Exception):
    """A node that no honest file needs. The reader turns it into a RefusedArchive with path and byte offset."""


class Global:
    """A name in a module, such as ``torch.nn.modules.linear`` / ``Linear``. Never imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    @property
    def path(self) -> str:
        """``"module.name"``."""
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"<Global {self.path}>"


class DictNode:
    """A ``dict`` or ``OrderedDict`` as the list of its ``(key, value)`` assignments; a later one wins.

    ``attributes`` is what ``BUILD`` put on an ``OrderedDict``, such as ``_metadata`` of a state dict.
    """

    __slots__ = ("_strings", "attributes", "kind", "pairs")

    def __init__(
        self, kind: Literal["dict", "OrderedDict"] = "dict", pairs: list[tuple[Inert, Inert]] | None = None
    ) -> None:
        self.kind = kind
        self.pairs: list[tuple[Inert, Inert]] = [] if pairs is None else pairs
        self.attributes: DictNode | None = None
        self._strings: tuple[int, dict[str, Inert]] | None = None

    def strings(self) -> dict[str, Inert]:
        """The entries with a ``str`` key, as a dict in insertion order. Do not change it."""
        if self._strings is None or self._strings[0] != len(self.pairs):
            self._strings = (len(self.pairs), {key: value for key, value in self.pairs if isinstance(key, str)})
        return self._strings[1]

    def get(self, key: str, default: Inert = None) -> Inert:
        """The value last stored under ``key``."""
        return self.strings().get(key, default)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"<{self.kind} of {len(self.pairs)}>"


class Instance:
    """An object of class ``cls``: its constructor arguments, its ``state`` (from ``BUILD``) and container ``items``.

    ``state`` is a :class:`DictNode` for ordinary objects; ``items`` holds what a list or dict subclass contains
    (values, or pairs).
    """

    __slots__ = ("args", "built", "cls", "items", "state")

    def __init__(self, cls: Global, args: tuple[Inert, ...] = (), state: Inert = None) -> None:
        self.cls, self.args, self.state = cls, args, state
        self.items: list[Inert] = []
        self.built = False

    def get(self, name: str, default: Inert = None) -> Inert:
        """The attribute ``name`` out of ``state``, or ``default``."""
        return self.state.get(name, default) if isinstance(self.state, DictNode) else default

    def __repr__(self) -> str:
        return f"<Instance of {self.cls.path}>"


class SetNode:
    """A ``set`` or ``frozenset`` as a list of items, duplicates kept (hashing untrusted items is not safe)."""

    __slots__ = ("items",)

    def __init__(self, items: list[Inert] | None = None) -> None:
        self.items: list[Inert] = [] if items is None else items

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<set of {len(self.items)}>"


class Call:
    """One of the few harmless calls that are kept as data: ``functools.partial``, ``torch.device``, numpy arrays ...

    ``state`` is what ``BUILD`` adds (the bound arguments of a ``partial``, the bytes of a numpy array).
    """

    __slots__ = ("args", "built", "func", "items", "state")

    def __init__(self, func: Global, args: tuple[Inert, ...]) -> None:
        self.func, self.args = func, args
        self.state: Inert = None
        self.items: list[Inert] = []
        self.built = False

    def __repr__(self) -> str:
        return f"<Call of {self.func.path}>"


class StorageRef:
    """A flat run of ``numel`` elements of ``dtype`` in the file, found under ``key``. There is one node per key.

    Untyped storages count bytes: ``dtype`` is ``"uint8"`` and ``untyped`` is true.
    """

    __slots__ = ("dtype", "key", "location", "numel", "untyped")

    def __init__(self, key: str, dtype: str, numel: int, location: str, untyped: bool = False) -> None:
        self.key, self.dtype, self.numel, self.location, self.untyped = key, dtype, numel, location, untyped

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * ITEM_SIZES[self.dtype]

    def __repr__(self) -> str:
        return f"<StorageRef {self.numel} x {self.dtype}>"


class TensorRef:
    """A strided view of a storage: ``offset`` and ``stride`` count elements of ``dtype``, not bytes."""

    __slots__ = ("dtype", "is_parameter", "offset", "requires_grad", "size", "storage", "stride")

    def __init__(
        self,
        storage: StorageRef,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool = False,
        is_parameter: bool = False,
        dtype: str | None = None,
    ) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        self.requires_grad, self.is_parameter = requires_grad, is_parameter
        self.dtype = storage.dtype if dtype is None else dtype

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.size:
            count *= extent
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous copy."""
        return self.numel * ITEM_SIZES[self.dtype]

    def __repr__(self) -> str:
        return f"<TensorRef {self.dtype} {self.size}>"


def children(node: Inert) -> Iterator[Inert]:
    """The values directly inside ``node``; none for leaves."""
    if isinstance(node, (tuple, list)):
        yield from node
    elif isinstance(node, DictNode):
        for key, value in node.pairs:
            yield key
            yield value
        if node.attributes is not None:
            yield node.attributes
    elif isinstance(node, (Instance, Call)):
        yield node.args
        yield node.state
        yield from node.items
    elif isinstance(node, SetNode):
        yield from node.items


_CONTAINERS: Final = (tuple, list, DictNode, Instance, Call, SetNode)


def deeper_than(root: Inert, limit: int) -> bool:
    """Whether some acyclic chain of containers under ``root`` is longer than ``limit``.

    Linear in the number of nodes however often they are shared; an edge back to an enclosing container adds nothing.
    """
    heights: dict[int, int] = {id(root): 1}
    stack: list[tuple[Inert, Iterator[Inert]]] = [(root, children(root))]
    while stack:
        node, rest = stack[-1]
        for child in rest:
            if not isinstance(child, _CONTAINERS):
                continue
            known = heights.get(id(child))
            if known is None:
                heights[id(child)] = 1
                stack.append((child, children(child)))
                break
            heights[id(node)] = max(heights[id(node)], known + 1)
        else:
            stack.pop()
            if stack:
                above = id(stack[-1][0])
                heights[above] = max(heights[above], heights[id(node)] + 1)
        if len(stack) > limit or heights[id(node)] > limit:
            return True
    return False
