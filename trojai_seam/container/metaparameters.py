"""The flat JSON objects that NIST's server passes, draws at random and checks: packaged defaults and their schemas.

The rules are those of usnistgov/trojai-test-harness, ``jsonschema_checker.py``: flat, every number bounded, every text
an enum, nothing null, no path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import ConfigProblem, listed, shown
from ..rounds.regular_files import decoded
from .messages import warn

KINDS = ("detection", "mitigation")
MOST_BYTES = 2**20


@cache
def packaged(kind: str, name: str) -> Any:
    """``metaparameters`` or ``metaparameters_schema`` of ``detection`` or ``mitigation``, as shipped."""
    path = resources.files(__package__) / kind / f"{name}.json"
    return json.loads(path.read_text("utf-8"))


def names_of(kind: str) -> list[str]:
    """All metaparameters of ``kind``."""
    return list(packaged(kind, "metaparameters"))


def read_metaparameters(
    kind: str, path: Path | None, options: Mapping[str, str], schema: Path | None = None
) -> dict[str, Any]:
    """The packaged values, replaced by those of the file at ``path`` and then by ``options``; all of them checked.

    The file as it is is checked against ``schema`` too, the file that the line names; one that is missing or no schema
    is warned about.

    Names of the other kind, or of nobody, are warned about and left out: one image serves both kinds of round, with
    one file at a fixed path. So is a file that is missing or no JSON object.

    Raises:
        ConfigProblem: values out of range or of the wrong type, with every finding.
    """
    import jsonschema

    values = dict(packaged(kind, "metaparameters"))
    document = _document(path)
    if document and schema is not None and (given := _document(schema, "nothing is checked against it")):
        _check_against(given, document, path or Path("metaparameters"), schema)
    unknown = [name for name in document if name not in values]
    if unknown:
        warn(f"{path}: ignored, no {kind} metaparameter: {listed(unknown)}")
    values.update({name: value for name, value in document.items() if name in values})
    values.update({name: _parsed(text) for name, text in options.items()})
    checker = jsonschema.Draft7Validator(packaged(kind, "metaparameters_schema"))
    findings = [
        f"{'.'.join(map(str, error.absolute_path)) or 'top level'}: {shown(error.message)}"
        for error in sorted(checker.iter_errors(values), key=lambda e: [str(p) for p in e.absolute_path])
    ]
    if findings:
        raise ConfigProblem(path or "metaparameters", findings)
    return values


def read_or_default(
    kind: str, path: Path | None, options: Mapping[str, str], schema: Path | None = None
) -> dict[str, Any]:
    """:func:`read_metaparameters`, or the packaged values where it refuses: ``infer`` must answer whatever it gets."""
    try:
        return read_metaparameters(kind, path, options, schema)
    except ConfigProblem as problem:
        warn(f"{problem}; going on with the packaged metaparameters")
        return dict(packaged(kind, "metaparameters"))


def _check_against(schema: Mapping[str, Any], document: Mapping[str, Any], path: Path, schema_path: Path) -> None:
    import jsonschema
    import referencing

    checker = jsonschema.Draft202012Validator if "$defs" in schema else jsonschema.Draft7Validator
    try:
        checker.check_schema(schema)
        # With a registry of its own it looks nothing up elsewhere.
        errors = list(checker(schema, registry=referencing.Registry()).iter_errors(document))
    except (jsonschema.SchemaError, referencing.exceptions.Unresolvable, RecursionError) as problem:
        told = shown(getattr(problem, "message", problem))
        warn(f"{schema_path}: is no usable schema ({told}); nothing is checked against it")
        return
    if errors:
        findings = [f"{'.'.join(map(str, e.absolute_path)) or 'top level'}: {shown(e.message)}" for e in errors]
        raise ConfigProblem(path, [f"{finding} (says {schema_path})" for finding in findings])


def _document(given: Path | None, otherwise: str = "going on with the packaged metaparameters") -> Mapping[str, Any]:
    path = given or Path("/metaparameters.json")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        document = json.loads(decoded(path.read_bytes()))
    except FileNotFoundError:
        if given is not None:
            warn(f"{path}: no such file; {otherwise}")
        return {}
    except (OSError, ValueError, RecursionError) as problem:
        warn(f"{path}: is not a readable JSON file ({shown(problem)}); {otherwise}")
        return {}
    if not isinstance(document, Mapping):
        warn(f"{path}: expected a JSON object; {otherwise}")
        return {}
    return document


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
