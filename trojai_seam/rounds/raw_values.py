"""The files of a model word for word, kept as JSON beside what is made of them, and asked for by name.

``config.KEY`` is a value of config.json (``config.group.key`` in groups, ``config.triggers.0.type`` in lists of
groups), ``metadata.KEY`` a cell of METADATA.csv.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import DatasetProblem

MOST_DEPTH = 50


def as_document(values: Mapping[str, Any]) -> str | None:
    """``values`` whole, as JSON; numbers that JSON does not have (NaN, Infinity) become null. None for nothing.

    Raises:
        DatasetProblem: they are nested too deeply.
    """
    if not values:
        return None
    try:
        return json.dumps(values, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(values), allow_nan=False)
    except RecursionError:
        raise DatasetProblem("config.json: JSON is nested too deeply") from None


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Every value by dotted name: ``{"triggers": [{"type": "x"}]}`` gives ``triggers`` (the list) and
    ``triggers.0.type``. A name that is written with dots outranks groups. Deeper than 50 levels, groups are values."""
    values: dict[str, Any] = {}
    for name, value in _walk(document, "", 0):
        values.setdefault(name, value)
    return values


def _walk(node: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and (node or not name) and depth < MOST_DEPTH:
        for key, value in node.items():
            yield from _walk(value, f"{name}.{key}" if name else str(key), depth + 1)
        return
    yield name, node
    if isinstance(node, list) and depth < MOST_DEPTH:
        for number, value in enumerate(node):
            if isinstance(value, (Mapping, list)):
                yield from _walk(value, f"{name}.{number}", depth + 1)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
