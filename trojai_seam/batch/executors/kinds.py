"""What an executor is: its settings, and the function that does the work with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ...errors import ConfigProblem, listed
from ...settings import Settings, findings_of, hint, parsed
from ..work import Work
from . import EXECUTORS, Spread


class ExecutorSettings(Settings):
    """What an executor can be asked for. Each declares its own beside the function that reads them."""

    def per_device(self, devices: int) -> int:
        """Models at the same time on each of ``devices``.

        Raises:
            UsageProblem: they cannot be shared out evenly.
        """
        return 1


S = TypeVar("S", bound=ExecutorSettings)


@dataclass(frozen=True)
class ExecutorKind(Generic[S]):
    """One executor.

    Attributes:
        settings: what it can be asked for.
        run: takes unit after unit, evaluates it, and gives its row back when its record is written. It comes back when
            ``work`` is closed and everything that was taken is finished or given back. It raises
            :class:`~trojai_seam.errors.RunDirectoryProblem` when records cannot be written, which ends the run; after a
            ``KeyboardInterrupt`` nothing of it runs on.
    """

    settings: type[S]
    run: Callable[[Work, Spread, S], None]


def settings_of(name: str, given: Mapping[str, Any]) -> ExecutorSettings:
    """The settings of the executor called ``name``, from texts or values.

    Raises:
        UsageProblem: there is no such executor.
        ConfigProblem: all that is wrong: values out of range, and names that it does not know, with who knows them.
    """
    try:
        values = {key: parsed(value) if isinstance(value, str) else value for key, value in given.items()}
        settings: ExecutorSettings = EXECUTORS.get(name).settings.model_validate(values)
    except ValidationError as problem:
        findings = [_with_owners(finding, name, values) for finding in findings_of(problem)]
        raise ConfigProblem(f"--executor {name}", findings) from None
    return settings


def _with_owners(finding: str, name: str, values: Mapping[str, Any]) -> str:
    option, _, message = finding.partition(": ")
    if message != "no such option":
        refused = not _takes(name, option, values)  # by itself, not only beside others
        able = next((other for other in EXECUTORS if refused and _takes(other, option, values)), None)
        return f"{finding}; use --executor {able}" if able else finding
    having = [other for other in EXECUTORS if option in EXECUTORS.get(other).settings.model_fields]
    known = list(EXECUTORS.get(name).settings.model_fields)
    return f"{finding}; {f'--executor {listed(having)} has it' if having else hint(option, known)}"


def _takes(name: str, option: str, values: Mapping[str, Any]) -> bool:
    """Whether the executor called ``name`` would take this value."""
    if option not in values:
        return False
    try:
        EXECUTORS.get(name).settings.model_validate({option: values[option]})
    except ValidationError:
        return False
    return True
