"""What all settings of unlearning have in common: checked in full when they are made, frozen, unknown names refused."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import listed, shown

UNCHANGEABLE = ("kind", "name")
"""Of a phase: what it is. Options cannot change it."""
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(ge=0, le=1e3)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Frozen values with bounds; ``ValidationError`` (a ``ValueError``) names all that are wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def changed(self, **values: Any) -> Self:
        """The same settings with ``values``, checked again."""
        return type(self).model_validate({**dict(self), **values})


def findings_of(problem: ValidationError, names: Mapping[int, str] = {}) -> Iterator[str]:
    """Every mistake in one phrase each: ``forget.learning_rate: -1 should be greater than or equal to 0``.

    Args:
        problem: what pydantic found.
        names: of phases, by their place in the list.
    """
    for error in problem.errors(include_url=False):
        path = list(error["loc"])
        if path[:1] == ["phases"] and len(path) > 1:
            path[:2] = [names.get(int(path[1]), f"phases.{path[1]}")]
        name, found = ".".join(map(str, path)), error["input"]
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = "no such option"
        elif message.startswith("Input ") and not isinstance(found, Mapping | BaseModel):
            message = f"{shown(found, 60)!r} {message.removeprefix('Input ')}"
        yield f"{shown(name)}: {message}" if name else message


def hint(name: str, known: Sequence[str]) -> str:
    """``did you mean learning_rate?``, or which there are where none is near."""
    near = difflib.get_close_matches(name, known, 3)
    return f"did you mean {listed(near)}?" if near else f"known here: {', '.join(known)}"


def parsed(text: str) -> Any:
    """The value that ``--set`` means: nothing, a list or group in JSON, or a text that the field makes sense of."""
    if text.lower() in ("none", ""):
        return None
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


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
