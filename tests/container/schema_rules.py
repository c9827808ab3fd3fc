"""A local copy of the rules by which NIST's server accepts a metaparameter file, and draws inside its ranges.

``jsonschema_checker.py`` and the header checks of usnistgov/trojai-test-harness, written from their description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import numpy as np

TECHNIQUES = {"weight analysis", "trigger inversion", "attribution analysis", "jacobian inspection", "other"}
TEMPLATE_TEXTS = {
    "title": ("Algorithm Meta-Parameters", "Trojan Detection Container (trojai-example)",
              "Trojan Mitigation Container (trojai-example)"),
    "technique_description": ("Technique description", "Extracts model weights and trains a random forest regressor.",
                              "Run a certain amount of epochs of fine tuning on the model"),
    "technique_changes": ("Technique changes from submission to submission", "",
                          "Output metaparameter.json file after reconfiguration"),
    "repo_name": ("https://github.com/usnistgov/trojai-example",),
}  # fmt: skip


def issues(schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Everything that would make the server refuse a submission; empty if it accepts."""
    return [*_header(schema), *_properties(schema), *_values(schema, values)]


def _header(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, texts in TEMPLATE_TEXTS.items():
        found = schema.get(key)
        if not isinstance(found, str) or any((text and found.startswith(text)) or found == text for text in texts):
            yield f"{key} is missing or the template's"
    if not schema.get("commit_id"):
        yield "commit_id is empty"
    if "technique" not in schema:
        yield "technique is missing"
    kinds = schema.get("technique_type")
    if not isinstance(kinds, list) or not kinds or any(str(kind).lower() not in TECHNIQUES for kind in kinds):
        yield "technique_type is not a list of known ones"
    if not str(schema.get("$schema", "")).startswith("http://json-schema.org/draft-07/schema"):
        yield "not draft-07"
    if schema.get("type") != "object" or schema.get("additionalProperties") is not False or "required" not in schema:
        yield "root is not a closed object with required"


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, one in schema.get("properties", {}).items():
        kind = one.get("type")
        bounds = {"minimum", "maximum"} <= set(one) or {"suggested_minimum", "suggested_maximum"} <= set(one)
        if "description" not in one:
            yield f"{name}: no description"
        if kind in ("number", "integer"):
            if not bounds:
                yield f"{name}: a number without bounds"
        elif kind == "boolean" or (kind in (None, "string") and one.get("enum")):
            continue
        else:
            yield f"{name}: {kind} is not flat, or a text without an enum"


def _values(schema: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    properties = set(schema.get("properties", {}))
    yield from (f"{name}: in the schema, not in the values" for name in properties - set(values))
    yield from (f"{name}: in the values, not in the schema" for name in set(values) - properties)
    for error in jsonschema.Draft7Validator(schema).iter_errors(values):
        yield error.message
    for name, value in values.items():
        if value is None or isinstance(value, list | dict):
            yield f"{name}: null or nested"
        if isinstance(value, str) and "/" in value:
            yield f"{name}: a path"


def draw(schema: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Values anywhere inside the suggested ranges."""
    drawn: dict[str, Any] = {}
    for name, one in schema["properties"].items():
        if "enum" in one:
            drawn[name] = one["enum"][rng.integers(len(one["enum"]))]
        elif one["type"] == "boolean":
            drawn[name] = bool(rng.integers(2))
        else:
            low, high = (one.get(f"suggested_{end}", one.get(end)) for end in ("minimum", "maximum"))
            value = rng.uniform(low, high)
            drawn[name] = round(value) if one["type"] == "integer" else float(value)
    return drawn
