"""From inert nodes to a flat state dict and plain facts about every module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..errors import RefusedArchive, shown
from .archive import Contents, open_archive
from .budget import Budget
from .checkpoints import Choice, choose
from .nodes import DictNode, Inert, Instance, Objection, TensorRef
from .tensors import check_size, materialise
from .tree import ModuleNode, read_tree
from .wrappers import without_wrappers

if TYPE_CHECKING:
    import torch


class SavedModel:
    """What a file of ``torch.save`` describes: modules, their plain attributes, and tensors that are read on demand.

    A network in ``nn.DataParallel``, ``AveragedModel`` or ``torch.compile``, whole or as a state dict, reads as the
    network itself, and so does the one network of a checkpoint, whatever the key that it lies under.

    Attributes:
        path: the file.
        file_bytes: its size.
        format: ``"zip"`` (PyTorch 1.6 and later) or ``"legacy"``.
        kind: ``"module"``, ``"state-dict"``, or ``"other"`` for anything else (a tokenizer, a list, one tensor).
        class_path: class of the object, such as ``torchvision.models.resnet.ResNet``; None for a dict or a tensor.
        root: the outermost module, None unless ``kind`` is ``"module"``.
        modules: every module by its dotted path (``""`` is the root), in definition order. A shared module occurs under
            each of its paths as the same node.
        tensors: parameters and persistent buffers by state-dict name, in state-dict order.
        entry: the key of a checkpoint that the network lies under (``"state.model"`` for an entry of an entry); None
            where it is the file itself.
        entries: the keys of all networks of a checkpoint.
        obstacle: why no network can be taken from a checkpoint; None where one was.
        objections: why the file would have been refused, had it not been read to be described.
        globals: every name that the file mentions, sorted.
        content: the inert root node itself.
    """

    def __init__(self, contents: Contents, budget: Budget, entry: str | None = None, describing: bool = False) -> None:
        self._contents = contents
        self._budget = budget
        self.path: Path = contents.path
        self.file_bytes: int = contents.identity.size
        self.format: Literal["zip", "legacy"] = contents.format
        self.globals: tuple[str, ...] = contents.globals
        self.objections: tuple[str, ...] = contents.objections
        self.content: Inert = contents.root
        self.kind: Literal["module", "state-dict", "other"] = "other"
        self.class_path: str | None = None
        self.root: ModuleNode | None = None
        modules: dict[str, ModuleNode] = {}
        tensors: dict[str, TensorRef] = {}
        root, self.entry, self.entries, self.obstacle = self._chosen(entry, describing)
        if self.obstacle is not None:
            pass  # there are only entries to name
        elif isinstance(root, Instance):
            self.class_path = root.cls.path
            tree = self._tree(root, describing)
            if tree is not None:
                self.kind = "module"
                modules, tensors = tree
                self.root = modules[""]
        elif isinstance(root, DictNode):
            found = _tensors_only(contents.path, root, budget)
            if found is not None:
                self.kind, tensors = "state-dict", found
        check_size(contents, tensors, budget)
        self.modules: Mapping[str, ModuleNode] = MappingProxyType(modules)
        self.tensors: Mapping[str, TensorRef] = MappingProxyType(tensors)

    def _chosen(self, entry: str | None, describing: bool) -> Choice:
        try:
            return choose(self.content, entry)
        except Objection as problem:
            if not describing:
                raise RefusedArchive(self.path, str(problem)) from None
            return Choice(self.content, obstacle=str(problem))

    def _tree(self, root: Instance, describing: bool) -> tuple[dict[str, ModuleNode], dict[str, TensorRef]] | None:
        try:
            return read_tree(self.path, root, self._budget)
        except RefusedArchive as problem:
            if not describing:
                raise
            self.objections += (problem.problem,)
            return None

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor called ``name``.

        Raises:
            KeyError: there is none.
        """
        return self.tensors[name].size

    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal.

        Raises:
            RefusedArchive: the file is not the one that was read.
        """
        with self._contents.open() as file:
            return file.sha256()

    def renamed(self, tensors: Mapping[str, str], modules: Mapping[str, tuple[str, ...]] | None = None) -> SavedModel:
        """The same file with other names for some tensors (old → new) and for the modules that hold them, and for
        further ``modules``, which may get several.

        Library versions moved layers into containers; the layers themselves are as they were.

        Raises:
            RefusedArchive: two tensors or two modules would have one name.
        """
        if not tensors and not modules:
            return self
        parts = {old.rpartition(".")[0]: (new.rpartition(".")[0],) for old, new in tensors.items()}
        parts |= modules or {}
        paths = [(new, node) for path, node in self.modules.items() for new in parts.get(path, (path,))]
        twin = copy.copy(self)
        twin.tensors = MappingProxyType({tensors.get(name, name): ref for name, ref in self.tensors.items()})
        twin.modules = MappingProxyType(dict(paths))
        if len(twin.tensors) != len(self.tensors) or len(twin.modules) != len(paths):
            raise RefusedArchive(self.path, "it holds a layer under its old and its new name")
        return twin

    def state_dict(self, device: str = "cpu") -> dict[str, torch.Tensor]:
        """All :attr:`tensors`, freshly read: contiguous, writable, none sharing memory with another.

        Raises:
            RefusedArchive: not enough memory, a damaged record, or the file is not the one that was read.
        """
        return materialise(self._contents, self.tensors, device)

    def values(self, refs: Mapping[str, TensorRef], device: str = "cpu") -> dict[str, torch.Tensor]:
        """Tensors of this file by any names, read as :meth:`state_dict` reads.

        Raises:
            RefusedArchive: they are larger than the budget, or as for :meth:`state_dict`.
        """
        check_size(self._contents, refs, self._budget)
        return materialise(self._contents, refs, device)

    def tensor(self, ref: TensorRef, device: str = "cpu") -> torch.Tensor:
        """One tensor of this file, for those that are attributes and not part of :attr:`tensors`.

        Raises:
            RefusedArchive: it is larger than the budget, or as for :meth:`state_dict`.
        """
        check_size(self._contents, {"": ref}, self._budget)
        return materialise(self._contents, {"": ref}, device)[""]

    def __repr__(self) -> str:
        return f"<SavedModel {self.kind} {shown(self.class_path or '')} with {len(self.tensors)} tensors>"


def read_model(
    path: str | PathLike[str],
    budget: Budget | None = None,
    *,
    defer_checksums: bool = False,
    describing: bool = False,
    entry: str | None = None,
) -> SavedModel:
    """Read a file of ``torch.save`` without running anything in it; of a checkpoint of several networks, the one under
    the key ``entry``.

    Every size, offset and checksum has been verified when this returns, in little memory and without keeping the file
    open. With ``defer_checksums``, those of the tensors' records are verified when the tensors are taken, so that their
    bytes are read once and not twice: for those who take them anyway. With ``describing``, what is wrong with the model
    alone (a call of something that is not known to be data, a child that is no module) is told as
    :attr:`SavedModel.objections`, and the rest of the file is there to be described; no network is built from it.

    Raises:
        RefusedArchive: the file is missing, damaged, hostile, beyond ``budget``, or not a file of ``torch.save``.
    """
    budget = Budget() if budget is None else budget
    contents = open_archive(path, budget, defer_checksums, describing)
    try:
        return SavedModel(contents, budget, entry, describing)
    except MemoryError:
        raise RefusedArchive(contents.path, "not enough memory to read it") from None


def read_object(path: str | PathLike[str], budget: Budget | None = None) -> Inert:
    """The inert root node of a file of ``torch.save`` that is not a model, such as a pickled tokenizer.

    Raises:
        RefusedArchive: as for :func:`read_model`.
    """
    return open_archive(path, Budget() if budget is None else budget).root


def _tensors_only(path: Path, node: DictNode, budget: Budget) -> dict[str, TensorRef] | None:
    entries = node.strings()
    tensors = {name: value for name, value in entries.items() if isinstance(value, TensorRef)}
    if not tensors:
        return None
    if len(tensors) > budget.names:
        raise RefusedArchive(path, f"more tensors than the budget, names={budget.names}")
    if any(len(name) > 1024 for name in tensors):
        raise RefusedArchive(path, "a tensor with a name of more than 1024 characters")
    return without_wrappers(tensors)
