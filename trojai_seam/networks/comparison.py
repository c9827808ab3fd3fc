"""The one comparison that every rebuilt network passes: file against network, module by module.

Two networks with the same state dict can compute different things. So the class of every module must be the one that
the file names, up to :mod:`.class_names`, and every plain attribute must be the same (:mod:`.attributes`).
What no table knows is refused, whichever builder made the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from torch import nn

from ..errors import StateMismatch, UnsupportedModel, listed, shown
from ..loading.nodes import Global
from .attribute_rules import rules_of
from .attributes import LIBRARIES, SYNC, Attributes, where
from .class_names import is_copy, of_class, today
from .kept_values import KeptValues
from .placeholders import does_nothing, is_placeholder, replaced
from .plain_values import agree, function_name
from .registry import TEACH, Network
from .written_out import OURS, is_written_out

if TYPE_CHECKING:
    from ..loading import ModuleNode, SavedModel

_NN: Final = "torch.nn.modules."
_LOSSES: Final = "torch.nn.modules.loss."
_CONTAINERS: Final = tuple(f"{_NN}container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict"))
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")
_WAY_OUT: Final = f"what it computes is not known; {TEACH}"

#: Parts that today's classes have and that old ones did in their forward pass, by the class that has them. A file that
#: lacks one cannot be of a version that used it: it would not run.
_FORMERLY_INLINE: Final[Mapping[str, frozenset[str]]] = {
    "torchvision.models.inception.Inception3": frozenset({"maxpool1", "maxpool2", "avgpool"}),  # 0.7
    "torchvision.ops.misc.SqueezeExcitation": frozenset({"avgpool", "activation", "scale_activation"}),  # 0.11
    "transformers.models.electra.modeling_electra.ElectraClassificationHead": frozenset({"activation"}),  # 5.0
}
#: Parts that old classes had and did not use, where today's have none: transformers 3 made every BERT with a pooler.
_FORMERLY_UNUSED: Final[Mapping[str, frozenset[str]]] = {
    f"transformers.models.{family}.modeling_{family}.{prefix}Model": frozenset({"pooler"})
    for family, prefix in (("bert", "Bert"), ("roberta", "Roberta"), ("mobilebert", "MobileBert"))
}


def compare_tree(network: Network, saved: SavedModel, module: nn.Module, asked: bool = False) -> KeptValues:
    """Compare ``module`` with the pickled tree, and copy into it the numbers that the file decides.

    ``asked`` says that the user named the network: where ours have a class of their own, the file's may be the user's.

    Returns:
        The values that only the file knows and that need its tensors; see :class:`.kept_values.KeptValues`.

    Raises:
        UnsupportedModel: a class or an attribute that is not known, or a number out of its range.
        StateMismatch: a layer computes something else than the rebuilt one (kind, stride, padding …).
    """
    kept = KeptValues(saved, network)
    if saved.modules:
        _Comparison(network, saved, module, kept, asked).run()
    kept.add_ignored(module)
    return kept


class _Comparison:
    def __init__(self, network: Network, saved: SavedModel, module: nn.Module, kept: KeptValues, asked: bool) -> None:
        self.network, self.saved, self.module, self.kept, self.asked = network, saved, module, kept, asked
        self.attributes = Attributes(network, saved, kept, asked)
        self.ours: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
        self.theirs: Mapping[str, ModuleNode] = saved.modules
        self.parts = _children(self.theirs)
        self.compared: set[tuple[int, int]] = set()

    def run(self) -> None:
        for path, node in self.theirs.items():
            rebuilt = self.ours.get(path)
            if rebuilt is None:
                self._only_in_file(path, node)
            elif (id(node), id(rebuilt)) not in self.compared:  # a shared one once
                self.compared.add((id(node), id(rebuilt)))
                self._pair(path, node, rebuilt)
        for path, rebuilt in self.ours.items():
            if path not in self.theirs:
                self._only_in_network(path, rebuilt)

    # classes ---------------------------------------------------------------------------------------------------------

    def _pair(self, path: str, node: ModuleNode, rebuilt: nn.Module) -> None:
        self._refuse_hooks(path, node)
        theirs, ours = today(node.class_path), of_class(type(rebuilt))
        stands_in = False
        if theirs != ours and not self._same(node.class_path, rebuilt):
            if does_nothing(theirs) and is_placeholder(rebuilt) and (new := replaced(node, rebuilt)) is not None:
                if new is not rebuilt:
                    self.module.set_submodule(path, new)
                    self.ours[path] = rebuilt = new
                if of_class(type(rebuilt)) != theirs:
                    return  # an Identity in the file
            elif path == "" or self._on_their_word(node.class_path, rebuilt):
                stands_in = True  # the builder was registered for this class, or named, and makes another of it
            else:
                self._other_class(path, node, rebuilt)
        if not stands_in:
            self._compare_parts(path, rebuilt)
        kind: type = type(rebuilt)
        self.attributes.compare(path, node.attributes, rebuilt, rules_of(kind), node, stands_in)
        self.kept.add_buffers(path, node, rebuilt)

    def _same(self, class_path: str, rebuilt: nn.Module) -> bool:
        kind = type(rebuilt)
        if class_path == SYNC:
            return isinstance(rebuilt, nn.modules.batchnorm._BatchNorm)
        if self.network.same_classes.get(class_path) == f"{kind.__module__}.{kind.__qualname__}":
            return True
        if is_copy(class_path, of_class(kind)):
            return True
        if function_name(class_path) == function_name(f"{kind.__module__}.{kind.__qualname__}"):
            return True
        # The user's own classes are the user's word: the file and FILE.py need not import them from one place.
        own = not f"{kind.__module__}.".startswith(LIBRARIES) and not class_path.startswith(LIBRARIES)
        return own and class_path.rpartition(".")[2] == kind.__qualname__.rpartition(".")[2]

    def _on_their_word(self, class_path: str, rebuilt: nn.Module) -> bool:
        return self.asked and type(rebuilt).__module__.startswith(OURS) and not class_path.startswith(LIBRARIES)

    def _other_class(self, path: str, node: ModuleNode, rebuilt: nn.Module) -> None:
        kind = type(rebuilt)
        if node.class_path.startswith(_NN):
            theirs, ours = node.class_path.rpartition(".")[2], kind.__name__
            raise StateMismatch(
                f"{where(self.saved, path)} is a {shown(theirs, 40)} in the file, a {ours} in the network; {TEACH}"
            )
        raise UnsupportedModel(
            f"{self.saved.path}: holds {shown(node.class_path, 100)} at {shown(path, 60)}, where "
            f"{self.network.name} has {kind.__module__}.{kind.__qualname__}: {_WAY_OUT}"
        )

    def _only_in_file(self, path: str, node: ModuleNode) -> None:
        """Nothing is left out but what does nothing: containers, whose parts are looked at, placeholders and losses."""
        theirs = today(node.class_path)
        owner, _, name = path.rpartition(".")
        self._refuse_hooks(path, node)
        if does_nothing(theirs) or theirs in _CONTAINERS or theirs.startswith(_LOSSES):
            return
        above = self.ours.get(owner)
        if self._unused(path) or (self.asked and above is not None and is_written_out(node, above)):
            return
        if above is not None:
            function = vars(above).get(name)
            if function is not None and agree(
                Global(*_split(node.class_path)), function, self.attributes.agree_objects
            ):
                return
        if node.class_path.startswith(_NN):
            kind = shown(node.class_path, 80)
            raise StateMismatch(f"{where(self.saved, path)} is a {kind} in the file, nothing in the network; {TEACH}")
        raise UnsupportedModel(
            f"{self.saved.path}: holds {shown(node.class_path, 100)} at {shown(path, 60)}, where "
            f"{self.network.name} has nothing: {_WAY_OUT}"
        )

    def _unused(self, path: str) -> bool:
        """Whether ``path`` is, or lies in, a part that no version of its owner computes with."""
        while path:
            path, _, name = path.rpartition(".")
            owner = self.ours.get(path)
            if owner is not None:
                return name in _FORMERLY_UNUSED.get(of_class(type(owner)), ())
        return False

    def _only_in_network(self, path: str, rebuilt: nn.Module) -> None:
        """Nothing is added but what does nothing, what old versions wrote as a function, and a builder's own."""
        if is_placeholder(rebuilt) or _only_holds(rebuilt):
            return
        owner, _, name = path.rpartition(".")
        above = self.theirs.get(owner)
        if above is None:
            if any(re.fullmatch(pattern, path) for pattern in self.network.added_layers):
                return  # a layer that moved into a container, with others that were functions
        else:
            around = self.ours[owner]
            function = above.attributes.get(name)
            if isinstance(function, Global) and function_name(function.path) == function_name(
                f"{type(rebuilt).__module__}.{type(rebuilt).__qualname__}"
            ):
                return
            if not self._is_class(above, around):
                return  # a root that stands for another class
            if name in _FORMERLY_INLINE.get(of_class(type(around)), ()):
                return
        raise StateMismatch(
            f"{where(self.saved, path)} is nothing in the file, a {type(rebuilt).__name__} in the network; {TEACH}"
        )

    def _is_class(self, node: ModuleNode, rebuilt: nn.Module) -> bool:
        return today(node.class_path) == of_class(type(rebuilt)) or self._same(node.class_path, rebuilt)

    def _compare_parts(self, path: str, rebuilt: nn.Module) -> None:
        """Parts of a container are computed in the order in which they lie."""
        if not isinstance(rebuilt, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            return
        prefix = f"{path}." if path else ""
        parts: Mapping[str, nn.Module | None] = (
            rebuilt._modules
        )  # named_children() leaves out the second of a shared one
        ours = [name for name, part in parts.items() if part is not None and not is_placeholder(part)]
        places = {name for name, part in parts.items() if part is not None and is_placeholder(part)}
        found = ((name, self.theirs.get(prefix + name)) for name in self.parts.get(path, ()) if name not in places)
        theirs = [name for name, node in found if node is None or name in ours or not _is_nothing(node)]
        if theirs != ours:
            extra, lacking = sorted({*theirs} - {*ours}), sorted({*ours} - {*theirs})
            problems = [f"has {listed(extra)} besides"] * bool(extra) + [f"lacks {listed(lacking)}"] * bool(lacking)
            problems = problems or ["has its parts in another order"]
            raise StateMismatch(
                f"{where(self.saved, path)} {' and '.join(problems)}, compared with what its class path calls for; "
                f"{TEACH}"
            )

    def _refuse_hooks(self, path: str, node: ModuleNode) -> None:
        for name in _HOOKS:
            if name in node.attributes:
                raise StateMismatch(
                    f"{where(self.saved, path)} was saved with {name.strip('_')} of its own, which the network does "
                    f"not have; {TEACH}"
                )


def _children(paths: Iterable[str]) -> dict[str, dict[str, None]]:
    """Names of the parts, in their order, by the path of what holds them; also of holders that have no path themselves,
    because a layer was moved into them."""
    parts: dict[str, dict[str, None]] = {}
    for path in paths:
        owner = path
        while owner:
            owner, _, name = owner.rpartition(".")
            known = owner in parts
            parts.setdefault(owner, {})[name] = None
            if known:
                break
    return parts


def _only_holds(module: nn.Module) -> bool:
    """A container, which computes what its parts do."""
    return type(module).forward in (nn.Sequential.forward, nn.ModuleList.forward, nn.ModuleDict.forward)


def _empty(node: ModuleNode) -> bool:
    return today(node.class_path) in _CONTAINERS and all(_is_nothing(child) for child in node.children.values())


def _is_nothing(node: ModuleNode) -> bool:
    return does_nothing(today(node.class_path)) or _empty(node)


def _split(path: str) -> tuple[str, str]:
    module, _, name = path.rpartition(".")
    return module, name
