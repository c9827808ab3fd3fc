"""One generic registry, used for networks, adapters, tasks, phases, presets and executors.

Entries may be *lazy*: a ``"package.module:Name"`` string is imported on first use, so that listing names stays instant
and never imports torch. A registry may be open to other packages: what they declare as entry points of its group is
found when a name is first asked for that we do not have, or when names are listed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from .errors import UsageProblem, listed, shown

T = TypeVar("T")


def lazy_names(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package some of whose names are imported only when they are asked for.

    Args:
        package: its ``__name__``.
        modules: the names of each of its modules, ``{".engine": ["run"]}``. None may be that of a module.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def near_names(what: str, name: str, known: Iterable[str]) -> str:
    """``no preset called 'defalt'; did you mean default?``, or which there are where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {listed(near)}?" if near else f"known: {listed(names, most=40)}"
    return f"no {what} called {shown(name)!r}; {hint}"


class Registry(Generic[T]):
    """Names mapped to values. A second registration of a name is an error; a misspelt name lists the near ones."""

    def __init__(self, what: str, error: Callable[[str], Exception] = UsageProblem, group: str | None = None) -> None:
        self.what, self.group = what, group
        self._error = error
        self._entries: dict[str, T | str] = {}

    def add(self, name: str, entry: T | str) -> None:
        """Register ``entry`` (a value, or a lazy ``"module:attribute"`` string) under ``name``.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.what} {name!r} is registered twice")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry called ``name``, imported now if it was lazy.

        Raises:
            UsageProblem: no such name; the message lists near ones (another type if the registry was made with one). Or
                a package that brings it cannot be imported.
        """
        if name not in self:
            raise self._error(near_names(self.what, name, self._entries))
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._imported(name, entry)
            self._entries[name] = entry
        return entry

    def check(self, name: str) -> None:
        """That there is an entry called ``name``. What is ours is not imported for that.

        Raises:
            UsageProblem: as :meth:`get`.
        """
        entry = self._entries.get(name)
        if not (isinstance(entry, str) and entry.startswith(f"{__package__}.")):
            self.get(name)

    def _imported(self, name: str, target: str) -> T:
        module, _, attribute = target.partition(":")
        try:
            return cast(T, getattr(import_module(module), attribute))
        except Exception as problem:
            if module.startswith(f"{__package__}."):
                raise
            what = f"{self.what} {name!r} from {target}"
            raise self._error(f"{what} cannot be imported: {type(problem).__name__}: {problem}") from problem

    def _look_around(self) -> None:
        """Take note of what other packages bring."""
        if self.group is not None:
            for point in entry_points(group=self.group):
                self._entries.setdefault(point.name, point.value)  # ours cannot be replaced

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._look_around()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._look_around()
        return iter(self._entries)

    def __len__(self) -> int:
        self._look_around()
        return len(self._entries)
