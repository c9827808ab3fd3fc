"""Which models a run directory should hold a record of, with what is known of them before any is opened.

Coverage is scored / expected: without this list, models that never ran would be forgotten, and a run that lost its hard
cases would look better than one that failed on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import RunDirectoryProblem
from ..rounds import ModelDirectory, RoundConfig
from ..rounds.model_facts import readable_facts
from .files import write_atomic
from .paths import RunPaths
from .records import storable

_IN_RECORDS_ONLY = ("nist_config", "nist_metadata")  # long


def expect(paths: RunPaths, directories: Iterable[ModelDirectory], round_config: RoundConfig) -> None:
    """Add ``directories`` to the run's list. Parts of an array job with the same selection write the same list.

    Raises:
        RunDirectoryProblem: the list is unreadable or cannot be written.
    """
    known = read_expected(paths)
    named = ((str(storable(d.model_id)), d) for d in directories)  # as the records will name them
    new = {model_id: _facts(directory, round_config) for model_id, directory in named if model_id not in known}
    if new:
        lines = [json.dumps({"model_id": model_id, **facts}) for model_id, facts in sorted({**known, **new}.items())]
        write_atomic(paths.expected, ("\n".join(lines) + "\n").encode())


def read_expected(paths: RunPaths) -> Mapping[str, Mapping[str, Any]]:
    """Facts by model id; nothing for a run directory without the list.

    Raises:
        RunDirectoryProblem: it is unreadable.
    """
    try:
        text = paths.expected.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise RunDirectoryProblem(f"{paths.expected}: cannot be read: {problem.strerror}") from None
    try:
        rows = [json.loads(line) for line in text.splitlines()]
        return {str(row["model_id"]): row for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RunDirectoryProblem(
            f"{paths.expected}: is not a readable list of models ({problem!r}); remove it and run the command again"
        ) from None


def _facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    facts = readable_facts(directory, round_config)
    return {
        "round": round_config.name,
        **{name: storable(v) for name, v in facts.items() if v is not None and name not in _IN_RECORDS_ONLY},
    }
