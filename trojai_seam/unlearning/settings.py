"""What all settings of unlearning have in common beside :mod:`trojai_seam.settings`: ranges, and how options change
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from ..errors import shown
from ..settings import Settings as Settings
from ..settings import findings_of as findings_of
from ..settings import hint as hint
from ..settings import parsed as parsed

UNCHANGEABLE = ("kind", "name")
"""Of a phase: what it is. Options cannot change it."""
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(ge=0, le=1e3)]
Beta = Annotated[float, Field(ge=0, lt=1)]


def assign(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put ``value`` at ``path`` of nested dictionaries.

    Raises:
        ValueError: what is there now is a single value, not a group, or the other way round.
    """
    for name in path[:-1]:
        inner = values.get(name)
        if not isinstance(inner, dict):
            what = "is a single value, not a group" if name in values else "no such group"
            raise ValueError(f"{shown(name)} {what}")
        values = inner
    if path[-1] not in values:
        raise ValueError(f"no such option; {hint(path[-1], [name for name in values if name not in UNCHANGEABLE])}")
    if isinstance(values[path[-1]], dict) and not isinstance(value, dict):
        raise ValueError(f"is a group; set one of {', '.join(values[path[-1]])}")
    values[path[-1]] = value
