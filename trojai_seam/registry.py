"""One generic registry, used for networks, adapters, tasks, presets and executors.

Entries may be *lazy*: a ``"package.module:Name"`` string is imported on first use, so that listing names stays instant
and never imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar, cast

from .errors import UsageProblem, listed, shown

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to values. A second registration of a name is an error; a misspelt name lists the near ones."""

    def __init__(self, what: str, error: Callable[[str], Exception] = UsageProblem) -> None:
        self.what = what
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
            UsageProblem: no such name; the message lists near ones (another type if the registry was made with one).
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.5)
            hint = f"did you mean {listed(near)}?" if near else f"known: {listed(sorted(self._entries), most=40)}"
            raise self._error(f"no {self.what} called {shown(name)!r}; {hint}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = cast(T, getattr(import_module(module), attribute))
            self._entries[name] = entry
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
