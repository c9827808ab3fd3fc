"""Settings that are checked in full when they are made: frozen, unknown names refused, every mistake told at once.

Those of phases, presets and executors are all made of this, each beside what reads it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import listed, shown


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


def seconds(text: str) -> float:
    """From ``900``, ``15m`` or ``2h``.

    Raises:
        ValueError: it is no such time.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError:
        raise ValueError("expected seconds, or 15m, 2h") from None


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
