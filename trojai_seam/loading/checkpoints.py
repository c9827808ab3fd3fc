"""Which entry of a checkpoint is the network: training scripts keep weights beside epochs, optimizers and options.

Any key will do. A dict of names and tensors may be a state dict; statistics, losses and images beside one that has
weights are not taken for another. Entries of entries count where no entry itself is a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..errors import listed, shown
from .nodes import DictNode, Inert, Instance, Objection, TensorRef
from .tree import is_module
from .wrappers import unwrapped

_WEIGHT_NAMES: Final = ("weight", "bias")
_EXTRA: Final = "_extra_state"
_MOST_ENTRIES: Final = 1000
"""Of a dict or list that is looked into: one with more is a data set."""
_MOST_COMPARED: Final = 16
"""Networks of one checkpoint of which it is found out whether they share their tensors."""


class Choice(NamedTuple):
    """What of a file is the network.

    Attributes:
        node: a module, a dict with the tensors of a state dict, or whatever the file holds instead.
        entry: the key that it lies under, ``"outer.inner"`` for an entry of an entry; None where it is the file.
        entries: the keys of all networks in the file.
        obstacle: why none can be taken; None where one was, or where the file holds no entries.
    """

    node: Inert
    entry: str | None = None
    entries: tuple[str, ...] = ()
    obstacle: str | None = None


def choose(root: Inert, entry: str | None) -> Choice:
    """The network in ``root``: itself, the one under the key ``entry``, or the only one that there is.

    Raises:
        Objection: weights lie among other values, as in a state dict to which somebody added an epoch.
    """
    whole = unwrapped(root)
    if is_module(whole) or (isinstance(root, DictNode) and _is_state_dict(root)) or not _is_container(root):
        if entry is None:
            return Choice(whole)
        return Choice(root, obstacle=f"has no entry {shown(entry, 80)!r}: it is no checkpoint with several entries")
    if isinstance(root, DictNode) and _has_loose_weights(root):
        raise Objection(_mixed(root))
    found = _networks(root)
    names = tuple(found)
    if entry is not None:
        if entry in found:
            return Choice(found[entry], entry, names)
        known = f"there are {listed(map(repr, names))}" if names else "no entry is one"
        problem = f"has no entry {shown(entry, 80)!r} that is a network or a state dict; {known}"
        return Choice(root, entries=names, obstacle=problem)
    ranks = {id(node): _rank(node) for node in {id(node): node for node in found.values()}.values()}
    likely = {name: node for name, node in found.items() if ranks[id(node)] == max(ranks.values())}
    candidates = _without_copies(_outermost(likely, root))
    if len(candidates) == 1:
        [(name, node)] = candidates.items()
        return Choice(node, name, names)
    if candidates:
        problem = f"a checkpoint of {len(candidates)} networks, under {listed(map(repr, candidates))}"
        return Choice(root, entries=names, obstacle=f"{problem}; choose one with --entry KEY")
    return Choice(root, obstacle=_nothing(root))


def _is_container(node: Inert) -> bool:
    return isinstance(node, (DictNode, list, tuple)) and len(node) > 0


def _items(node: Inert) -> Iterator[tuple[str, Inert]]:
    if not isinstance(node, (DictNode, list, tuple)) or len(node) > _MOST_ENTRIES:
        return
    if isinstance(node, DictNode):
        yield from node.strings().items()
    else:
        yield from ((str(place), value) for place, value in enumerate(node))


def _networks(root: Inert) -> dict[str, Inert]:
    """By key: the entries that are networks, then those of the entries that are none."""
    known: dict[int, Inert] = {}  # a hostile file may hold one large dict under a million keys

    def network(node: Inert) -> Inert:
        if not isinstance(node, (DictNode, Instance)):
            return None
        if id(node) not in known:
            inner = unwrapped(node)
            is_one = is_module(inner) or (isinstance(node, DictNode) and _is_state_dict(node))
            known[id(node)] = inner if is_one else None
        return known[id(node)]

    found = {name: inner for name, node in _items(root) if (inner := network(node)) is not None}
    looked_into: set[int] = set()
    for name, node in _items(root):
        if name not in found and id(node) not in looked_into:
            looked_into.add(id(node))
            below = {f"{name}.{part}": inner for part, one in _items(node) if (inner := network(one)) is not None}
            found = {**below, **found}
    return found


def _rank(node: Inert) -> int:
    """How likely a network is meant: 2 for one with weights called so, 1 for matrices, 0 for other tensors."""
    if not isinstance(node, DictNode):
        return 2
    tensors = _tensors(node)
    has_matrix = any(len(ref.size) > 1 for ref in tensors.values())
    return has_matrix + (has_matrix and _has_weights(tensors))


def _outermost(found: dict[str, Inert], root: Inert) -> dict[str, Inert]:
    """The entries themselves, where there are any; else all, which are entries of entries."""
    own = {name for name, _ in _items(root)}
    return {name: node for name, node in found.items() if name in own} or found


def _without_copies(found: dict[str, Inert]) -> dict[str, Inert]:
    """Without the state dicts whose tensors are those of another entry: a module and its own state dict are one."""
    single = {id(node): name for name, node in reversed(found.items())}
    found = {name: node for name, node in found.items() if single[id(node)] == name}
    if len(found) > _MOST_COMPARED:
        return found
    places = {name: frozenset(_places(node)) for name, node in found.items()}
    modules_first = sorted(found, key=lambda name: isinstance(found[name], DictNode))
    kept: list[str] = []
    for name in modules_first:
        if not any(places[name] <= places[other] for other in kept):
            kept.append(name)
    return {name: node for name, node in found.items() if name in kept}


def _places(node: Inert) -> Iterator[object]:
    """Where the tensors of a network lie in the file."""
    waiting, seen = [node], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, TensorRef):
            yield one.storage.key, one.offset, one.size
        elif id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, Instance):
                waiting += [one.get(group) for group in ("_parameters", "_buffers", "_modules")]
            elif isinstance(one, DictNode):
                waiting += one.strings().values()


def _tensors(node: DictNode) -> dict[str, TensorRef]:
    return {name: value for name, value in node.strings().items() if isinstance(value, TensorRef)}


def _has_weights(tensors: dict[str, TensorRef]) -> bool:
    return any(name.rpartition(".")[2] in _WEIGHT_NAMES for name in tensors)


def _is_state_dict(node: DictNode) -> bool:
    """Names and tensors only."""
    tensors = _tensors(node)
    only_names = all(isinstance(key, str) for key, _ in node.pairs)
    return bool(tensors) and only_names and all(name in tensors or name.endswith(_EXTRA) for name in node.strings())


def _has_loose_weights(root: DictNode) -> bool:
    """Whether weights lie among the entries."""
    tensors = _tensors(root)
    return _has_weights(tensors) and any("." in name for name in tensors)


def _mixed(root: DictNode) -> str:
    tensors = _tensors(root)
    others = [name for name in root.strings() if name not in tensors and not name.endswith(_EXTRA)]
    what = f"under {listed(others, 3)}" if others else "under keys that are not text"
    return f"a dict that mixes tensors with other values ({what}); save model.state_dict() alone"


def _nothing(root: Inert) -> str:
    if isinstance(root, DictNode):
        if any(ref.size for ref in _tensors(root).values()):
            raise Objection(_mixed(root))
        names = list(root.strings())
        kept = f" ({listed(map(repr, names))})" if names else ""
        return f"a dict of {len(root)} entries{kept}, neither a network nor a state dict among them"
    assert isinstance(root, (list, tuple))  # noqa: S101 - the other containers
    return f"a {type(root).__name__} of {len(root)} values, neither a network nor a state dict among them"
