"""Attribute by attribute, a module in a file against the rebuilt one: equal, known to differ, or refused.

What is known is in :mod:`.attribute_rules`; what no table knows is refused, whichever builder made the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from torch import nn

from ..errors import StateMismatch, UnsupportedModel, shown
from ..loading.nodes import DictNode, Global, Inert, Instance, TensorRef
from .attribute_rules import REMARKS, Derived, Rules, When, rules_of
from .class_names import of_class
from .kept_values import KeptValues
from .plain_values import agree, function_name, holds_tensors, same_object_class, text
from .registry import TEACH, Network
from .written_out import OURS, REMEMBERED

if TYPE_CHECKING:
    from ..loading import ModuleNode, SavedModel

LIBRARIES: Final = ("torch.", "torchvision.", "timm.", "transformers.", "trojai_seam.")
SYNC: Final = "torch.nn.modules.batchnorm.SyncBatchNorm"
_SYNC_ATTRIBUTES: Final = frozenset({"process_group", "ddp_gpu_size", "_specify_ddp_gpu_num"})
_ANCHORS: Final = "torchvision.models.detection.anchor_utils.AnchorGenerator"
_SIMPLE: Final = (int, bool, float, str)
#: Attributes of nn.Module itself.
_MACHINERY: Final = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}


def where(saved: SavedModel, path: str) -> str:
    """File and path of a module, for a message."""
    return f"{saved.path}: {shown(path or 'the network', 80)}"


class Attributes:
    """Compares the attributes of one network's modules with those in the file."""

    def __init__(self, network: Network, saved: SavedModel, kept: KeptValues, asked: bool = False) -> None:
        self.network, self.saved, self.kept, self.asked = network, saved, kept, asked

    def compare(
        self,
        path: str,
        theirs: Mapping[str, Inert],
        rebuilt: Any,
        rules: Rules,
        node: ModuleNode | None,
        stands_in: bool = False,
    ) -> None:
        ours = vars(rebuilt)
        free, follow = rules.free, rules.follow
        private = "_*" in free
        for name, value in theirs.items():
            if name in free and (type(value) is bool or type(ours.get(name)) is not bool):
                continue
            if private and name in ours and name.startswith("_"):
                continue
            if name not in ours:
                self._unknown(path, name, value, rebuilt, rules, node)
                continue
            mine = ours[name]
            if value is mine or (type(value) is type(mine) and type(value) in _SIMPLE and value == mine):
                continue
            if value is None and name in rules.lazy:
                continue
            if name in follow:
                self._follow(path, name, value, rebuilt, rules)
            elif isinstance(rebuilt, nn.RNNBase) and name == "_flat_weights":
                self._flat_weights(path, value, theirs)
            elif holds_tensors(value):
                self.kept.add_attribute(path, name, value, rebuilt)
            elif not self._agree(path, value, mine) and not self._settled(name, rebuilt):
                self._differs(path, name, value, mine, rebuilt)
        if stands_in or not of_class(type(rebuilt)).startswith(LIBRARIES):
            return
        for name in ours.keys() - theirs.keys() - _MACHINERY:
            if name not in free:
                self._lacking(path, name, ours[name], rebuilt, rules, node)

    def _agree(self, path: str, value: Inert, mine: Any) -> bool:
        def objects(theirs: Instance, ours: Any) -> bool:
            return self.agree_objects(theirs, ours, path)

        return agree(value, mine, objects)

    def agree_objects(self, theirs: Instance, ours: Any, path: str = "") -> bool:
        """Instances that are no modules, such as a box coder: of one class, with the same attributes."""
        if not same_object_class(theirs, ours) or not hasattr(ours, "__dict__"):
            return False
        if _is_config(ours):  # what it says is in the layers, or was checked by who built them
            return True
        state = theirs.state.strings() if isinstance(theirs.state, DictNode) else {}
        kind: type = type(ours)
        self.compare(f"{path}: {kind.__name__}", state, ours, rules_of(kind), None)
        return True

    def _settled(self, name: str, rebuilt: Any) -> bool:
        settled = self.network.settled
        return name in settled or f"{type(rebuilt).__name__}.{name}" in settled

    def _follow(self, path: str, name: str, value: Inert, rebuilt: Any, rules: Rules) -> None:
        interval = rules.follow[name]
        if not interval.admits(value):
            raise UnsupportedModel(
                f"{where(self.saved, path)}: {type(rebuilt).__name__} with {name} = {text(value)}, which is "
                f"{interval.missed}"
            )
        setattr(rebuilt, name, value)

    def _unknown(self, path: str, name: str, value: Inert, rebuilt: Any, rules: Rules, node: ModuleNode | None) -> None:
        """An attribute that the rebuilt module has not."""
        if name == "_cache" and of_class(type(rebuilt)) == _ANCHORS:
            self.kept.add_grids(path, value, rebuilt)
            return
        if name in rules.gone:
            if rules.gone[name](value, rebuilt):
                return
            raise UnsupportedModel(
                f"{where(self.saved, path)}: {type(rebuilt).__name__} has {name} {text(value)} in the file, which no "
                f"installed version computes; {TEACH}"
            )
        if "_*" in rules.free and name.startswith("_") and not hasattr(type(rebuilt), name):
            return
        if self._settled(name, rebuilt) or (node is not None and node.class_path == SYNC and name in _SYNC_ATTRIBUTES):
            return
        if isinstance(rebuilt, nn.Module):
            for group in (rebuilt._modules, rebuilt._parameters, rebuilt._buffers):
                if name in group:
                    part = group[name]
                    if self._agree_part(value, part):
                        return
                    self._differs(path, name, value, part, rebuilt)
        known = getattr(type(rebuilt), name, None)
        if callable(known) and not isinstance(known, type):
            raise StateMismatch(
                f"{where(self.saved, path)} was saved with {shown(name.strip('_'), 60)} of its own, which the network "
                f"does not have; {TEACH}"
            )
        if hasattr(type(rebuilt), name):
            mine = getattr(rebuilt, name, None)
            if agree(value, mine, self.agree_objects):
                return
            self._differs(path, name, value, mine, rebuilt)
        if name in REMARKS or (self.asked and name in REMEMBERED and of_class(type(rebuilt)).startswith(OURS)):
            return
        raise UnsupportedModel(
            f"{where(self.saved, path)}: {type(rebuilt).__name__} has an attribute {shown(name, 60)} ({text(value)}) "
            f"in the file, which {_source(rebuilt)} does not know: whether it computes is not known; delete it before "
            f"saving, or {TEACH}"
        )

    def _agree_part(self, value: Inert, part: object) -> bool:
        """An attribute where the network has a part: a function for a module, or None for none."""
        if value is None or part is None:
            return value is None and part is None
        path = f"{type(part).__module__}.{type(part).__qualname__}"
        return isinstance(value, Global) and function_name(value.path) == function_name(path)

    def _lacking(self, path: str, name: str, mine: Any, rebuilt: Any, rules: Rules, node: ModuleNode | None) -> None:
        """An attribute that the file has not: the version that wrote it did what it says in the rules, or nothing."""
        if name in rules.young:
            then = rules.young[name]
            if isinstance(then, When):
                if then.same(rebuilt):
                    return
                raise UnsupportedModel(
                    f"{where(self.saved, path)}: a {type(rebuilt).__name__} of a version without {name}, which "
                    f"computed otherwise; {TEACH}"
                )
            if not isinstance(then, Derived) and mine != then:
                setattr(rebuilt, name, then)
            return
        always = name in rules.follow  # every version had it
        if not always and not mine and not isinstance(mine, float) and _neutral(mine):
            return
        if "_*" in rules.free and name.startswith("_"):
            return
        if node is not None and name in node.children:
            return  # a part in the file, which is compared as one
        if self._settled(name, rebuilt):
            return
        raise StateMismatch(
            f"{where(self.saved, path)}: {type(rebuilt).__name__} has no {name} in the file, {text(mine)} in the "
            f"network; {TEACH}"
        )

    def _flat_weights(self, path: str, value: Inert, theirs: Mapping[str, Inert]) -> None:
        """Old versions compute with this list, not with the parameters; it must hold them."""
        names = theirs.get("_flat_weights_names")
        refs = value if isinstance(value, list) else []
        tensors = self.saved.tensors
        prefix = f"{path}." if path else ""
        same = (
            isinstance(names, list)
            and len(names) == len(refs)
            and all(
                isinstance(ref, TensorRef) and isinstance(name, str) and _one(ref, tensors.get(prefix + name))
                for ref, name in zip(refs, names, strict=True)
            )
        )
        if not same:
            raise StateMismatch(f"{where(self.saved, path)}: its flat weights are not its parameters; {TEACH}")

    def _differs(self, path: str, name: str, value: Inert, mine: Any, rebuilt: Any) -> NoReturn:
        raise StateMismatch(
            f"{where(self.saved, path)}: {type(rebuilt).__name__} has {shown(name, 60)} {text(value)} in the file, "
            f"{text(mine)} in the network; {TEACH}"
        )


def _neutral(mine: Any) -> bool:
    return mine is None or mine is False or mine == 0 or (hasattr(mine, "__len__") and len(mine) == 0)


def _one(ref: TensorRef, named: TensorRef | None) -> bool:
    if named is None:
        return False
    return (ref.storage.key, ref.offset, ref.size, ref.stride) == (
        named.storage.key,
        named.offset,
        named.size,
        named.stride,
    )


def _is_config(value: object) -> bool:
    kind = type(value)
    return kind.__module__.startswith("transformers.") and kind.__name__.endswith("Config")


def _source(rebuilt: object) -> str:
    package = type(rebuilt).__module__.partition(".")[0]
    return f"{package} as installed" if package in ("torch", "torchvision", "timm", "transformers") else "the builder"
