"""The exception tree: whose fault it is, which file, and what to do about it.

Every error that a user can cause is a :class:`TrojaiSeamError`. Its text is one line, safe to print to a terminal even
when it quotes an untrusted file. ``kind`` is a stable word that ends up in the ``error_kind`` column of a failed row.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any


def shown(value: object, limit: int = 160) -> str:
    """Untrusted text made printable: one line, no control characters or escapes, at most ``limit`` characters."""
    text = value if isinstance(value, str) else str(value)
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def listed(items: Iterable[object], most: int = 8) -> str:
    """``a, b, c and 4 more``: a readable list that stays short whatever the file says."""
    values = [shown(item, 80) for item in items]
    text = ", ".join(values[:most])
    return text if len(values) <= most else f"{text} and {len(values) - most} more"


class TrojaiSeamError(Exception):
    """Base of every error that is not a bug in trojai-seam. ``str(error)`` is one printable line."""

    kind = "error"

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, 2000))

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders, and the constructors of subclasses take other arguments than the message."""
        return _restored, (type(self), str(self), self.__dict__)


def _restored(kind: type[TrojaiSeamError], message: str, attributes: dict[str, Any]) -> TrojaiSeamError:
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error


class RenamedOption(FutureWarning):
    """An option was given by a name that it no longer has; the message says which it has now."""


class UsageProblem(TrojaiSeamError):
    """The command line or an API call asks for something that does not exist or cannot be combined."""

    kind = "usage"


class ConfigProblem(TrojaiSeamError):
    """A round config or a ``--set`` option is wrong. All findings are reported together."""

    kind = "config"

    def __init__(self, source: str | PathLike[str], findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{source}: " + "; ".join(self.findings))


class DatasetProblem(TrojaiSeamError):
    """The dataset folder, or a metadata file in it, is not what a TrojAI round looks like."""

    kind = "dataset"


class ExampleProblem(TrojaiSeamError):
    """An example (image, feature vector, text) or its label cannot be used."""

    kind = "examples"


class RefusedArchive(TrojaiSeamError):
    """A model file is damaged, hostile, or beyond the reading budget. Nothing in it was run.

    ``where`` says at which archive entry or byte offset reading stopped.
    """

    kind = "refused-file"

    def __init__(self, path: str | PathLike[str], problem: str, where: str = "") -> None:
        self.path, self.problem, self.where = str(path), problem, where
        super().__init__(f"{path}: {problem}" + (f" (at {where})" if where else ""))


class UnsupportedModel(TrojaiSeamError):
    """The file was read, but no registered constructor can rebuild its network."""

    kind = "unsupported-model"


class StateMismatch(UnsupportedModel):
    """The tensors in the file do not fit the network that its class path and shapes call for."""

    kind = "state-mismatch"


class EngineFailure(TrojaiSeamError):
    """Unlearning went wrong: a loss or a weight became non-finite, or the phase could not run."""

    kind = "engine"


class RunDirectoryProblem(TrojaiSeamError):
    """The run directory belongs to another configuration, or cannot be written."""

    kind = "run-directory"


class WorkerProblem(TrojaiSeamError):
    """Worker processes cannot be started, or not any more: nothing can be evaluated."""

    kind = "worker"


class TooManyFailures(TrojaiSeamError):
    """The failure budget of a run is used up."""

    kind = "too-many-failures"
