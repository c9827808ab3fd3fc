"""Which models a run directory should hold a record of, with what is known of them before any is opened.

Coverage is scored / expected: without this list, models that never ran would be forgotten, and a run that lost its hard
cases would look better than one that failed on them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryProblem
from ..rounds import ModelDirectory, RoundConfig
from ..rounds.model_facts import readable_facts
from .files import write_atomic
from .paths import RunPaths
from .records import storable

_WHOLE_FILES = ("nist_config", "nist_metadata")  # long: they have a list of their own


def expect(paths: RunPaths, directories: Iterable[ModelDirectory], round_config: RoundConfig) -> None:
    """Add ``directories`` to the run's list. Parts of an array job with the same selection write the same list.

    Raises:
        RunDirectoryProblem: the list is unreadable or cannot be written.
    """
    known = read_expected(paths)
    named = ((str(storable(d.model_id)), d) for d in directories)  # as the records will name them
    new = {model_id: _facts(directory, round_config) for model_id, directory in named if model_id not in known}
    if new:
        whole = {model_id: {name: facts.pop(name, None) for name in _WHOLE_FILES} for model_id, facts in new.items()}
        files = _lines({**read_expected_files(paths), **whole})
        write_atomic(paths.expected_files, gzip.compress(files, compresslevel=1, mtime=0))
        write_atomic(paths.expected, _lines({**known, **new}))


def read_expected(paths: RunPaths) -> Mapping[str, Mapping[str, Any]]:
    """Facts by model id; nothing for a run directory without the list.

    Raises:
        RunDirectoryProblem: it is unreadable.
    """
    return _read(paths.expected)


def read_expected_files(paths: RunPaths) -> Mapping[str, Mapping[str, Any]]:
    """``nist_config`` and ``nist_metadata`` by model id; nothing for a run directory without the list.

    Raises:
        RunDirectoryProblem: it is unreadable.
    """
    return _read(paths.expected_files)


def _lines(rows: Mapping[str, Mapping[str, Any]]) -> bytes:
    lines = [json.dumps({**facts, "model_id": model_id}) for model_id, facts in sorted(rows.items())]
    return ("\n".join(lines) + "\n").encode()


def _read(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise RunDirectoryProblem(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    try:
        rows = [json.loads(line) for line in text.splitlines()]
        return {str(row["model_id"]): row for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RunDirectoryProblem(
            f"{path}: is not a readable list of models ({problem!r}); remove it and run the command again"
        ) from None


def _facts(directory: ModelDirectory, round_config: RoundConfig) -> dict[str, Any]:
    facts = readable_facts(directory, round_config)
    return {"round": round_config.name, **{name: storable(v) for name, v in facts.items() if v is not None}}
