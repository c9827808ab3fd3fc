"""The module tree inside a pickled ``nn.Module``: walked without recursion, with a bound on every way it can grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..errors import RefusedArchive, shown
from .budget import Budget
from .nodes import DictNode, Inert, Instance, SetNode, TensorRef
from .wrappers import unwrapped

#: State of nn.Module itself; everything else in a module's ``__dict__`` is an attribute.
_MACHINERY: Final = frozenset(
    {
        "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_backend", "_is_full_backward_hook",
        "_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
        "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
    }
)  # fmt: skip
#: Machinery that changes what a module computes, once it holds anything.
_FORWARD_HOOKS: Final = frozenset({"_forward_hooks", "_forward_pre_hooks"})
_LONGEST_PATH: Final = 512
_EMPTY: Final[Mapping[str, Inert]] = MappingProxyType({})
_NO_BUFFERS: Final[Mapping[str, TensorRef]] = MappingProxyType({})


class ModuleNode:
    """One module: its class, plain attributes and children. It cannot be called; it only says what was there.

    Attributes:
        class_path: such as ``torch.nn.modules.conv.Conv2d``.
        attributes: inert values such as ``p``, ``eps``, ``training``, ``stride``, ``config``; also ``_forward_hooks``
            and ``_forward_pre_hooks`` where there are any.
        children: child modules by name; the ones set to None are left out.
        buffers: buffers that are no part of the state dict.
    """

    __slots__ = ("attributes", "buffers", "children", "class_path")

    def __init__(self, class_path: str, attributes: Mapping[str, Inert], children: Mapping[str, ModuleNode]) -> None:
        self.class_path, self.attributes, self.children = class_path, attributes, children
        self.buffers: Mapping[str, TensorRef] = _NO_BUFFERS

    def get(self, name: str, default: Inert = None) -> Inert:
        """The attribute ``name``, or ``default``: old modules lack newer attributes."""
        return self.attributes.get(name, default)

    def __repr__(self) -> str:
        return f"<ModuleNode {self.class_path}>"


class _Parts:
    """One ``nn.Module`` instance taken apart, once however often it is shared."""

    __slots__ = ("children", "node", "tensors")

    def __init__(self, path: Path, where: str, instance: Instance, state: DictNode) -> None:
        entries = state.strings()
        grown: dict[str, ModuleNode] = {}
        attributes = {
            name: value
            for name, value in entries.items()
            if name not in _MACHINERY or (name in _FORWARD_HOOKS and _holds_any(value))
        }
        self.node = ModuleNode(instance.cls.path, MappingProxyType(attributes), MappingProxyType(grown))
        self.tensors: dict[str, TensorRef] = {}
        self.children: list[tuple[str, Instance, DictNode]] = []
        skipped = _skipped(state.get("_non_persistent_buffers_set"))
        buffers: dict[str, TensorRef] = {}
        for group in ("_parameters", "_buffers"):
            for name, value in _group(path, where, state, group).items():
                if value is None:
                    continue
                if not isinstance(value, TensorRef) or name in self.tensors:
                    raise RefusedArchive(path, f"{shown(name, 60)} is not a tensor, or is there twice", where)
                if group == "_buffers" and name in skipped:
                    buffers[name] = value
                else:
                    self.tensors[name] = value
        if buffers:
            self.node.buffers = MappingProxyType(buffers)
        for name, value in _group(path, where, state, "_modules").items():
            if value is None:
                continue
            value = unwrapped(value)
            inner = value.state if isinstance(value, Instance) else None
            if not isinstance(value, Instance) or not isinstance(inner, DictNode) or not is_module(value):
                raise RefusedArchive(path, f"the child {shown(name, 60)} is not a module", where)
            self.children.append((name, value, inner))

    def link(self, made: Mapping[int, _Parts]) -> None:
        """Fill ``node.children`` once all modules are known."""
        self.node.children = MappingProxyType({name: made[id(child)].node for name, child, _ in self.children})


def is_module(node: Inert) -> bool:
    """Whether ``node`` looks like a pickled ``nn.Module``."""
    return isinstance(node, Instance) and all(
        isinstance(node.get(group), DictNode) for group in ("_parameters", "_buffers", "_modules")
    )


def read_tree(path: Path, root: Instance, budget: Budget) -> tuple[dict[str, ModuleNode], dict[str, TensorRef]] | None:
    """All modules by dotted path and all persistent tensors by name, both in state-dict order; None if not a module.

    Raises:
        RefusedArchive: a module contains itself, a child is no module, or the tree exceeds ``budget.names`` or
            ``budget.depth``.
    """
    if not is_module(root) or not isinstance(root.state, DictNode):
        return None
    made: dict[int, _Parts] = {}
    modules: dict[str, ModuleNode] = {}
    tensors: dict[str, TensorRef] = {}
    open_ids: set[int] = set()
    entries = 0
    stack: list[tuple[int, str, Iterator[tuple[str, Instance, DictNode]]]] = []

    def enter(instance: Instance, state: DictNode, prefix: str) -> None:
        nonlocal entries
        where = f"module {shown(prefix, 80) or '(root)'}"
        if id(instance) in open_ids:
            raise RefusedArchive(path, "a module that contains itself", where)
        if len(stack) >= budget.depth or len(prefix) > _LONGEST_PATH:
            raise RefusedArchive(path, f"modules nested deeper than the budget, depth={budget.depth}", where)
        parts = made.get(id(instance))
        if parts is None:
            # Many instances may share one large state, so what is read from them is counted, not what the file holds.
            entries += _entries(state)
            if entries > budget.nodes:
                raise RefusedArchive(path, f"more attributes of modules than the budget, nodes={budget.nodes}", where)
            parts = made[id(instance)] = _Parts(path, where, instance, state)
        if len(modules) + len(tensors) + len(parts.tensors) + 1 > budget.names:
            raise RefusedArchive(path, f"more modules and tensors than the budget, names={budget.names}", where)
        modules[prefix] = parts.node
        for name, ref in parts.tensors.items():
            tensors[f"{prefix}.{name}" if prefix else name] = ref
        open_ids.add(id(instance))
        stack.append((id(instance), prefix, iter(parts.children)))

    enter(root, root.state, "")
    while stack:
        identity, prefix, rest = stack[-1]
        for name, child, state in rest:
            enter(child, state, f"{prefix}.{name}" if prefix else name)
            break
        else:
            stack.pop()
            open_ids.discard(identity)
    for parts in made.values():
        parts.link(made)
    return modules, tensors


def _entries(state: DictNode) -> int:
    """How many entries taking the module apart will visit."""
    inner = (state.get(name) for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"))
    return len(state) + sum(len(node) for node in inner if isinstance(node, (DictNode, SetNode, list)))


def _holds_any(hooks: Inert) -> bool:
    return hooks is not None and not (isinstance(hooks, DictNode) and not hooks.pairs)


def _group(path: Path, where: str, state: DictNode, group: str) -> Mapping[str, Inert]:
    node = state.get(group)
    if not isinstance(node, DictNode):
        return _EMPTY
    entries = node.strings()
    for name in entries:
        if not name or "." in name or len(name) > 256:
            raise RefusedArchive(path, f"the name {shown(name, 60)!r} in {group}, which no module can have", where)
    return entries


def _skipped(node: Inert) -> frozenset[str]:
    items = node.items if isinstance(node, SetNode) else node if isinstance(node, list) else []
    return frozenset(item for item in items if isinstance(item, str))
